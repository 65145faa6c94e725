"""Whether a model's signature fits what the model was trained on, and what it adds to that."""

from collections.abc import Mapping, Sequence
from typing import Any

from nightscore.errors import ModelLoadError
from nightscore.models.mlmodel import MlModel
from nightscore.schemas.model import Feature, FeatureType


def label_type(labels: Sequence[Any]) -> str:
    """MLflow's name of the type of class labels."""
    first = labels[0].item() if hasattr(labels[0], "item") else labels[0]
    return {bool: "boolean", int: "long", float: "double"}.get(type(first), "string")


def with_categories(
    mlmodel: MlModel, features: tuple[Feature, ...], known: Mapping[int, tuple[Any, ...]]
) -> tuple[tuple[Feature, ...], dict[str, tuple[Any, ...]]]:
    """The features with the types that their categories have, and these by the feature's name.

    Args:
        mlmodel: Says what the signature is.
        features: In the model's order.
        known: Place of a feature to its categories.

    Raises:
        ModelLoadError: The signature says another type.
    """
    typed = tuple(
        _category_feature(mlmodel, feature, known[i]) if i in known else feature
        for i, feature in enumerate(features)
    )
    return typed, {typed[i].name: found for i, found in known.items() if i < len(typed)}


def _category_feature(mlmodel: MlModel, feature: Feature, categories: tuple[Any, ...]) -> Feature:
    """The feature with the type that its categories have, where the signature does not say it.

    Raises:
        ModelLoadError: The signature says another.
    """
    kinds = {type(value) for value in categories}
    kind: FeatureType = "string"
    if kinds <= {bool}:
        kind = "boolean"
    elif kinds <= {int}:
        kind = "long"
    elif kinds <= {int, float}:
        kind = "double"
    stated = feature.type
    is_number = stated in ("double", "float", "long", "integer", "boolean")
    if stated != "any" and mlmodel.inputs and (kind == "string") == is_number:
        raise ModelLoadError(
            "The model's signature does not fit the categories that it was trained with.",
            str(mlmodel.folder),
            expected=f"{feature.name}: {kind}, such as {categories[0]!r}",
            found=f"{feature.name}: {stated}",
            next_step="log it with signature=mlflow.models.infer_signature(X, ...) of the training frame",
        )
    return (
        feature if mlmodel.inputs and stated != "any" else feature.model_copy(update={"type": kind})
    )


def check_names(
    mlmodel: MlModel, stated: list[str], names: tuple[str, ...], n_features: int
) -> None:
    """Refuse a signature whose columns are not those that the model was trained on: it takes them by position.

    Raises:
        ModelLoadError: Their number or order differs.
    """
    if not stated or (
        len(stated) == n_features and (not names or {*stated} != {*names} or stated == [*names])
    ):
        return
    is_order = len(stated) == n_features
    raise ModelLoadError(
        f"The model's signature has its columns in another {'order' if is_order else 'number'} than the model.",
        str(mlmodel.folder),
        expected=f"{n_features} columns: {', '.join(names[:40]) or 'without names'}",
        found=f"{len(stated)} columns: {', '.join(stated[:40])}",
        next_step="log it again with signature=mlflow.models.infer_signature(X, ...) of the training frame",
    )
