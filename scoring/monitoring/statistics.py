"""Distances between two sets of counts over the same bins or categories.

All take counts of a reference and of what is compared with it, shape (K,), and are 0 for equal proportions. Where one
side has no rows at all there is no distance: nan.
"""

import numpy as np
import numpy.typing as npt

from scoring.monitoring.bins import Counts, Floats

LEAST_PROPORTION = 1e-4


def proportions(counts: Counts) -> Floats:
    """Shares of the whole; nan where there is nothing."""
    total = counts.sum()
    return counts / total if total else np.full(len(counts), np.nan)


def psi(reference: Counts, current: Counts) -> float:
    """Population stability index, natural logarithm; shares below 1e-4 count as that, without renormalising.

    Source: N. Siddiqi, "Credit Risk Scorecards" (2006), sum of (q - p) ln(q / p).
    """
    p, q = (np.maximum(proportions(counts), LEAST_PROPORTION) for counts in (reference, current))
    return float(((q - p) * np.log(q / p)).sum())


def psi_laplace(reference: Counts, current: Counts) -> float:
    """The same on shares (c + 1/2) / (N + K/2), which need no floor.

    Source: H. Jeffreys' prior for multinomial proportions, "Theory of Probability" (1961).
    """
    if not reference.sum() or not current.sum():
        return float("nan")
    p, q = ((counts + 0.5) / (counts.sum() + 0.5 * len(counts)) for counts in (reference, current))
    return float(((q - p) * np.log(q / p)).sum())


def psi_noise_floor(reference: Counts, current: Counts) -> float:
    """What the index is on average of two samples of one distribution: (K - 1)(1/n + 1/m).

    Source: B. Yurdakul, J. Naranjo, "Statistical properties of the population stability index" (2020), section 2.
    """
    n, m = int(reference.sum()), int(current.sum())
    return (len(reference) - 1) * (1 / n + 1 / m) if n and m else float("nan")


def js_distance(reference: Counts, current: Counts) -> float:
    """Square root of the Jensen-Shannon divergence, base 2, from 0 to 1.

    Source: D. Endres, J. Schindelin, "A new metric for probability distributions" (2003).
    """
    p, q = proportions(reference), proportions(current)
    if np.isnan(p).any() or np.isnan(q).any():
        return float("nan")
    middle = (p + q) / 2
    divergence = (_entropy_terms(p, middle) + _entropy_terms(q, middle)) / 2
    return float(np.sqrt(max(0.0, divergence)))


def hellinger(reference: Counts, current: Counts) -> float:
    """From 0 to 1: the Euclidean distance of the square roots of the shares, over the square root of 2."""
    p, q = proportions(reference), proportions(current)
    return float(np.sqrt(np.square(np.sqrt(p) - np.sqrt(q)).sum() / 2))


def total_variation(reference: Counts, current: Counts) -> float:
    """Half of the summed absolute differences of the shares, from 0 to 1."""
    return float(np.abs(proportions(reference) - proportions(current)).sum() / 2)


def largest_difference(reference: Counts, current: Counts) -> float:
    """Of any share."""
    if not len(reference):
        return float("nan")
    return float(np.abs(proportions(reference) - proportions(current)).max())


def chi2(reference: Counts, current: Counts) -> tuple[float, float]:
    """Two-sample chi-squared of the 2 x K counts and its p-value; bins without rows are left out, no Yates.

    Source: K. Pearson (1900): the sum of (observed - expected)^2 / expected, of K - 1 degrees of freedom.
    (0, 1) where one bin is left, (nan, nan) where one side has no rows.
    """
    table = np.array([reference, current])[:, (reference + current) > 0]
    if not reference.sum() or not current.sum():
        return float("nan"), float("nan")
    if table.shape[1] < 2:
        return 0.0, 1.0
    from scipy import special  # `scipy.stats` would cost a second of each worker, and half a millisecond a column

    rows = table.sum(axis=1, keepdims=True)
    expected = rows * table.sum(axis=0) / rows.sum()
    statistic = float((np.square(table - expected) / expected).sum())
    return statistic, float(special.chdtrc(table.shape[1] - 1, statistic))


def kolmogorov_smirnov(reference: Counts, current: Counts) -> tuple[float, float]:
    """The largest difference of the distribution functions at the bins' edges, and the most that it can be between
    them: more by the largest share of one bin.
    """
    p, q = proportions(reference), proportions(current)
    if np.isnan(p).any() or np.isnan(q).any():
        return float("nan"), float("nan")
    found = float(np.abs(np.cumsum(p) - np.cumsum(q)).max())
    return found, min(1.0, found + float(max(p.max(), q.max())))


def wasserstein(
    edges: Floats, reference: Counts, current: Counts, reference_sums: Floats, current_sums: Floats
) -> float:
    """Distance of the first order in the column's own unit, from the bins' counts and sums.

    Exact where the difference of the distribution functions keeps its sign within each bin; else a little less. In a
    bin, the integral of D = F - G is hi D(hi) - lo D(lo) minus the difference of the bin's means' shares.
    """
    n, m = int(reference.sum()), int(current.sum())
    if not n or not m:
        return float("nan")
    difference = (np.cumsum(reference) / n - np.cumsum(current) / m)[:-1]
    at_edges = np.concatenate([[0.0], edges * difference, [0.0]])
    return float(np.abs(np.diff(at_edges) - (reference_sums / n - current_sums / m)).sum())


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


def _entropy_terms(p: Floats, middle: npt.NDArray[np.float64]) -> float:
    some = p > 0
    return float((p[some] * np.log2(p[some] / middle[some])).sum())
