"""How much partitions differ from their estimates beyond what their numbers of rows explain.

The band of an estimate takes rows as independent of each other. Rows of one day are not: one storm
delays all flights of a day. How much days differ beyond their rows shows where labels are known.
With the error e of a partition's estimate and the standard error s that its band counts, the
variance between partitions is the mean of e^2 - s^2, or 0 if that is negative. A partition is
expected within

    t * sqrt(s^2 + variance between partitions)

of its estimate, where t is the quantile of Student's distribution with as many degrees of freedom
as there are partitions. This holds for partitions that differ as these do.

Source: W. Cochran, "The combination of estimates from different experiments" (1954), for the
moments; J. Higgins, S. Thompson, D. Spiegelhalter, "A re-evaluation of random-effects
meta-analysis" (2009), for the prediction interval.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from nightscore.monitoring.performance.metrics.intervals import Z_95, student_quantile
from nightscore.profiles.bins import Floats
from nightscore.schemas.performance import MetricRecord

LEAST_PARTITIONS = 10
"""With fewer, the spread that they show is not trusted."""


class PartitionSpread(NamedTuple):
    """What partitions whose labels are known say about the next one."""

    deviation: float
    """Standard deviation of what came true around its estimate, beyond what rows explain."""
    margin: float
    """A partition of usual size comes true within so much of its estimate, in 95 of 100 cases."""
    n_within: int
    """Partitions that are within such a margin of their own size, each judged by the others."""


def spread_of_partitions(
    pairs: Sequence[tuple[MetricRecord, float]],
) -> PartitionSpread | None:
    """How much partitions differ from their estimates.

    Args:
        pairs: The estimate of each partition, and what came true.

    Returns:
        None: they are fewer than 10, or an estimate has no band.
    """
    if len(pairs) < LEAST_PARTITIONS:
        return None

    errors, of_rows = [], []
    for estimate, value in pairs:
        if estimate.value is None or estimate.low is None or estimate.high is None:
            return None

        errors.append(estimate.value - value)
        of_rows.append(((estimate.high - estimate.low) / (2 * Z_95)) ** 2)

    return _spread_of(np.array(errors), np.array(of_rows))


def _spread_of(errors: Floats, of_rows: Floats) -> PartitionSpread:
    """The same from errors and the variances that bands count, each of shape (partitions,)."""
    n_partitions = len(errors)
    beyond = np.square(errors) - of_rows

    # Each is judged by the others: one that is far off would widen its own margin.
    of_others = (beyond.sum() - beyond) / (n_partitions - 1)
    margins = expected_margin(of_rows, of_others, n_partitions - 1)
    is_within = np.abs(errors) <= margins

    between = float(beyond.mean())
    usual = expected_margin(of_rows.mean(), np.float64(between), n_partitions)
    return PartitionSpread(max(0.0, between) ** 0.5, float(usual), int(is_within.sum()))


def expected_margin(
    of_rows: Floats | np.float64, between: Floats | np.float64, n_partitions: int
) -> Floats | np.float64:
    """How far from its estimate a partition is expected at most, in 95 of 100 cases.

    Args:
        of_rows: The variance that its band counts.
        between: Variance between partitions, from moments; it may be negative.
        n_partitions: Which it is from.
    """
    margin: Floats | np.float64 = student_quantile(n_partitions) * np.sqrt(
        of_rows + np.maximum(between, 0.0)
    )
    return margin
