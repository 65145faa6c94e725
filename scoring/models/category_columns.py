"""Columns that a scikit-learn model hands on to a booster that was trained on pandas' categories of them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nightscore.models.structure.lightgbm_file import categorical_places, read_lightgbm
from nightscore.models.structure.xgboost_file import read_xgboost
from nightscore.schemas.model import Feature

Categories = dict[str, tuple[Any, ...]]
INNER = (
    "best_estimator_",
    "estimators_",
    "calibrated_classifiers_",
    "estimator_",
    "estimator",
    "regressor_",
)
"""Where scikit-learn's estimators that give X on as it is keep what they give it to."""


def category_columns(estimator: Any, features: Sequence[Feature]) -> tuple[Categories, bool]:
    """The categories of training by the model's own column, in the order of codes; and whether others are refused.

    A booster wants pandas' categories where it was trained on them, and takes no text instead. Nothing is said of
    columns behind a transformer that may make categories of them itself.

    Args:
        estimator: Fitted, of any kind.
        features: Of the whole model.
    """
    found: Categories = {}
    refuses_unknown = False
    for booster, names in _boosters(
        estimator, {feature.name: feature.name for feature in features}
    ):
        known = _known_categories(booster, features)
        found |= {
            names[name]: values
            for name, values in known.items()
            if name in names and names[name] not in found
        }
        refuses_unknown |= bool(found) and type(booster).__module__.startswith("xgboost.")
    return found, refuses_unknown


def _boosters(estimator: Any, names: Mapping[str, str]) -> Iterator[tuple[Any, Mapping[str, str]]]:
    """Boosters that get columns as they are, with the model's name of each by the booster's."""
    from sklearn.pipeline import Pipeline

    module = type(estimator).__module__
    if module.startswith(("lightgbm.", "xgboost.")):
        if getattr(estimator, "_Booster", None) is not None:  # else it is not fitted
            yield estimator, names
        return
    if isinstance(estimator, Pipeline):
        for _, step in estimator.steps[:-1]:
            names = names if step is None or step == "passthrough" else _after(step, names)
        yield from _boosters(estimator.steps[-1][1], names)
        return
    if not module.startswith("sklearn."):
        return
    for attribute in INNER:
        inner = getattr(estimator, attribute, None)
        parts = inner if isinstance(inner, list | tuple) else [inner]
        flat = [part for part in parts if hasattr(part, "fit") or hasattr(part, "predict_proba")]
        for part in flat:
            yield from _boosters(part, names)
        if flat:
            return  # others are what these were made of


def _after(step: Any, names: Mapping[str, str]) -> Mapping[str, str]:
    """The columns that a fitted transformer hands on as they are, by their new names."""
    from sklearn.compose import ColumnTransformer

    if not isinstance(step, ColumnTransformer):
        return {}
    found = {}
    for part, transformer, columns in step.transformers_:
        is_identity = (
            transformer == "passthrough" or getattr(transformer, "func", transformer) is None
        )
        if not is_identity:
            continue
        chosen = step.feature_names_in_[columns] if not _are_names(columns) else columns
        for name in map(str, chosen):
            if name in names:
                found[f"{part}__{name}" if step.verbose_feature_names_out else name] = names[name]
    return found


def _are_names(columns: Any) -> bool:
    return isinstance(columns, list | tuple) and all(isinstance(column, str) for column in columns)


def _known_categories(booster: Any, features: Sequence[Feature]) -> Categories:
    """By the booster's own names; none where it does not say which columns they belong to."""
    if hasattr(booster, "booster_"):
        lightgbm_file = read_lightgbm(booster.booster_.model_to_string())
        names = lightgbm_file.feature_names
        spaced = {feature.name.replace(" ", "_"): feature.name for feature in features}
        places = categorical_places(
            lightgbm_file, tuple(features) if tuple(spaced) == names else ()
        )
        known = dict(zip(places or (), lightgbm_file.pandas_categorical, strict=False))
        return {spaced.get(names[i], names[i]): values for i, values in known.items()}
    xgboost_file = read_xgboost(bytes(booster.get_booster().save_raw("json")))
    try:
        return {
            xgboost_file.feature_names[i]: values for i, values in xgboost_file.categories.items()
        }
    except (ValueError, IndexError):
        return {}
