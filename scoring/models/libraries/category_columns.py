"""Columns that a scikit-learn model passes to a booster trained on pandas' categories of them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nightscore.models.structure.lightgbm_file import categorical_places, read_lightgbm
from nightscore.models.structure.xgboost_file import read_xgboost
from nightscore.schemas.model import Feature

Categories = dict[str, tuple[Any, ...]]
BOOSTERS = ("lightgbm.", "xgboost.")
INNER = (
    "best_estimator_",
    "estimators_",
    "calibrated_classifiers_",
    "estimator_",
    "estimator",
    "regressor_",
)
"""Attributes of meta-estimators that pass X on as it is. The first one that is set counts."""


def category_columns(estimator: Any, features: Sequence[Feature]) -> tuple[Categories, bool]:
    """The categories of training by column, and whether the model refuses other values.

    Categories are in the order of their codes. A booster that was trained on categories of pandas
    takes no text instead. Nothing is known of columns behind a transformer that may turn them into
    categories itself.

    Args:
        estimator: Fitted, of any kind.
        features: Those of the whole model.
    """
    by_column: Categories = {}
    refuses_unknown = False
    own_names = {feature.name: feature.name for feature in features}

    for booster, names in _boosters(estimator, own_names):
        for name, values in _known_categories(booster, features).items():
            if name in names:
                by_column.setdefault(names[name], values)

        refuses_unknown |= bool(by_column) and type(booster).__module__.startswith("xgboost.")

    return by_column, refuses_unknown


def _boosters(estimator: Any, names: Mapping[str, str]) -> Iterator[tuple[Any, Mapping[str, str]]]:
    """Boosters that get columns as they are, with the model's name of each by the booster's."""
    from sklearn.pipeline import Pipeline

    module = type(estimator).__module__
    if module.startswith(BOOSTERS):
        if getattr(estimator, "_Booster", None) is not None:  # else it is not fitted
            yield estimator, names
    elif isinstance(estimator, Pipeline):
        for _, step in estimator.steps[:-1]:
            names = names if step is None or step == "passthrough" else _after(step, names)
        yield from _boosters(estimator.steps[-1][1], names)
    elif module.startswith("sklearn."):
        for part in _inner_estimators(estimator):
            yield from _boosters(part, names)


def _inner_estimators(estimator: Any) -> list[Any]:
    """The fitted estimators that a meta-estimator asks, not those that they were copied from."""
    for attribute in INNER:
        inner = getattr(estimator, attribute, None)
        parts = inner if isinstance(inner, list | tuple) else [inner]
        fitted = [part for part in parts if hasattr(part, "fit") or hasattr(part, "predict_proba")]
        if fitted:
            return fitted
    return []


def _after(step: Any, names: Mapping[str, str]) -> Mapping[str, str]:
    """The columns that a fitted transformer passes on as they are, by their new names."""
    from sklearn.compose import ColumnTransformer

    if not isinstance(step, ColumnTransformer):
        return {}

    renamed = {}
    for part, transformer, columns in step.transformers_:
        function = getattr(transformer, "func", transformer)
        if transformer != "passthrough" and function is not None:
            continue

        selected = columns if _are_names(columns) else step.feature_names_in_[columns]
        for name in map(str, selected):
            new_name = f"{part}__{name}" if step.verbose_feature_names_out else name
            if name in names:
                renamed[new_name] = names[name]

    return renamed


def _are_names(columns: Any) -> bool:
    return isinstance(columns, list | tuple) and all(isinstance(column, str) for column in columns)


def _known_categories(booster: Any, features: Sequence[Feature]) -> Categories:
    """Categories by the booster's names; none if it does not say which columns they belong to."""
    if hasattr(booster, "booster_"):
        return _lightgbm_categories(booster, features)

    file = read_xgboost(bytes(booster.get_booster().save_raw("json")))
    try:
        return {file.feature_names[i]: values for i, values in file.categories.items()}
    except (ValueError, IndexError):
        return {}


def _lightgbm_categories(booster: Any, features: Sequence[Feature]) -> Categories:
    """LightGBM replaces spaces in names, and stores categories without their columns' names."""
    file = read_lightgbm(booster.booster_.model_to_string())
    names = file.feature_names
    spaced = {feature.name.replace(" ", "_"): feature.name for feature in features}

    inputs = tuple(features) if tuple(spaced) == names else ()
    places = categorical_places(file, inputs) or ()
    known = dict(zip(places, file.pandas_categorical, strict=False))
    return {spaced.get(names[i], names[i]): values for i, values in known.items()}
