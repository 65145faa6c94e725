"""All metrics of a binary model, from one sort of its scores."""

from nightscore.monitoring.performance.metrics.decisions import decision_metrics
from nightscore.monitoring.performance.metrics.probability import brier, log_loss
from nightscore.monitoring.performance.metrics.ranked_scores import Labels, rank_scores
from nightscore.monitoring.performance.metrics.ranking import average_precision, roc_auc
from nightscore.monitoring.performance.metrics.records import unknown, why_not
from nightscore.profiles.bins import Floats
from nightscore.schemas.performance import DecisionValues, MetricRecord

BINARY_METRICS = (
    "roc_auc",
    "average_precision",
    "log_loss",
    "brier",
    "accuracy",
    "precision",
    "recall",
    "f1",
)
"""In the order in which people see them. `value` follows if the job names values."""


def binary_metrics(
    score: Floats,
    label: Labels,
    *,
    threshold: float,
    values: DecisionValues | None = None,
    weights: Floats | None = None,
) -> list[MetricRecord]:
    """The metrics of `BINARY_METRICS`, and `value` if there are values, with 95 % intervals.

    What cannot be had has no value and a note: without rows, with one class only, or with scores
    that are NaN. Leave such rows out first, and count them, if the others are to be measured.

    Args:
        score: Shape (n,), float64: the probability of the positive class, or another score.
        label: Shape (n,), bool: whether the row is positive.
        threshold: A row is predicted positive if its score is greater, as scikit-learn's `predict`.
        values: What the outcomes are worth; `value` is their mean over the rows.
        weights: Shape (n,), float64, such as inverse probabilities of being labelled.
    """
    names = BINARY_METRICS if values is None else (*BINARY_METRICS, "value")
    why = why_not({"scores": score}, weights)
    if why:
        return [unknown(name, len(score), why) for name in names]

    ranked = rank_scores(score, label, weights)
    return [
        roc_auc(ranked),
        average_precision(ranked),
        log_loss(score, label, weights),
        brier(score, label, weights),
        *decision_metrics(score, label, threshold=threshold, values=values, weights=weights),
    ]
