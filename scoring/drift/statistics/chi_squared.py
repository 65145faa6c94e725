"""Chi-squared test of two samples, and the false discovery rate across columns."""

import math

import numpy as np

from nightscore.drift.statistics.columns import ColumnGroup
from nightscore.drift.statistics.proportions import has_rows, sum_bins, where_known
from nightscore.drift.statistics.statistic import Statistic
from nightscore.profiles.bins import Counts, Floats


def chi2(reference: Counts, current: Counts) -> tuple[Floats, Floats]:
    """Two-sample chi-squared of the 2 x K counts, and its p-value.

    Bins without rows are left out; there is no correction by Yates. (0, 1) where one bin is
    left, (nan, nan) where one side has no rows.

    Source: K. Pearson (1900): the sum of (observed - expected)^2 / expected, of K - 1 degrees of
    freedom.
    """
    statistic = chi2_statistic(reference, current)
    return statistic, chi2_p_value(reference, current, statistic)


def chi2_statistic(reference: Counts, current: Counts) -> Floats:
    """The first of the two."""
    both = reference + current
    n = reference.sum(axis=-1, keepdims=True)
    m = current.sum(axis=-1, keepdims=True)
    total = np.zeros(both.shape[:-1])

    with np.errstate(invalid="ignore", divide="ignore"):
        for counts, rows in ((reference, n), (current, m)):
            expected = rows * both / (n + m)
            terms = np.where(both > 0, np.square(counts - expected) / expected, 0.0)
            total = total + sum_bins(terms)

    total = np.where(_freedom(reference, current) > 0, total, 0.0)
    return where_known(has_rows(reference, current), total)


def chi2_p_value(reference: Counts, current: Counts, statistic: Floats) -> Floats:
    """The second."""
    totals, freedom = np.asarray(statistic).ravel(), _freedom(reference, current).ravel()
    pairs = zip(totals.tolist(), freedom.tolist(), strict=True)
    p_values = np.array([chi2_tail(total, k) for total, k in pairs])
    return where_known(
        has_rows(reference, current), p_values.reshape(np.shape(np.asarray(statistic)))
    )


def chi2_tail(statistic: float, freedom: int) -> float:
    """The probability of a greater chi-squared; 1 without a degree of freedom.

    SciPy would take a quarter of a second to start in each process.

    Source: M. Abramowitz, I. Stegun, "Handbook of Mathematical Functions" (1964), 26.4.4 and
    26.4.5.
    """
    if math.isnan(statistic):
        return math.nan

    half = statistic / 2
    if freedom < 1 or half <= 0:
        return 1.0
    if math.isinf(statistic):
        return 0.0

    start = 0.5 * (freedom % 2)
    tail = math.erfc(math.sqrt(half)) if start else 0.0
    logarithm = math.log(half)

    for index in range(freedom // 2):
        power = index + start
        tail += math.exp(power * logarithm - half - math.lgamma(power + 1))

    return min(1.0, tail)


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


def _freedom(reference: Counts, current: Counts) -> Counts:
    return np.asarray((reference + current > 0).sum(axis=-1) - 1)


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
