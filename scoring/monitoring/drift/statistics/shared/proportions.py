"""Counts as shares of a whole, and sums over bins: what several statistics use.

Counts have the shape (..., K), results the shape (...): one column or many at once.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from nightscore.profiles.bins import Counts, Floats


def proportions(counts: Counts) -> Floats:
    """Shares of the whole; nan where there are no rows."""
    with np.errstate(invalid="ignore"):
        return np.asarray(counts / counts.sum(axis=-1, keepdims=True))


def sum_bins(values: npt.NDArray[Any]) -> Floats:
    """Sum over the bins."""
    return values.sum(axis=-1)  # type: ignore[no-any-return]


def has_rows(reference: Counts, current: Counts) -> npt.NDArray[np.bool_]:
    """Whether both sides have rows."""
    return np.asarray((reference.sum(axis=-1) > 0) & (current.sum(axis=-1) > 0))


def where_known(is_known: Any, values: Floats) -> Floats:
    """The values, nan where they are not known; a single one as a number."""
    return np.where(is_known, values, np.nan)[()]
