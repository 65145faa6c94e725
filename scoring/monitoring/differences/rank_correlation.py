"""Spearman's rank correlation of two models' scores, from rows by bins of both."""

import math
from typing import NamedTuple

import numpy as np

from nightscore.profiles.bins import Counts, Floats


class Bounds(NamedTuple):
    """A rank correlation, and what it is at least and at most."""

    value: float
    low: float
    high: float


class _Ranks(NamedTuple):
    """Mean ranks of the bins of one model, about their mean."""

    rows: Counts
    """Of each bin."""
    centred: Floats
    within: float
    """Sum of squares of ranks about their bins' means, at most: that of rows without ties."""

    @property
    def between(self) -> float:
        return float(np.sum(self.rows * self.centred**2))


def rank_correlation(joint: Counts, *, n_sampled: int) -> Bounds | None:
    """Spearman's correlation of the scores behind the bins. None: it does not exist.

    With A the champion's ranks and A' the means of their bins, A - A' is orthogonal to whatever is
    constant in the bins, likewise B of the challenger's. So

        |<A, B> - <A', B'>| <= |A' - E[A'|b]| |B - B'| + |A - A'| |B' - E[B'|a]| + |A - A'| |B - B'|

    by Cauchy and Schwarz, where E[A'|b] is the mean over the challenger's bin. The norms of A - A'
    and B - B' are greatest if no two rows of a bin have the same score. Of a sample, the band of
    its error is added.

    Source: C. Spearman (1904); the bound as above; the error of a sample: D. Bonett, T. Wright,
    "Sample size requirements for estimating Pearson, Kendall and Spearman correlations"
    (Psychometrika, 2000).

    Args:
        joint: Rows by the champion's and the challenger's bins, ascending.
        n_sampled: Rows that were looked at, if they are a sample. 0: all rows were.
    """
    one, other = _ranks(joint.sum(axis=1)), _ranks(joint.sum(axis=0))
    if not one.between or not other.between:
        return None

    product = float(one.centred @ joint @ other.centred)
    slack = _spread_within(joint.T, one, other) * math.sqrt(other.within)
    slack += math.sqrt(one.within) * _spread_within(joint, other, one)
    slack += math.sqrt(one.within * other.within)

    grouped = math.sqrt(one.between * other.between)
    whole = math.sqrt((one.between + one.within) * (other.between + other.within))
    value = product / grouped

    low, high = product - slack, product + slack

    low = low / (whole if low > 0 else grouped)
    high = high / (grouped if high > 0 else whole)

    error = 0.0
    if n_sampled > 3:
        error = 1.96 * math.sqrt((1 + value**2 / 2) / (n_sampled - 3)) * (1 - value**2)
    return Bounds(value, max(low - error, -1.0), min(high + error, 1.0))


def _ranks(rows: Counts) -> _Ranks:
    ends = np.cumsum(rows)
    means = ends - (rows - 1) / 2
    centred = means - (ends[-1] + 1) / 2

    floats = rows.astype(np.float64)
    within = float(np.sum(floats * (floats**2 - 1)) / 12)
    return _Ranks(rows, centred, within)


def _spread_within(joint: Counts, one: _Ranks, other: _Ranks) -> float:
    """The norm of one model's bin means about their mean over the other model's bins.

    Args:
        joint: Rows by the other model's and this one's bins.
        one: Of the model.
        other: Of the other.
    """
    has_rows = other.rows > 0
    means = (joint[has_rows] @ one.centred) / other.rows[has_rows]
    explained = float(np.sum(other.rows[has_rows] * means**2))
    return math.sqrt(max(one.between - explained, 0.0))
