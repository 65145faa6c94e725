"""All metrics of a binary model, from one sort of its scores."""

from nightscore.monitoring.performance.metrics.decisions import confusion, decision_metrics
from nightscore.monitoring.performance.metrics.probability import brier, log_loss
from nightscore.monitoring.performance.metrics.ranked_scores import (
    Labels,
    RankedScores,
    rank_scores,
    rank_segments,
)
from nightscore.monitoring.performance.metrics.ranking import average_precision, roc_auc
from nightscore.monitoring.performance.metrics.records import all_unknown, why_not
from nightscore.monitoring.performance.metrics.segments import Segments, worst_first
from nightscore.profiles.bins import Floats
from nightscore.schemas.decision import DecisionValues
from nightscore.schemas.performance import MetricRecord, SegmentRecord

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
        weights: Shape (n,), float64, none negative, such as inverse probabilities of being
            labelled. Rows of weight 0 are left out. Intervals are of as many rows as the weights
            are worth.
    """
    why = why_not({"scores": score}, weights)
    if why:
        names = BINARY_METRICS if values is None else (*BINARY_METRICS, "value")
        return all_unknown(names, len(score), why)

    return metrics_of_ranked(rank_scores(score, label, weights), threshold, values)


def metrics_of_ranked(
    ranked: RankedScores, threshold: float, values: DecisionValues | None = None
) -> list[MetricRecord]:
    """As `binary_metrics`, of at least one row."""
    return [
        roc_auc(ranked),
        average_precision(ranked),
        log_loss(ranked),
        brier(ranked),
        *decision_metrics(confusion(ranked, threshold), values),
    ]


def binary_by_segment(
    score: Floats,
    label: Labels,
    segments: Segments,
    *,
    threshold: float,
    values: DecisionValues | None = None,
    weights: Floats | None = None,
) -> list[SegmentRecord]:
    """The metrics of each segment that has rows, the worst first, from one sort of all scores.

    Without records if no metric can be had of all rows.

    Args:
        score: As in `binary_metrics`.
        label: As there.
        segments: Of the rows.
        threshold: As in `binary_metrics`.
        values: As there.
        weights: As there.
    """
    if why_not({"scores": score}, weights):
        return []

    records = []
    for code, ranked in rank_segments(score, label, segments.codes, weights):
        metrics = tuple(metrics_of_ranked(ranked, threshold, values))
        name = segments.names[code]
        records.append(SegmentRecord(segment=name, n=ranked.n_rows, metrics=metrics))

    return worst_first(records, segments.worst_by)
