"""Estimate against truth, partition by partition, in words and figures."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nightscore.monitoring.performance.estimates.wording import (
    LABELS,
    metric_of,
    show_band,
    show_metric,
    show_number,
    show_share,
)
from nightscore.monitoring.performance.track_record import (
    PartitionPerformance,
    is_within,
    show_record,
    track_records,
)
from nightscore.schemas.performance import MetricRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class PerformanceRow:
    """The figures of one partition."""

    partition: str
    estimated: str
    adjusted: str
    """For covariate shift. Empty: there is no sample of the rows."""
    realised: str
    error: str
    """Estimated minus realised. Empty: one is not known, or labels do not stand for all rows."""
    labelled: str
    """Share of the predictions whose label is known."""
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PerformanceFigures:
    """One metric over the partitions."""

    title: str
    alternative: str
    """What a drawing of it shows, in words."""
    record: str
    """How right the estimates were."""
    adjusted_record: str
    """The same of those that are adjusted for covariate shift. Empty: there are none."""
    rows: list[PerformanceRow]


def known_metrics(partitions: Sequence[PartitionPerformance], names: Sequence[str]) -> list[str]:
    """Those of the metrics that were estimated or came true somewhere."""
    known = set()
    for partition in partitions:
        for metric in (*partition.estimated, *partition.realised):
            if metric.value is not None:
                known.add(metric.name)

    return [name for name in names if name in known]


def performance_figures(
    partitions: Sequence[PartitionPerformance], name: str
) -> PerformanceFigures:
    """The figures of a metric.

    Args:
        partitions: In order.
        name: Of the metric.
    """
    records = {record.metric: record for record in track_records(partitions)}

    return PerformanceFigures(
        title=LABELS.get(name, name),
        alternative=_in_words(partitions, name),
        record=show_record(records.get(name)),
        adjusted_record=_adjusted_record(partitions, name),
        rows=[_row(partition, name) for partition in partitions],
    )


def _adjusted_record(partitions: Sequence[PartitionPerformance], name: str) -> str:
    adjusted = [metric_of(partition.adjusted, name) for partition in partitions]
    if not any(metric is not None and metric.value is not None for metric in adjusted):
        return ""

    records = {record.metric: record for record in track_records(partitions, adjusted=True)}
    return f"Adjusted for covariate shift: {show_record(records.get(name))}"


def _row(partition: PartitionPerformance, name: str) -> PerformanceRow:
    estimate = metric_of(partition.estimated, name)
    adjusted = metric_of(partition.adjusted, name)
    truth = metric_of(partition.realised, name)

    notes = [partition.note, *(metric.note for metric in (estimate, truth) if metric)]

    if truth is not None and not partition.is_matured:
        notes.append("more labels are to come")
    if truth is not None and partition.is_matured and partition.is_selection:
        notes.append("not compared: the labelled rows are a selection by score")

    return PerformanceRow(
        partition=partition.partition,
        estimated="" if estimate is None else show_metric(estimate),
        adjusted="" if adjusted is None else show_metric(adjusted),
        realised="" if truth is None else show_metric(truth),
        error=_show_error(estimate, truth) if partition.is_comparable else "",
        labelled=show_share(partition.labelled_share),
        note="; ".join(note for note in notes if note),
    )


def _show_error(estimate: MetricRecord | None, truth: MetricRecord | None) -> str:
    if estimate is None or truth is None or estimate.value is None or truth.value is None:
        return ""

    error = f"{estimate.value - truth.value:+.3f}"
    if show_band(estimate) and not is_within(estimate, truth.value):
        error += ", outside of the band"
    return error


def _in_words(partitions: Sequence[PartitionPerformance], name: str) -> str:
    """From where to where the estimate and the truth go."""
    title = LABELS.get(name, name)
    texts = []

    for subject, known in (
        ("estimated", list(_known(partitions, name, of_estimates=True))),
        ("came true", list(_known(partitions, name, of_estimates=False))),
    ):
        if known:
            texts.append(f"{title} {subject}: {known[0]} to {known[-1]}")

    return "; ".join(texts)


def _known(
    partitions: Sequence[PartitionPerformance], name: str, *, of_estimates: bool
) -> Iterator[str]:
    for partition in partitions:
        metrics = partition.estimated if of_estimates else partition.realised
        metric = metric_of(metrics, name)
        if metric is not None and metric.value is not None:
            yield f"{show_number(metric.value)} on {partition.partition}"
