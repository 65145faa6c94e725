"""Records of metrics, and why one has no value or no band."""

from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

from nightscore.monitoring.performance.metrics.intervals import LEAST_ROWS, Interval
from nightscore.profiles.bins import Floats
from nightscore.schemas.performance import MetricRecord

NO_ROWS = "no rows"
ONE_CLASS = "one class only"
TOO_FEW = f"no band: fewer than {LEAST_ROWS} rows"
TOO_FEW_OF_A_CLASS = f"no band: fewer than {LEAST_ROWS} rows of one class"


def known(
    name: str, value: float, n_rows: int, interval: Interval | None, note: str = ""
) -> MetricRecord:
    """A metric that has a value, and an interval unless the note says why not."""
    low, high = interval or (None, None)
    return MetricRecord(name=name, value=float(value), low=low, high=high, n=n_rows, note=note)


def unknown(name: str, n_rows: int, why: str) -> MetricRecord:
    """A metric that has no value."""
    return MetricRecord(name=name, n=n_rows, note=why)


def all_unknown(names: Iterable[str], n_rows: int, why: str) -> list[MetricRecord]:
    """Metrics none of which has a value."""
    return [unknown(name, n_rows, why) for name in names]


def why_not(columns: Mapping[str, npt.NDArray[np.number]], weights: Floats | None) -> str:
    """Why no metric can be had of these columns; empty if it can.

    Args:
        columns: By the name that people know them by, each of shape (n,) or (n, k).
        weights: Of the rows, shape (n,), float64.
    """
    for name, column in columns.items():
        if not len(column):
            return NO_ROWS

        n_unknown = column.size - int(np.count_nonzero(np.isfinite(column)))
        if n_unknown:
            return f"{n_unknown:,} of {column.size:,} {name} are NaN or infinite"

    if weights is None:
        return ""

    if not (np.isfinite(weights).all() and weights.min() >= 0):
        return "a weight is negative, NaN or infinite"
    if not weights.any():
        return "all weights are 0"
    return ""
