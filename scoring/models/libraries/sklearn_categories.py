"""The values that encoders of a scikit-learn model were fitted on."""

from typing import Any

import numpy as np

from nightscore.models.structure.sklearn_pipelines import walk_estimators

Categories = dict[str, tuple[Any, ...]]


def encoder_categories(estimator: Any) -> Categories:
    """The categories of each named column that an encoder was fitted on, without missing values."""
    categories: Categories = {}
    for part in walk_estimators(estimator):
        for _, transformer, columns in getattr(part, "transformers_", ()):
            names = _column_names(part, columns)
            for step in _steps(transformer):
                _add_categories(categories, names, step)
        _add_categories(categories, getattr(part, "feature_names_in_", None), part)
    return categories


def _steps(transformer: Any) -> list[Any]:
    """A pipeline's steps: an imputer before the encoder keeps the columns."""
    if hasattr(transformer, "steps"):
        return [step for _, step in transformer.steps]
    return [transformer]


def _add_categories(categories: Categories, names: Any, encoder: Any) -> None:
    by_column = getattr(encoder, "categories_", None)
    if names is None or not isinstance(by_column, list) or len(names) != len(by_column):
        return

    for name, values in zip(names, by_column, strict=True):
        present = [value for value in values.tolist() if value is not None and value == value]
        categories[str(name)] = tuple(present)


def _column_names(transformer: Any, columns: Any) -> list[str] | None:
    """Names of a column transformer's selection: names, positions, a slice or a mask."""
    if isinstance(columns, str):
        return [columns]

    is_sequence = isinstance(columns, list | tuple | np.ndarray)
    if is_sequence and all(isinstance(column, str) for column in columns):
        return [str(column) for column in columns]

    names = getattr(transformer, "feature_names_in_", None)
    if names is None:
        return None

    return [str(name) for name in np.atleast_1d(np.asarray(names)[columns])]
