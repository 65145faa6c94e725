"""Records of metrics, and why one has no value."""

import numpy as np

from nightscore.monitoring.performance.metrics.intervals import Interval
from nightscore.profiles.bins import Floats
from nightscore.schemas.performance import MetricRecord

NO_ROWS = "no rows"
ONE_CLASS = "one class only"


def known(
    name: str, value: float, n_rows: int, interval: Interval | None, note: str = ""
) -> MetricRecord:
    """A metric that has a value, and an interval unless the note says why not."""
    low, high = interval or (None, None)
    return MetricRecord(name=name, value=float(value), low=low, high=high, n=n_rows, note=note)


def unknown(name: str, n_rows: int, why: str) -> MetricRecord:
    """A metric that has no value."""
    return MetricRecord(name=name, n=n_rows, note=why)


def why_not(values: dict[str, Floats], weights: Floats | None) -> str:
    """Why no metric can be had of these columns; empty if it can.

    Args:
        values: Columns by the name that people know them by, each of shape (n,).
        weights: Of the rows.
    """
    for name, column in values.items():
        if not len(column):
            return NO_ROWS

        n_unknown = len(column) - int(np.count_nonzero(np.isfinite(column)))
        if n_unknown:
            return f"{n_unknown:,} of {len(column):,} {name} are NaN or infinite"

    if weights is None:
        return ""
    if not (np.isfinite(weights).all() and weights.min() >= 0):
        return "a weight is negative, NaN or infinite"
    if not weights.any():
        return "all weights are 0"
    return ""
