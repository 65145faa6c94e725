"""Whether a model's signature fits what the model was trained on, and what training adds to it."""

from collections.abc import Mapping, Sequence
from typing import Any

from nightscore.errors import ModelLoadError
from nightscore.models.mlmodel import MlModel
from nightscore.schemas.model import Feature, FeatureType

NUMBER_TYPES = ("double", "float", "long", "integer", "boolean")
SHOWN_NAMES = 40
LOG_AGAIN = (
    "log it again with signature=mlflow.models.infer_signature(X, ...) of the training frame"
)


def label_type(labels: Sequence[Any]) -> str:
    """MLflow's name of the type of class labels."""
    first = labels[0].item() if hasattr(labels[0], "item") else labels[0]
    return {bool: "boolean", int: "long", float: "double"}.get(type(first), "string")


def with_categories(
    mlmodel: MlModel, features: tuple[Feature, ...], known: Mapping[int, tuple[Any, ...]]
) -> tuple[tuple[Feature, ...], dict[str, tuple[Any, ...]]]:
    """The features with the types of their categories, and the categories by feature name.

    Args:
        mlmodel: Has the signature.
        features: In the model's order.
        known: The categories of training, by the feature's position.

    Raises:
        ModelLoadError: The signature states another type.
    """
    typed = list(features)

    for position, categories in known.items():
        if position < len(typed):
            typed[position] = _category_feature(mlmodel, typed[position], categories)

    by_name = {
        typed[position].name: categories
        for position, categories in known.items()
        if position < len(typed)
    }

    return tuple(typed), by_name


def _category_feature(mlmodel: MlModel, feature: Feature, categories: tuple[Any, ...]) -> Feature:
    """The feature with the type of its categories, unless the signature states a type.

    Raises:
        ModelLoadError: The signature states a type that does not fit.
    """
    category_type = _category_type(categories)
    stated = feature.type
    is_stated = bool(mlmodel.inputs) and stated != "any"

    if not is_stated:
        return feature.model_copy(update={"type": category_type})

    if (category_type == "string") == (stated in NUMBER_TYPES):
        raise ModelLoadError(
            "The model's signature does not fit the categories that it was trained with.",
            str(mlmodel.folder),
            expected=f"{feature.name}: {category_type}, such as {categories[0]!r}",
            found=f"{feature.name}: {stated}",
            next_step=LOG_AGAIN,
        )

    return feature


def _category_type(categories: tuple[Any, ...]) -> FeatureType:
    types = {type(value) for value in categories}
    if types <= {bool}:
        return "boolean"
    if types <= {int}:
        return "long"
    if types <= {int, float}:
        return "double"
    return "string"


def check_names(
    mlmodel: MlModel, stated: list[str], names: tuple[str, ...], n_features: int
) -> None:
    """Refuse a signature whose columns are not those of training: the model takes them by position.

    Raises:
        ModelLoadError: Their number or order differs.
    """
    if not stated:
        return

    is_same_number = len(stated) == n_features

    is_reordered = bool(names) and {*stated} == {*names} and stated != [*names]
    if is_same_number and not is_reordered:
        return

    difference = "order" if is_same_number else "number"
    raise ModelLoadError(
        f"The columns of the model's signature have another {difference} than those of the model.",
        str(mlmodel.folder),
        expected=f"{n_features} columns: {', '.join(names[:SHOWN_NAMES]) or 'without names'}",
        found=f"{len(stated)} columns: {', '.join(stated[:SHOWN_NAMES])}",
        next_step=LOG_AGAIN,
    )
