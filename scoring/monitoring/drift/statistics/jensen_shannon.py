"""Jensen-Shannon distance."""

import numpy as np

from nightscore.monitoring.drift.statistics.shared.proportions import (
    proportions,
    sum_bins,
    where_known,
)
from nightscore.monitoring.drift.statistics.shared.statistic import Statistic
from nightscore.profiles.bins import Counts, Floats


def js_distance(reference: Counts, current: Counts) -> Floats:
    """Square root of the Jensen-Shannon divergence, base 2, from 0 to 1.

    Source: D. Endres, J. Schindelin, "A new metric for probability distributions" (2003).
    """
    p, q = proportions(reference), proportions(current)
    middle = (p + q) / 2
    divergence = (_entropy(p, middle) + _entropy(q, middle)) / 2
    is_known = (~(np.isnan(p) | np.isnan(q))).all(axis=-1)
    return where_known(is_known, np.sqrt(np.maximum(0.0, divergence)))


def _entropy(p: Floats, middle: Floats) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        return sum_bins(np.where(p > 0, p * np.log2(p / middle), 0.0))


JENSEN_SHANNON = Statistic(
    name="js_distance",
    label="JS",
    title="Jensen-Shannon distance",
    meaning="How different the two distributions are, from 0 (equal) to 1 (disjoint).",
    source="root of the divergence, base 2; D. Endres, J. Schindelin (2003)",
    measure=lambda group: js_distance(*group.bins),
    is_symmetric=True,
    views=frozenset({"page", "drift"}),
)
