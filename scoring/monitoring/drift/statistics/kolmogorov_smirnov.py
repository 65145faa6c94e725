"""Kolmogorov-Smirnov distance of binned numbers, and how much greater it can be within a bin."""

import numpy as np

from nightscore.monitoring.drift.statistics.shared.columns import ColumnGroup
from nightscore.monitoring.drift.statistics.shared.proportions import proportions
from nightscore.monitoring.drift.statistics.shared.statistic import NUMBERS, Statistic
from nightscore.profiles.bins import Counts, Floats


def kolmogorov_smirnov(reference: Counts, current: Counts) -> Floats:
    """The largest difference of the distribution functions at the edges of the bins.

    Source: A. Kolmogorov (1933), N. Smirnov (1948): sup |F - G|.
    """
    p, q = proportions(reference), proportions(current)
    difference = np.cumsum(p, axis=-1) - np.cumsum(q, axis=-1)
    return np.abs(difference).max(axis=-1)  # type: ignore[no-any-return]


def kolmogorov_smirnov_upper(reference: Counts, current: Counts) -> Floats:
    """The most that the distance can be between the edges: more by the largest share of a bin."""
    p, q = proportions(reference), proportions(current)
    largest_share = np.maximum(p.max(axis=-1), q.max(axis=-1))
    return np.asarray(np.minimum(1.0, kolmogorov_smirnov(reference, current) + largest_share))[()]


def _ks(group: ColumnGroup) -> Floats:
    return kolmogorov_smirnov(*group.bins)


KS = Statistic(
    name="ks",
    label="KS",
    title="Kolmogorov-Smirnov distance",
    meaning="The largest difference between the two cumulative distributions.",
    source="sup |F - G|; A. Kolmogorov (1933), N. Smirnov (1948)",
    applies_to=NUMBERS,
    measure=_ks,
    is_symmetric=True,
    warning=0.1,
    critical=0.2,
    views=frozenset({"page", "drift", "history", "prefect", "segments"}),
)
KS_UPPER = Statistic(
    name="ks_upper",
    label="KS, at most",
    title="upper bound of the Kolmogorov-Smirnov distance",
    meaning="The most that the distance of the unbinned values can be.",
    source="ks plus the largest share of a bin, at most 1",
    applies_to=NUMBERS,
    measure=lambda group: kolmogorov_smirnov_upper(*group.bins),
    is_symmetric=True,
    of_equal=float("nan"),
)
