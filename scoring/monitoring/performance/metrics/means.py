"""Means over rows and the variances of those means, in blocks."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from nightscore.monitoring.performance.metrics.ranked_scores import BLOCK_ROWS
from nightscore.profiles.bins import Floats


class Mean(NamedTuple):
    """A mean over rows."""

    value: float
    variance: float
    """Of the mean."""


def mean_of_rows(
    values: Callable[[slice], Floats], n_rows: int, weights: Floats | None = None
) -> Mean:
    """The weighted mean of values that are made in blocks, and its variance.

    Source of the variance with weights: the linearised ratio, sum of w² (x - mean)² / (sum of w)²;
    W. Cochran, "Sampling Techniques" (1977), 6.

    Args:
        values: Makes the values of a block of rows.
        n_rows: Rows, at least one.
        weights: Shape (n,), float64, not all 0.
    """
    total, total_weight = 0.0, 0.0
    for start in range(0, n_rows, BLOCK_ROWS):
        rows = slice(start, min(start + BLOCK_ROWS, n_rows))
        block = values(rows)
        weight = np.ones(len(block)) if weights is None else weights[rows]
        total += float(block @ weight)
        total_weight += float(weight.sum())

    mean = total / total_weight
    squares = 0.0
    for start in range(0, n_rows, BLOCK_ROWS):
        rows = slice(start, min(start + BLOCK_ROWS, n_rows))
        deviation = values(rows) - mean
        if weights is not None:
            deviation *= weights[rows]
        squares += float(deviation @ deviation)

    return Mean(mean, squares / total_weight**2)
