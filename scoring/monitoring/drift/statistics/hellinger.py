"""Hellinger distance."""

import numpy as np

from nightscore.monitoring.drift.statistics.shared.proportions import proportions, sum_bins
from nightscore.monitoring.drift.statistics.shared.statistic import Statistic
from nightscore.profiles.bins import Counts, Floats


def hellinger(reference: Counts, current: Counts) -> Floats:
    """Euclidean distance of the square roots of the shares, over the square root of 2.

    Source: E. Hellinger (1909). From 0 to 1.
    """
    p, q = proportions(reference), proportions(current)
    return np.sqrt(sum_bins(np.square(np.sqrt(p) - np.sqrt(q))) / 2)


HELLINGER = Statistic(
    name="hellinger",
    label="Hellinger",
    title="Hellinger distance",
    meaning="How different the two distributions are, from 0 (equal) to 1 (disjoint).",
    source="|sqrt(p) - sqrt(q)| / sqrt(2); E. Hellinger (1909)",
    measure=lambda group: hellinger(*group.bins),
    is_symmetric=True,
)
