"""Whether encoders and vectorizers fit: their numbers become columns of a sparse matrix.

They hand the numbers to SciPy, which does not look at them again. Making such a matrix dense
writes where they say, and multiplying it reads there.
"""

import numbers
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

MAX_COLUMNS = 2**31 - 1
"""Most columns of hashed features."""


def one_hot_problems(path: str, part: Any) -> list[str]:
    """What is wrong with a OneHotEncoder: each category needs a column of its own."""
    state = vars(part)
    if "categories_" not in state or "_n_features_outs" not in state:
        return []

    categories, widths = state["categories_"], state["_n_features_outs"]
    n_features = state.get("n_features_in_", len(categories))
    if not len(widths) == len(categories) == n_features:
        expected = f"expected {n_features}, one for each feature"
        return [f"{path}._n_features_outs: {len(widths)} counts, {expected}"]

    mappings = rare_indices = None
    if state.get("_infrequent_enabled"):
        mappings = state["_default_to_infrequent_mappings"]
        rare_indices = state["_infrequent_indices"]

    groups = _by_feature(mappings, n_features)
    rare = _by_feature(rare_indices, n_features)
    dropped = _by_feature(state.get("_drop_idx_after_grouping"), n_features)

    problems = []
    for i, values in enumerate(categories):
        for problem in _feature_problems(values, groups[i], rare[i], dropped[i], widths[i]):
            problems.append(f"{path}, feature {i}: {problem}")

    return problems


def _by_feature(stated: Sequence[Any] | None, n_features: int) -> Sequence[Any]:
    """Something for each feature; None for each if nothing is stated.

    Raises:
        ValueError: It is for another number of features.
    """
    if stated is None:
        return [None] * n_features

    if len(stated) != n_features:
        raise ValueError(
            f"{len(stated)} groups or dropped categories, expected {n_features}, one for each "
            "feature"
        )

    return stated


def _feature_problems(
    values: Any, groups: Any, rare: Any, dropped: Any, width: Any
) -> Iterator[str]:
    values = np.asarray(values)
    if values.ndim != 1 or not len(values):
        yield "expected a list of categories"
        return

    if not _is_sorted(values):
        yield "expected numbers of categories in order"
    if groups is None and rare is not None:
        yield "expected no rare categories without groups"

    n_codes = len(values)

    if groups is not None:
        groups = np.asarray(groups)
        if not _are_groups(groups, values.shape):
            yield f"expected the group of each of {len(values)} categories"
            return

        n_codes = int(groups.max()) + 1

    yield from _width_problems(n_codes, dropped, width)


def _width_problems(n_codes: int, dropped: Any, width: Any) -> Iterator[str]:
    """Columns of a feature: one for each code, but for one that is dropped."""
    if dropped is not None:
        if not isinstance(dropped, int | np.integer) or not 0 <= dropped < n_codes:
            yield f"drops category {str(dropped)[:40]}, expected one from 0 to {n_codes - 1}"
            return
        n_codes -= 1
    if not isinstance(width, int | np.integer) or width != n_codes:
        yield f"{str(width)[:40]} columns, expected {n_codes}, one for each category"


def _are_groups(groups: Any, shape: tuple[int, ...]) -> bool:
    return bool(groups.shape == shape and groups.dtype.kind in "iu" and groups.min() >= 0)


def _is_sorted(values: Any) -> bool:
    """Whether numbers are in order, missing ones last: they are looked up by bisection."""
    known = [value for value in values.tolist() if isinstance(value, numbers.Real)]
    array = np.array(known, dtype=np.float64)
    is_missing = np.isnan(array)
    return not is_missing[:-1].any() and bool((np.diff(array[~is_missing]) >= 0).all())


def vocabulary_problems(path: str, part: Any) -> list[str]:
    """What is wrong with an estimator that has a vocabulary: it needs as many columns as words."""
    problems = []
    for name in ("vocabulary_", "_cached_dict"):
        words = vars(part).get(name)
        if words is None:
            continue
        if type(words) is not dict:
            return [f"{path}.{name}: expected a dictionary, found {type(words).__name__}"]

        columns = np.array(list(words.values()) or [0])

        end = max(len(words), 1)
        if columns.dtype.kind not in "iu" or columns.min() < 0 or columns.max() >= end:
            problems.append(f"{path}.{name}: expected columns from 0 to {len(words) - 1}")

    return problems


def hasher_problems(path: str, part: Any) -> list[str]:
    """What is wrong with an estimator that hashes words to columns: their number."""
    n_columns = part.n_features
    if isinstance(n_columns, int | np.integer) and 1 <= n_columns <= MAX_COLUMNS:
        return []
    return [f"{path}.n_features: {str(n_columns)[:40]}, expected 1 to {MAX_COLUMNS}"]
