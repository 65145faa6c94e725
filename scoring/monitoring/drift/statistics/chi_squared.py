"""Chi-squared of two samples, and the false discovery rate across columns."""

import numpy as np

from nightscore.monitoring.drift.statistics.shared.columns import ColumnGroup
from nightscore.monitoring.drift.statistics.shared.contingency import chi2_p_value, chi2_statistic
from nightscore.monitoring.drift.statistics.shared.statistic import Statistic
from nightscore.profiles.bins import Floats


def benjamini_hochberg(p_values: Floats) -> Floats:
    """q-values: the false discovery rate at which each would be called significant. nan stays nan.

    Source: Y. Benjamini, Y. Hochberg, "Controlling the false discovery rate" (1995).
    """
    q_values = np.full(len(p_values), np.nan)
    known = np.flatnonzero(~np.isnan(p_values))
    order = known[np.argsort(p_values[known])]

    adjusted = p_values[order] * len(known) / np.arange(1, len(known) + 1)
    q_values[order] = np.minimum(1.0, np.minimum.accumulate(adjusted[::-1])[::-1])

    return q_values


def _chi2(group: ColumnGroup) -> Floats:
    return group.once("chi2", lambda columns: chi2_statistic(*columns.coarse_bins))


CHI2_Q = Statistic(
    name="chi2_qvalue",
    label="q",
    title="false discovery rate",
    meaning="Small: the difference is no accident, even with this many columns compared.",
    source="Benjamini-Hochberg of chi2_pvalue; Y. Benjamini, Y. Hochberg (1995)",
    across=lambda values: benjamini_hochberg(values["chi2_pvalue"]),
    of_equal=1.0,
    is_symmetric=True,
    views=frozenset({"page"}),
    pattern="{:.2g}",
    least=1e-4,
)
CHI2 = Statistic(
    name="chi2",
    label="chi²",
    title="chi-squared",
    meaning="How unlikely the difference is by accident; grows with the number of rows.",
    source="sum of (observed - expected)² / expected; K. Pearson (1900)",
    measure=_chi2,
    is_symmetric=True,
    p_value="chi2_pvalue",
    q_value="chi2_qvalue",
)
CHI2_P = Statistic(
    name="chi2_pvalue",
    label="p",
    title="p-value of chi-squared",
    meaning="The probability of so large a difference by accident, for one column alone.",
    source="upper tail of chi-squared with K - 1 degrees of freedom; Abramowitz and Stegun (1964)",
    measure=lambda group: chi2_p_value(*group.coarse_bins, _chi2(group)),
    of_equal=1.0,
    is_symmetric=True,
    pattern="{:.2g}",
    least=1e-4,
)
