"""Distances between two sets of counts over the same bins or categories.

All take counts of a reference and of what is compared with it, shape (..., K), and give shape (...): many columns
with as many bins cost little more than one. They are 0 for equal proportions. Where one side has no rows at all there
is no distance: nan.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from nightscore.profiles.bins import Counts, Floats

LEAST_PROPORTION = 1e-4


def proportions(counts: Counts) -> Floats:
    """Shares of the whole; nan where there is nothing."""
    with np.errstate(invalid="ignore"):
        return np.asarray(counts / counts.sum(axis=-1, keepdims=True))


def psi(reference: Counts, current: Counts) -> Floats:
    """Population stability index, natural logarithm; shares below 1e-4 count as that, without renormalising.

    Source: N. Siddiqi, "Credit Risk Scorecards" (2006), sum of (q - p) ln(q / p).
    """
    p, q = (np.maximum(proportions(counts), LEAST_PROPORTION) for counts in (reference, current))
    return _sum((q - p) * np.log(q / p))


def psi_laplace(reference: Counts, current: Counts) -> Floats:
    """The same on shares (c + 1/2) / (N + K/2), which need no floor.

    Source: H. Jeffreys' prior for multinomial proportions, "Theory of Probability" (1961).
    """
    n_bins = reference.shape[-1]
    with np.errstate(invalid="ignore"):
        p, q = (
            (c + 0.5) / (c.sum(axis=-1, keepdims=True) + 0.5 * n_bins) for c in (reference, current)
        )
    return _where(_is_filled(reference, current), _sum((q - p) * np.log(q / p)))


def psi_noise_floor(reference: Counts, current: Counts) -> Floats:
    """What the index is on average of two samples of one distribution: (K - 1)(1/n + 1/m).

    Source: B. Yurdakul, J. Naranjo, "Statistical properties of the population stability index" (2020), section 2.
    """
    n, m = reference.sum(axis=-1), current.sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return _where(_is_filled(reference, current), (reference.shape[-1] - 1) * (1 / n + 1 / m))


def js_distance(reference: Counts, current: Counts) -> Floats:
    """Square root of the Jensen-Shannon divergence, base 2, from 0 to 1.

    Source: D. Endres, J. Schindelin, "A new metric for probability distributions" (2003).
    """
    p, q = proportions(reference), proportions(current)
    middle = (p + q) / 2
    divergence = (_entropy_terms(p, middle) + _entropy_terms(q, middle)) / 2
    return _where((~(np.isnan(p) | np.isnan(q))).all(axis=-1), np.sqrt(np.maximum(0.0, divergence)))


def hellinger(reference: Counts, current: Counts) -> Floats:
    """From 0 to 1: the Euclidean distance of the square roots of the shares, over the square root of 2."""
    p, q = proportions(reference), proportions(current)
    return np.sqrt(_sum(np.square(np.sqrt(p) - np.sqrt(q))) / 2)


def total_variation(reference: Counts, current: Counts) -> Floats:
    """Half of the summed absolute differences of the shares, from 0 to 1."""
    return _sum(np.abs(proportions(reference) - proportions(current))) / 2


def largest_difference(reference: Counts, current: Counts) -> Floats:
    """Of any share."""
    if not reference.shape[-1]:
        return np.full(reference.shape[:-1], np.nan)[()]
    return np.abs(proportions(reference) - proportions(current)).max(axis=-1)  # type: ignore[no-any-return]


def chi2(reference: Counts, current: Counts) -> tuple[Floats, Floats]:
    """Two-sample chi-squared of the 2 x K counts and its p-value; bins without rows are left out, no Yates.

    Source: K. Pearson (1900): the sum of (observed - expected)^2 / expected, of K - 1 degrees of freedom.
    (0, 1) where one bin is left, (nan, nan) where one side has no rows.
    """
    both = reference + current
    n, m = (counts.sum(axis=-1, keepdims=True) for counts in (reference, current))
    total = np.zeros(both.shape[:-1])
    with np.errstate(invalid="ignore", divide="ignore"):
        for counts, rows in ((reference, n), (current, m)):
            expected = rows * both / (n + m)
            total = total + _sum(np.where(both > 0, np.square(counts - expected) / expected, 0.0))
    freedom = (both > 0).sum(axis=-1) - 1
    total = np.where(freedom > 0, total, 0.0)
    p_values = [
        chi2_tail(x, k)
        for x, k in zip(total.ravel().tolist(), freedom.ravel().tolist(), strict=True)
    ]
    is_filled = _is_filled(reference, current)
    return _where(is_filled, total), _where(is_filled, np.array(p_values).reshape(total.shape))


def chi2_tail(statistic: float, freedom: int) -> float:
    """The probability of a greater chi-squared; 1 without a degree of freedom.

    Source: M. Abramowitz, I. Stegun, "Handbook of Mathematical Functions" (1964), 26.4.4 and 26.4.5. In each process
    SciPy would take a quarter of a second to start.
    """
    if math.isnan(statistic):
        return math.nan
    half = statistic / 2
    if freedom < 1 or half <= 0:
        return 1.0
    if math.isinf(statistic):
        return 0.0
    start = 0.5 * (freedom % 2)
    found = math.erfc(math.sqrt(half)) if start else 0.0
    logarithm = math.log(half)
    for index in range(freedom // 2):
        power = index + start
        found += math.exp(power * logarithm - half - math.lgamma(power + 1))
    return min(1.0, found)


def kolmogorov_smirnov(reference: Counts, current: Counts) -> tuple[Floats, Floats]:
    """The largest difference of the distribution functions at the bins' edges, and the most that it can be between
    them: more by the largest share of one bin.
    """
    p, q = proportions(reference), proportions(current)
    found = np.abs(np.cumsum(p, axis=-1) - np.cumsum(q, axis=-1)).max(axis=-1)
    return found, np.minimum(1.0, found + np.maximum(p.max(axis=-1), q.max(axis=-1)))


def wasserstein(
    edges: Floats, reference: Counts, current: Counts, reference_sums: Floats, current_sums: Floats
) -> Floats:
    """Distance of the first order in the column's own unit, from the bins' counts and sums.

    Exact where the difference of the distribution functions keeps its sign within each bin; else a little less. In a
    bin, the integral of D = F - G is hi D(hi) - lo D(lo) minus the difference of the bin's means' shares.
    """
    n, m = (counts.sum(axis=-1, keepdims=True) for counts in (reference, current))
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        difference = (np.cumsum(reference, axis=-1) / n - np.cumsum(current, axis=-1) / m)[..., :-1]
        at_edges = edges * difference
        ends = np.zeros((*at_edges.shape[:-1], 1))
        steps = np.diff(np.concatenate([ends, at_edges, ends], axis=-1), axis=-1)
        return _where(
            _is_filled(reference, current),
            _sum(np.abs(steps - (reference_sums / n - current_sums / m))),
        )


def benjamini_hochberg(p_values: Floats) -> Floats:
    """q-values: the false discovery rate at which each would be found. nan stays nan.

    Source: Y. Benjamini, Y. Hochberg, "Controlling the false discovery rate" (1995).
    """
    found = np.full(len(p_values), np.nan)
    known = np.flatnonzero(~np.isnan(p_values))
    order = known[np.argsort(p_values[known])]
    adjusted = p_values[order] * len(known) / np.arange(1, len(known) + 1)
    found[order] = np.minimum(1.0, np.minimum.accumulate(adjusted[::-1])[::-1])
    return found


def _entropy_terms(p: Floats, middle: npt.NDArray[np.float64]) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        return _sum(np.where(p > 0, p * np.log2(p / middle), 0.0))


def _sum(values: npt.NDArray[Any]) -> Floats:
    return values.sum(axis=-1)  # type: ignore[no-any-return]


def _is_filled(reference: Counts, current: Counts) -> npt.NDArray[np.bool_]:
    """Whether both sides have rows."""
    return np.asarray((reference.sum(axis=-1) > 0) & (current.sum(axis=-1) > 0))


def _where(is_known: Any, values: Floats) -> Floats:
    """The values, nan where there is none; a single one as a number."""
    return np.where(is_known, values, np.nan)[()]
