"""Means over rows and their margins, in passes over blocks of rows."""

from collections.abc import Callable
from typing import NamedTuple

from nightscore.monitoring.performance.metrics.intervals import (
    LEAST_ROWS,
    Interval,
    freedom_of,
    margin_of,
)
from nightscore.profiles.bins import Floats

BLOCK_ROWS = 8_192
"""Arrays of more than 128 KiB are mapped anew each time, which takes ten times as long."""


class Mean(NamedTuple):
    """A mean over rows."""

    value: float
    margin: float
    """Half of its 95 % interval, before that is transformed."""
    n_effective: float
    """As many rows of equal weights tell as much."""

    def interval(self, shape: Callable[[float, float], Interval]) -> Interval | None:
        """95 %. None of too few rows.

        Args:
            shape: `normal_interval` or `log_interval`.
        """
        if self.n_effective < LEAST_ROWS:
            return None
        return shape(self.value, self.margin)


def mean_of_rows(
    values: Callable[[slice], Floats], n_rows: int, weights: Floats | None = None
) -> Mean:
    """The mean of values that are made in blocks, once for the mean and once for its margin.

    The variance is sum of w² (x - mean)² / (sum of w)², times n / (n - 1) of effective rows.

    Source: W. Cochran, "Sampling Techniques" (1977), 6.3, for the variance of a weighted mean;
    L. Kish, "Survey Sampling" (1965), 8.2, for effective rows: (sum of w)² / sum of w².

    Args:
        values: Makes the values of a block of rows, finite.
        n_rows: Rows, at least one.
        weights: Shape (n,), float64, not all 0.
    """
    blocks = blocks_of_rows(n_rows)
    total, total_weight, n_effective = 0.0, float(n_rows), float(n_rows)
    if weights is None:
        total = sum(float(values(rows).sum()) for rows in blocks)
    else:
        total = sum(float(values(rows) @ weights[rows]) for rows in blocks)
        total_weight = float(weights.sum())
        n_effective = total_weight * total_weight / float(weights @ weights)

    mean = total / total_weight
    squares, fourths = 0.0, 0.0

    for rows in blocks:
        distance = values(rows) - mean
        if weights is not None:
            distance *= weights[rows]
        distance /= total_weight
        distance *= distance
        squares += float(distance.sum())
        fourths += float(distance @ distance)

    freedom = freedom_of(squares, fourths, n_effective)
    variance = squares * n_effective / max(n_effective - 1, 1.0)
    return Mean(mean, margin_of(variance, freedom), n_effective)


def blocks_of_rows(n_rows: int) -> list[slice]:
    """Slices that cover the rows."""
    starts = range(0, n_rows, BLOCK_ROWS)
    return [slice(start, min(start + BLOCK_ROWS, n_rows)) for start in starts]
