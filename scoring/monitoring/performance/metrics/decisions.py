"""How right the decisions are that follow from scores and a threshold."""

from typing import NamedTuple

import numpy as np

from nightscore.monitoring.performance.metrics.intervals import (
    Interval,
    normal_interval,
    wilson_interval,
)
from nightscore.monitoring.performance.metrics.ranked_scores import Labels
from nightscore.monitoring.performance.metrics.records import known, unknown
from nightscore.profiles.bins import Floats
from nightscore.schemas.performance import DecisionValues, MetricRecord


class Confusion(NamedTuple):
    """Rows, or sums of weights, of the four outcomes."""

    tp: float
    fp: float
    fn: float
    tn: float


def confusion(
    score: Floats, label: Labels, threshold: float, weights: Floats | None = None
) -> Confusion:
    """The four outcomes. A row is predicted positive if its score is greater than the threshold.

    Args:
        score: Shape (n,), float64, without NaN.
        label: Shape (n,), bool.
        threshold: Of the score.
        weights: Shape (n,), float64.
    """
    outcome = 2 * (score > threshold).astype(np.int8) + label
    sums = np.bincount(outcome, weights, minlength=4)
    tn, fn, fp, tp = sums.astype(np.float64).tolist()
    return Confusion(tp, fp, fn, tn)


def decision_metrics(
    score: Floats,
    label: Labels,
    *,
    threshold: float,
    values: DecisionValues | None = None,
    weights: Floats | None = None,
) -> list[MetricRecord]:
    """Accuracy, precision, recall and F1, and the value of the outcomes if there are values."""
    outcomes = confusion(score, label, threshold, weights)
    squares = outcomes if weights is None else confusion(score, label, threshold, weights**2)
    return metrics_of_confusion(outcomes, squares, len(score), values)


def metrics_of_confusion(
    outcomes: Confusion, squares: Confusion, n_rows: int, values: DecisionValues | None
) -> list[MetricRecord]:
    """As `decision_metrics`.

    Args:
        outcomes: Rows or sums of weights.
        squares: Rows or sums of squared weights.
        n_rows: Rows.
        values: What the outcomes are worth.
    """
    tp, fp, fn, tn = outcomes
    tp2, fp2, fn2, tn2 = squares
    records = [
        _share("accuracy", (tp + tn, fp + fn), (tp2 + tn2, fp2 + fn2), n_rows),
        _share("precision", (tp, fp), (tp2, fp2), n_rows),
        _share("recall", (tp, fn), (tp2, fn2), n_rows),
        _f1(outcomes, squares, n_rows),
    ]
    if values is not None:
        records.append(_value(outcomes, squares, n_rows, values))

    return records


WHY_NOT = {
    "precision": "no row is predicted positive",
    "recall": "no row is positive",
    "f1": "no row is positive or predicted positive",
}


def _share(
    name: str, sums: tuple[float, float], squares: tuple[float, float], n_rows: int
) -> MetricRecord:
    if not sum(sums):
        return unknown(name, n_rows, WHY_NOT[name])

    share = sums[0] / sum(sums)
    return known(name, share, n_rows, _share_interval(sums, squares))


def _share_interval(sums: tuple[float, float], squares: tuple[float, float]) -> Interval:
    """Wilson's, of as many rows as the weights are worth."""
    total = sum(sums)
    share = sums[0] / total
    variance = (squares[0] * (1 - share) ** 2 + squares[1] * share**2) / total**2
    n_effective = total**2 / sum(squares)
    if 0 < share < 1:
        n_effective = share * (1 - share) / variance

    return wilson_interval(share, n_effective)


def _f1(outcomes: Confusion, squares: Confusion, n_rows: int) -> MetricRecord:
    """F1 = 2 J / (1 + J) with J = tp / (tp + fp + fn), a share whose interval is Wilson's.

    Source: K. Takahashi et al., "Confidence interval for micro-averaged F1 and macro-averaged F1
    scores" (2022), for the delta method; here the share itself is transformed.
    """
    sums = (outcomes.tp, outcomes.fp + outcomes.fn)
    if not sum(sums):
        return unknown("f1", n_rows, WHY_NOT["f1"])

    jaccard = _share_interval(sums, (squares.tp, squares.fp + squares.fn))
    low, high = (2 * end / (1 + end) for end in jaccard)
    value = 2 * outcomes.tp / (2 * outcomes.tp + outcomes.fp + outcomes.fn)
    return known("f1", value, n_rows, Interval(low, high))


def _value(
    outcomes: Confusion, squares: Confusion, n_rows: int, values: DecisionValues
) -> MetricRecord:
    worth = np.array([values.tp, values.fp, values.fn, values.tn])
    mean = float(worth @ outcomes) / sum(outcomes)
    variance = float(np.square(worth - mean) @ squares) / sum(outcomes) ** 2
    return known("value", mean, n_rows, normal_interval(mean, variance))
