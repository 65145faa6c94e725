"""How right the decisions are that follow from scores and a threshold."""

from typing import NamedTuple

import numpy as np

from nightscore.monitoring.performance.metrics.intervals import (
    LEAST_ROWS,
    Interval,
    margin_of,
    normal_interval,
    share_interval,
)
from nightscore.monitoring.performance.metrics.ranked_scores import RankedScores
from nightscore.monitoring.performance.metrics.records import TOO_FEW, known, unknown
from nightscore.schemas.decision import DecisionValues
from nightscore.schemas.performance import MetricRecord

WHY_NOT = {
    "precision": "no row is predicted positive",
    "recall": "no row is positive",
    "f1": "no row is positive or predicted positive",
}


class Confusion(NamedTuple):
    """Rows, or sums of weights, of the four outcomes."""

    tp: float
    fp: float
    fn: float
    tn: float


class Outcomes(NamedTuple):
    """The confusion, and what its uncertainty follows from."""

    sums: Confusion
    """Sums of weights; rows, if there are no weights."""
    squares: Confusion
    """Sums of squared weights."""
    n_rows: int


class _Share(NamedTuple):
    value: float
    interval: Interval


def confusion(ranked: RankedScores, threshold: float) -> Outcomes:
    """The four outcomes. A row is predicted positive if its score is greater than the threshold."""
    first = int(np.searchsorted(ranked.scores, threshold, "right"))
    labels = ranked.labels[first:]

    if ranked.weights is None:
        tp = float(np.count_nonzero(labels))
        fp = float(len(labels)) - tp
        sums = Confusion(tp, fp, ranked.positives - tp, ranked.negatives - fp)
        return Outcomes(sums, sums, ranked.n_rows)

    outcome = 2 * (np.arange(ranked.n_rows) >= first) + ranked.labels
    sums, squares = (
        Confusion(*np.bincount(outcome, weights, minlength=4)[::-1].tolist())
        for weights in (ranked.weights, np.square(ranked.weights))
    )
    return Outcomes(sums, squares, ranked.n_rows)


def decision_metrics(
    outcomes: Outcomes, values: DecisionValues | None = None
) -> list[MetricRecord]:
    """Accuracy, precision, recall and F1, and the value of the outcomes if there are values."""
    records = [accuracy(outcomes), precision(outcomes), recall(outcomes), f1(outcomes)]
    if values is not None:
        records.append(value(outcomes, values))

    return records


def accuracy(outcomes: Outcomes) -> MetricRecord:
    """The share of rows that are predicted as they came."""
    sums, squares, n_rows = outcomes
    share = _share(
        (sums.tp + sums.tn, sums.fp + sums.fn), (squares.tp + squares.tn, squares.fp + squares.fn)
    )
    return _record("accuracy", share, n_rows)


def precision(outcomes: Outcomes) -> MetricRecord:
    """The share of positive rows among those that are predicted positive."""
    sums, squares, n_rows = outcomes
    return _record("precision", _share((sums.tp, sums.fp), (squares.tp, squares.fp)), n_rows)


def recall(outcomes: Outcomes) -> MetricRecord:
    """The share of rows predicted positive among those that are positive."""
    sums, squares, n_rows = outcomes
    return _record("recall", _share((sums.tp, sums.fn), (squares.tp, squares.fn)), n_rows)


def f1(outcomes: Outcomes) -> MetricRecord:
    """The harmonic mean of precision and recall.

    It is 2 J / (1 + J), where J = tp / (tp + fp + fn) is a share of rows. So are the ends of its
    interval, which are made from Wilson's of J.

    Source: K. Lam, V. Gopal, J. Qian, "Confidence Intervals for the F1 Score: A Comparison of Four
    Methods" (2023), Wilson indirect.
    """
    sums, squares, n_rows = outcomes
    share = _share((sums.tp, sums.fp + sums.fn), (squares.tp, squares.fp + squares.fn))
    if share is None:
        return unknown("f1", n_rows, WHY_NOT["f1"])

    low, high = (2 * end / (1 + end) for end in share.interval)
    harmonic_mean = 2 * sums.tp / (2 * sums.tp + sums.fp + sums.fn)
    return known("f1", harmonic_mean, n_rows, Interval(low, high))


def value(outcomes: Outcomes, values: DecisionValues) -> MetricRecord:
    """The mean of what rows are worth by their outcomes."""
    worth = np.array([values.tp, values.fp, values.fn, values.tn])
    total = sum(outcomes.sums)
    mean = float(worth @ outcomes.sums) / total
    if outcomes.n_rows < LEAST_ROWS:
        return known("value", mean, outcomes.n_rows, None, TOO_FEW)

    variance = float(np.square(worth - mean) @ outcomes.squares) / total**2
    return known("value", mean, outcomes.n_rows, normal_interval(mean, margin_of(variance)))


def _share(sums: tuple[float, float], squares: tuple[float, float]) -> _Share | None:
    """The share of the first part of the rows. None if there are none.

    The variance of a share of weighted rows is that of a weighted mean of 0 and 1.
    """
    total = sum(sums)
    if not total:
        return None

    share = sums[0] / total
    variance = (squares[0] * (1 - share) ** 2 + squares[1] * share**2) / total**2
    return _Share(share, share_interval(share, variance, total**2 / sum(squares)))


def _record(name: str, share: _Share | None, n_rows: int) -> MetricRecord:
    if share is None:
        return unknown(name, n_rows, WHY_NOT[name])
    return known(name, share.value, n_rows, share.interval)
