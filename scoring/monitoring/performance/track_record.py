"""What was estimated of partitions and what came true, with the estimator's record of error."""

import statistics
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

from nightscore.monitoring.performance.estimates.binary import OF_THRESHOLD
from nightscore.monitoring.performance.estimates.wording import (
    HEADLINE,
    LABELS,
    metric_of,
    show_metric,
    show_number,
    show_share,
)
from nightscore.monitoring.performance.partition_spread import spread_of_partitions
from nightscore.schemas.decision import Decision
from nightscore.schemas.evaluation import CoverageRecord, EvaluationRecord
from nightscore.schemas.manifest import Manifest
from nightscore.schemas.model_uri import exact_uri
from nightscore.schemas.partition import show_value
from nightscore.schemas.performance import AdjustedRecord, EstimateRecord, MetricRecord
from nightscore.schemas.text import counted

NOT_ESTIMATED = "The run has estimated nothing."


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionPerformance:
    """What is expected of one partition's predictions."""

    partition: str
    run_id: str
    model: str
    """URI of the model version."""
    n_rows: int = 0
    """Rows that have a score in the profile."""
    estimated: tuple[MetricRecord, ...] = ()
    note: str = ""
    """Why nothing is estimated."""
    adjusted: tuple[MetricRecord, ...] = ()
    """The same estimates, adjusted for covariate shift. Empty: there is no sample of the rows."""
    adjusted_note: str = ""
    """What moved, or why nothing is adjusted. Empty: the job asks for no samples."""
    baseline: tuple[MetricRecord, ...] = ()
    """What came true in the labelled rows of the model version's baseline."""
    realised: tuple[MetricRecord, ...] = ()
    """What came true, by the newest evaluation of these results. Empty: there is none."""
    labelled_share: float | None = None
    """Share of the predictions whose label is known in that evaluation."""
    coverage: tuple[CoverageRecord, ...] = ()
    """The same by the age of the predictions, if it is known when labels became known."""
    is_matured: bool = False
    """All labels should be known by then. Early ones may be a selection."""
    is_selection: bool = False
    """The labelled rows are a selection by score, which does not stand for all rows."""

    @property
    def is_comparable(self) -> bool:
        """Whether estimates are compared with what came true."""
        return self.is_matured and not self.is_selection


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackRecord:
    """How right the estimates of one metric were, over the matured partitions."""

    metric: str
    n_partitions: int
    n_within: int
    """Partitions whose realised value is within the band of the estimate."""
    mean_absolute_error: float
    mean_error: float
    """Estimated minus realised: positive if the estimates promise too much."""
    n_left_out: int = 0
    """Matured partitions that are left out: their labelled rows are a selection by score."""
    spread: float | None = None
    """Standard deviation between partitions, beyond what the bands count. Null: too few."""
    margin: float | None = None
    """A partition of usual size comes true within so much of its estimate, in 95 of 100 cases."""
    n_within_margin: int | None = None
    """Partitions that are within it, each judged by the others."""


def recorded_performance(manifest: Manifest) -> PartitionPerformance:
    """What a run itself has estimated."""
    estimate = manifest.estimate or EstimateRecord()
    n_rows = [metric.n for metric in estimate.metrics]

    return PartitionPerformance(
        partition=show_value(manifest.partition),
        run_id=manifest.run_id,
        model=exact_uri(manifest.model.name, manifest.model.version),
        n_rows=max(n_rows, default=0),
        note="" if manifest.estimate is not None else NOT_ESTIMATED,
        estimated=estimate.metrics,
        baseline=estimate.baseline,
    )


def with_outcomes(
    partition: PartitionPerformance, evaluation: EvaluationRecord, decision: Decision
) -> PartitionPerformance:
    """The partition with what came true, and the adjusted estimate that was recorded with it.

    Args:
        partition: As it was estimated.
        evaluation: Of the same run.
        decision: Metrics of another threshold or of other values are left out.
    """
    adjusted = evaluation.adjusted or AdjustedRecord()

    return replace(
        partition,
        realised=_of_decision(evaluation.metrics, evaluation, decision),
        adjusted=_of_decision(adjusted.metrics, evaluation, decision),
        adjusted_note=adjusted.note,
        labelled_share=evaluation.counts.share,
        coverage=evaluation.coverage,
        is_matured=evaluation.is_matured,
        is_selection=evaluation.selection is not None,
    )


def _of_decision(
    metrics: tuple[MetricRecord, ...], evaluation: EvaluationRecord, decision: Decision
) -> tuple[MetricRecord, ...]:
    """Those of an evaluation's metrics that are of this threshold and these values."""
    if evaluation.task == "binary" and evaluation.threshold != decision.threshold:
        metrics = tuple(metric for metric in metrics if metric.name not in OF_THRESHOLD)

    if evaluation.values != decision.values:
        metrics = tuple(metric for metric in metrics if metric.name != "value")

    return metrics


def track_records(
    partitions: Iterable[PartitionPerformance], *, adjusted: bool = False
) -> list[TrackRecord]:
    """Metric by metric, estimates against what came true.

    Args:
        partitions: Estimated and evaluated.
        adjusted: Of the estimates that are adjusted for covariate shift.
    """
    pairs: dict[str, list[tuple[MetricRecord, float]]] = {}
    n_left_out: Counter[str] = Counter()

    for partition in partitions:
        realised = {metric.name: metric.value for metric in partition.realised}

        for estimate in partition.adjusted if adjusted else partition.estimated:
            value = realised.get(estimate.name)
            if not partition.is_matured or value is None or estimate.value is None:
                continue

            if partition.is_selection:
                n_left_out[estimate.name] += 1
            else:
                pairs.setdefault(estimate.name, []).append((estimate, value))

    records = []
    for name, found in pairs.items():
        errors = [(estimate.value or 0.0) - value for estimate, value in found]
        spread = spread_of_partitions(found)

        records.append(
            TrackRecord(
                metric=name,
                n_partitions=len(found),
                n_within=sum(is_within(estimate, value) for estimate, value in found),
                mean_absolute_error=statistics.fmean(map(abs, errors)),
                mean_error=statistics.fmean(errors),
                n_left_out=n_left_out[name],
                spread=spread.deviation if spread else None,
                margin=spread.margin if spread else None,
                n_within_margin=spread.n_within if spread else None,
            )
        )

    return records


def is_within(estimate: MetricRecord, value: float) -> bool:
    """Whether what came true is within the band of the estimate."""
    if estimate.low is None or estimate.high is None:
        return False
    return estimate.low <= value <= estimate.high


def is_compared(partition: PartitionPerformance, name: str) -> bool:
    """Whether a metric was estimated, and all labels that it came true by are there."""
    estimate, truth = metric_of(partition.estimated, name), metric_of(partition.realised, name)

    if estimate is None or truth is None or not partition.is_comparable:
        return False

    return estimate.value is not None and truth.value is not None


def is_outside(partition: PartitionPerformance, name: str) -> bool:
    """Whether a metric came true outside the band of its estimate."""
    estimate, truth = metric_of(partition.estimated, name), metric_of(partition.realised, name)

    if estimate is None or truth is None or truth.value is None:
        return False
    if not is_compared(partition, name) or estimate.low is None:
        return False

    return not is_within(estimate, truth.value)


def realised_headlines(partition: PartitionPerformance) -> list[tuple[str, str]]:
    """What came true of the metrics that matter most, each as a subject and a value."""
    found = []
    for name in HEADLINE:
        metric = metric_of(partition.realised, name)
        if metric is None:
            continue

        subject = f"{LABELS[name]} {'came true' if partition.is_matured else 'so far'}"
        notes = [metric.note, _against_band(partition, name)]

        if partition.labelled_share is not None:
            notes.append(f"{show_share(partition.labelled_share)} labelled")
        if partition.is_selection:
            notes.append("a selection by score")

        found.append((subject, ", ".join([show_metric(metric), *filter(None, notes)])))

    return found


def _against_band(partition: PartitionPerformance, name: str) -> str:
    """Whether the metric is within the band of its estimate. Empty: they are not compared."""
    estimate = metric_of(partition.estimated, name)
    if estimate is None or estimate.low is None or not is_compared(partition, name):
        return ""
    return "outside the band of the estimate" if is_outside(partition, name) else "within the band"


def show_record(record: TrackRecord | None) -> str:
    """How right the estimates of a metric were, as a sentence."""
    if record is None:
        return "No partition has both an estimate and labels that stand for all its rows yet."

    tendency = "too high" if record.mean_error > 0 else "too low"
    partitions = counted(record.n_partitions, "matured partition")
    left_out = ""
    if record.n_left_out:
        left_out = f" Left out as selections by score: {counted(record.n_left_out, 'partition')}."

    return (
        f"{record.n_within} of {partitions} came true within the "
        f"band; estimates were off by {show_number(record.mean_absolute_error)} on average, "
        f"on balance {show_number(abs(record.mean_error))} {tendency}.{left_out}"
        f"{_show_spread(record)}"
    )


def _show_spread(record: TrackRecord) -> str:
    """How much partitions differ beyond their rows. Empty: they are too few to tell."""
    if record.spread is None or record.margin is None or record.n_within_margin is None:
        return ""
    if record.spread == 0:
        return " The band counts rows only, and partitions differ by no more than that."

    return (
        " The band counts rows only, and partitions differ by more: expect one within "
        f"{show_number(record.margin)} of its estimate; {record.n_within_margin} of "
        f"{record.n_partitions} were, each judged by the others."
    )


def show_coverage(partitions: Iterable[PartitionPerformance]) -> str:
    """How many labels are known at which age of the predictions, as a sentence.

    Each share is the mean of the partitions that have reached this age. Empty: the labels do not
    say when they became known.
    """
    shares: dict[float, list[float]] = {}
    for partition in partitions:
        for one in partition.coverage:
            shares.setdefault(one.days, []).append(one.share)

    parts = []
    for days, found in sorted(shares.items()):
        age = "1 day" if days == 1 else f"{days:g} days"
        mean = statistics.fmean(found)
        parts.append(f"{mean:.1%} after {age} ({counted(len(found), 'partition')})")

    return f"Labels known by age: {', '.join(parts)}." if parts else ""
