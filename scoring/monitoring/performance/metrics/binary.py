"""All metrics of a binary model, from one sort of its scores."""

from typing import NamedTuple

from nightscore.monitoring.performance.metrics.calibration_curve import calibration_curve
from nightscore.monitoring.performance.metrics.decisions import (
    Confusion,
    confusion,
    decision_metrics,
    value_of_outcomes,
)
from nightscore.monitoring.performance.metrics.probability import brier, is_probability, log_loss
from nightscore.monitoring.performance.metrics.ranked_scores import (
    Labels,
    RankedScores,
    rank_scores,
    rank_segments,
)
from nightscore.monitoring.performance.metrics.ranking import average_precision, roc_auc
from nightscore.monitoring.performance.metrics.recalibration import calibration_metrics
from nightscore.monitoring.performance.metrics.records import all_unknown, why_not
from nightscore.monitoring.performance.metrics.segments import Segments, worst_first
from nightscore.monitoring.performance.metrics.top_rows import top_metrics, top_names
from nightscore.profiles.bins import Floats
from nightscore.schemas.decision import DecisionValues
from nightscore.schemas.performance import CalibrationBinRecord, MetricRecord, SegmentRecord

BINARY_METRICS = (
    "roc_auc",
    "average_precision",
    "log_loss",
    "brier",
    "accuracy",
    "precision",
    "recall",
    "f1",
    "lift",
    "calibration_slope",
    "calibration_intercept",
)
"""In the order in which people see them. `value` is the last if the job names values."""


class BinaryPerformance(NamedTuple):
    """How right a binary model is."""

    metrics: list[MetricRecord]
    """As `binary_metrics`."""
    confusion: Confusion | None
    """None if no metric can be had."""
    curve: list[CalibrationBinRecord]
    """By ascending score; empty if the score is no probability."""


def binary_metrics(
    score: Floats,
    label: Labels,
    *,
    threshold: float,
    values: DecisionValues | None = None,
    weights: Floats | None = None,
) -> list[MetricRecord]:
    """The metrics of `BINARY_METRICS`, `value` if there are values, and those of the top rows.

    All have 95 % intervals. What cannot be had has no value and a note: without rows, with one
    class only, or with scores that are NaN. Leave such rows out first, and count them, if the
    others are to be measured.

    Args:
        score: Shape (n,), float64: the probability of the positive class, or another score.
        label: Shape (n,), bool: whether the row is positive.
        threshold: A row is predicted positive if its score is greater, as scikit-learn's `predict`.
        values: What the outcomes are worth; `value` is their mean over the rows.
        weights: Shape (n,), float64, none negative, such as inverse probabilities of being
            labelled. Rows of weight 0 are left out. Intervals are of as many rows as the weights
            are worth.
    """
    performance = binary_performance(
        score, label, threshold=threshold, values=values, weights=weights
    )

    return performance.metrics


def binary_performance(
    score: Floats,
    label: Labels,
    *,
    threshold: float,
    values: DecisionValues | None = None,
    weights: Floats | None = None,
) -> BinaryPerformance:
    """The metrics, the confusion and the calibration curve, from one sort.

    Args:
        score: As in `binary_metrics`.
        label: As there.
        threshold: As there.
        values: As there.
        weights: As there.
    """
    why = why_not({"scores": score}, weights)
    if why:
        names = BINARY_METRICS if values is None else (*BINARY_METRICS, "value")
        return BinaryPerformance(all_unknown([*names, *top_names()], len(score), why), None, [])

    ranked = rank_scores(score, label, weights)
    metrics = [*metrics_of_ranked(ranked, threshold, values), *top_metrics(ranked)]
    curve = calibration_curve(ranked) if is_probability(ranked) else []

    return BinaryPerformance(metrics, confusion(ranked, threshold).sums, curve)


def metrics_of_ranked(
    ranked: RankedScores, threshold: float, values: DecisionValues | None = None
) -> list[MetricRecord]:
    """Those of `BINARY_METRICS`, and `value` if there are values, of at least one row."""
    outcomes = confusion(ranked, threshold)
    metrics = [
        roc_auc(ranked),
        average_precision(ranked),
        log_loss(ranked),
        brier(ranked),
        *decision_metrics(outcomes),
        *calibration_metrics(ranked),
    ]

    if values is not None:
        metrics.append(value_of_outcomes(outcomes, values))

    return metrics


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
