"""How right the decisions are that follow from scores and a threshold."""

from typing import NamedTuple

import numpy as np

from nightscore.monitoring.performance.metrics.intervals import (
    LEAST_ROWS,
    Interval,
    log_interval,
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
    "lift": "no row is positive, or none is predicted positive",
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


class Share(NamedTuple):
    """A share of rows and its 95 % interval."""

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


def decision_metrics(outcomes: Outcomes) -> list[MetricRecord]:
    """Accuracy, precision, recall, F1 and lift at the threshold."""
    return [measure(outcomes) for measure in (accuracy, precision, recall, f1, lift)]


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


def lift(outcomes: Outcomes) -> MetricRecord:
    """How many times as often rows that are predicted positive are positive as all rows are.

    It is tp n / ((tp + fp) (tp + fn)). The interval is by the delta method on the logarithm.
    """
    sums, squares, n_rows = outcomes
    total, predicted, positives = sum(sums), sums.tp + sums.fp, sums.tp + sums.fn
    if not predicted or not positives:
        return unknown("lift", n_rows, WHY_NOT["lift"])

    ratio = sums.tp * total / (predicted * positives)
    if not sums.tp:
        of_precision = share_of_rows((sums.tp, sums.fp), (squares.tp, squares.fp)).interval
        return known("lift", 0.0, n_rows, Interval(0.0, of_precision.high * total / positives))

    by_row = np.full(4, 1 / total)
    by_row -= np.array([1, 1, 0, 0]) / predicted
    by_row -= np.array([1, 0, 1, 0]) / positives
    by_row[0] += 1 / sums.tp

    margin = ratio * margin_of(float(np.square(by_row) @ squares))
    return known("lift", ratio, n_rows, log_interval(ratio, margin))


def value_of_outcomes(outcomes: Outcomes, values: DecisionValues) -> MetricRecord:
    """The mean of what rows are worth by their outcomes."""
    worth = np.array([values.tp, values.fp, values.fn, values.tn])
    total = sum(outcomes.sums)
    mean = float(worth @ outcomes.sums) / total
    if outcomes.n_rows < LEAST_ROWS:
        return known("value", mean, outcomes.n_rows, None, TOO_FEW)

    variance = float(np.square(worth - mean) @ outcomes.squares) / total**2
    return known("value", mean, outcomes.n_rows, normal_interval(mean, margin_of(variance)))


def share_of_rows(sums: tuple[float, float], squares: tuple[float, float]) -> Share:
    """The share of the first part of the rows.

    The variance of a share of weighted rows is that of a weighted mean of 0 and 1.

    Args:
        sums: Of the weights of both parts, not both 0.
        squares: Sums of the squared weights.
    """
    total = sum(sums)
    share = sums[0] / total
    variance = (squares[0] * (1 - share) ** 2 + squares[1] * share**2) / total**2
    return Share(share, share_interval(share, variance, total**2 / sum(squares)))


def _share(sums: tuple[float, float], squares: tuple[float, float]) -> Share | None:
    return share_of_rows(sums, squares) if sum(sums) else None


def _record(name: str, share: Share | None, n_rows: int) -> MetricRecord:
    if share is None:
        return unknown(name, n_rows, WHY_NOT[name])
    return known(name, share.value, n_rows, share.interval)
