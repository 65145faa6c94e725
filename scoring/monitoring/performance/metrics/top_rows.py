"""Of the rows with the greatest scores: how many are positive, and how many more than usual."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from nightscore.monitoring.performance.metrics.intervals import (
    Interval,
    log_interval,
    margin_of,
    share_interval,
)
from nightscore.monitoring.performance.metrics.ranked_scores import RankedScores
from nightscore.monitoring.performance.metrics.records import ONE_CLASS, all_unknown, known
from nightscore.profiles.bins import Floats
from nightscore.schemas.performance import MetricRecord

TOP_SHARES = (0.01, 0.05, 0.1)
TOP_METRICS = ("precision", "recall", "f1", "lift")
LEAST_TOP_ROWS = 20
"""With fewer rows above the cut there is no band."""
TOO_FEW_ABOVE = f"no band: fewer than {LEAST_TOP_ROWS} rows"
NEAR = 0.2
"""Rows whose rank is within a fifth of the cut's tell the share of positive rows at the cut."""


class _Cut(NamedTuple):
    """The rows above a cut that takes a share of all rows, whatever their scores are."""

    share: float
    """Of the rows, above the cut."""
    sums: Floats
    """Of weights, shape (4,): positive and negative rows above, positive and negative ones below.
    """
    squares: Floats
    """Of squared weights."""
    at_cut: float
    """Share of positive rows whose scores are near the cut."""

    @property
    def precision(self) -> float:
        """Share of positive rows above the cut."""
        return float(self.sums[0] / (self.sums[0] + self.sums[1]))

    @property
    def prevalence(self) -> float:
        """Share of positive rows among all."""
        return float((self.sums[0] + self.sums[2]) / self.sums.sum())

    @property
    def n_effective(self) -> float:
        """As many rows of equal weights above the cut tell as much."""
        above = self.sums[0] + self.sums[1]
        return float(above * above / (self.squares[0] + self.squares[1]))


def top_names(shares: Sequence[float] = TOP_SHARES) -> list[str]:
    """As `top_metrics` names them."""
    return [f"{name}@{100 * share:g}%" for share in shares for name in TOP_METRICS]


def top_metrics(ranked: RankedScores, shares: Sequence[float] = TOP_SHARES) -> list[MetricRecord]:
    """Precision, recall, F1 and lift of the rows with the greatest scores, as `lift@10%`.

    The lift is the precision, divided by the share of positive rows among all. Of rows that share
    the score at the cut, each counts in part, as if they were drawn.

    Args:
        ranked: At least one row.
        shares: Of the rows (of their weights, if there are weights), above 0 and at most 1.
    """
    names = top_names(shares)
    if not ranked.n_of_rarer_class:
        return all_unknown(names, ranked.n_rows, ONE_CLASS)

    records = []
    for cut in _cuts(ranked, shares):
        records.extend(_metrics(cut, ranked.n_rows))

    return [
        record.model_copy(update={"name": name})
        for name, record in zip(names, records, strict=True)
    ]


def _cuts(ranked: RankedScores, shares: Sequence[float]) -> list[_Cut]:
    ends = np.minimum(np.outer(shares, [1, 1 - NEAR, 1 + NEAR]), 1.0)
    wanted, places = np.unique(
        np.append(ends, 1.0) * (ranked.positives + ranked.negatives), return_inverse=True
    )

    above = _above(ranked, wanted)
    total, cuts = above[-1], []

    for share, (at, inner, outer) in zip(shares, places[:-1].reshape(-1, 3), strict=True):
        sums = np.append(above[at, :2], total[:2] - above[at, :2])
        squares = np.append(above[at, 2:], total[2:] - above[at, 2:])

        near = above[outer, :2] - above[inner, :2]
        cuts.append(_Cut(share, sums, squares, float(near[0] / near.sum())))

    return cuts


def _above(ranked: RankedScores, wanted: Floats) -> Floats:
    """Positive and negative rows, and squares of theirs, shape (k, 4), of the greatest scores.

    Args:
        ranked: The rows.
        wanted: Sums of weights of these rows, shape (k,), ascending. Ties count in part.
    """
    found = np.zeros((len(wanted), 4))
    n_before, before = 0.0, np.zeros(4)

    for ties in ranked.falling():
        n_to = ties.true_positives + ties.false_positives
        rows = (ties.positives, ties.negatives, ties.positive_squares, ties.negative_squares)
        here = slice(*np.searchsorted(wanted, [n_before, n_to[-1]], "right").tolist())

        for column, of_rows in enumerate(rows):
            sums = np.append(before[column], before[column] + np.cumsum(of_rows))
            found[here, column] = np.interp(wanted[here], np.append(n_before, n_to), sums)
            before[column] = sums[-1]

        n_before = float(n_to[-1])

    found[wanted >= n_before] = before
    return found


def _metrics(cut: _Cut, n_rows: int) -> list[MetricRecord]:
    variance = float(np.square(_on_precision(cut)) @ cut.squares)
    of_precision = share_interval(cut.precision, variance, cut.n_effective)
    values = [("precision", cut.precision, of_precision)]

    for name, scale, offset, most in (
        ("recall", cut.share, 0.0, 1.0),
        ("f1", 2 * cut.share, cut.share, 1.0),
        ("lift", 1.0, 0.0, math.inf),
    ):
        factor = scale / (offset + cut.prevalence)
        interval = Interval(0.0, factor * of_precision.high)
        if cut.precision:
            of_logarithm = float(np.square(_on_logarithm(cut, offset)) @ cut.squares)
            margin = factor * cut.precision * margin_of(of_logarithm)
            interval = log_interval(factor * cut.precision, margin)

        low, high = interval
        values.append((name, factor * cut.precision, Interval(low, min(high, most))))

    if cut.n_effective < LEAST_TOP_ROWS:
        return [known(name, value, n_rows, None, TOO_FEW_ABOVE) for name, value, _ in values]
    return [known(name, value, n_rows, interval) for name, value, interval in values]


def _on_precision(cut: _Cut) -> Floats:
    """The influence of a row of weight 1 on the precision above the cut, by the four kinds of rows.

    The cut moves with the rows: a row above moves in what is at the cut for itself, a share of
    positive rows r. With p the precision and q the share, the influence is (label - r) / q above
    and 0 below, less its mean p - r.

    Source: A. van der Vaart, "Asymptotic Statistics" (1998), 20.1 and 21.2.
    """
    above = np.array([1 - cut.at_cut, -cut.at_cut, 0.0, 0.0]) / cut.share
    return np.asarray((above - (cut.precision - cut.at_cut)) / cut.sums.sum())


def _on_logarithm(cut: _Cut, offset: float) -> Floats:
    """The influence on the logarithm of precision / (offset + prevalence)."""
    labels = np.array([1.0, 0.0, 1.0, 0.0])
    on_prevalence = (labels - cut.prevalence) / cut.sums.sum()
    on_precision = _on_precision(cut) / cut.precision
    return np.asarray(on_precision - on_prevalence / (offset + cut.prevalence))
