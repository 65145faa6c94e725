"""Estimate against truth: what was estimated and what came true, drawn over time and in words."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nightscore.monitoring.performance.estimates.wording import (
    LABELS,
    metric_of,
    show_band,
    show_metric,
    show_number,
)
from nightscore.monitoring.performance.track_record import (
    PartitionPerformance,
    TrackRecord,
    is_within,
    show_record,
    track_records,
)
from nightscore.profiles.bins import Floats
from nightscore.reports.plots import AXIS, CURRENT, TEXT, draw_svg, isolated, label_dates
from nightscore.schemas.performance import MetricRecord

SIZE = (8.2, 3.2)
"""Inches: as wide as the page."""
BAND_OPACITY = 0.22


@dataclass(frozen=True, slots=True, kw_only=True)
class PerformanceRow:
    """The figures of one partition."""

    partition: str
    estimated: str
    realised: str
    error: str
    """Estimated minus realised."""
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PerformancePlot:
    """One metric over the partitions: drawn, in words and in figures."""

    title: str
    svg: str
    alternative: str
    """What the drawing shows, in words."""
    record: str
    """How right the estimates were."""
    rows: list[PerformanceRow]


def known_metrics(partitions: Sequence[PartitionPerformance], names: Sequence[str]) -> list[str]:
    """Those of the metrics that were estimated or came true somewhere."""
    known = set()
    for partition in partitions:
        for metric in (*partition.estimated, *partition.realised):
            if metric.value is not None:
                known.add(metric.name)

    return [name for name in names if name in known]


def draw_performance(
    partitions: Sequence[PartitionPerformance], names: Sequence[str]
) -> list[PerformancePlot]:
    """The plots of some metrics.

    Args:
        partitions: In order.
        names: Of metrics, in the order in which people see them.
    """
    records = {record.metric: record for record in track_records(partitions)}
    return [_plot(partitions, name, records.get(name)) for name in names]


def _plot(
    partitions: Sequence[PartitionPerformance], name: str, record: TrackRecord | None
) -> PerformancePlot:
    title = LABELS.get(name, name)
    return PerformancePlot(
        title=title,
        svg=performance_svg(partitions, name),
        alternative=_in_words(partitions, name),
        record=show_record(record),
        rows=[_row(partition, name) for partition in partitions],
    )


def performance_svg(partitions: Sequence[PartitionPerformance], name: str) -> str:
    """The estimate as a line with its band, what came true as dots, and below them the error.

    What came true has its own interval. A hollow dot is of labels that are not complete. The
    baseline is dashed. The error is estimated minus realised.

    Args:
        partitions: In order.
        name: Of the metric.
    """
    estimated = _series([partition.estimated for partition in partitions], name)
    realised = _series([partition.realised for partition in partitions], name)
    baseline = _series([partition.baseline for partition in partitions], name)
    is_matured = np.array([partition.is_matured for partition in partitions])

    def draw(figure: Any) -> None:
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        _draw_estimates(above, estimated)
        above.plot(baseline.values, color=TEXT, linewidth=1, linestyle=(0, (4, 3)))
        _draw_outcomes(above, realised, is_matured)
        above.set_ylabel(LABELS.get(name, name), fontsize=7.5, color=TEXT)
        above.locator_params(axis="y", nbins=5)

        _draw_errors(below, estimated.values - realised.values, is_matured)
        label_dates(below, [partition.partition for partition in partitions])
        below.set_xlim(-0.6, len(partitions) - 0.4)

    return draw_svg(draw, SIZE, f"performance {name}")


@dataclass(frozen=True, slots=True)
class _Series:
    """A metric over the partitions; nan where it is not known."""

    values: Floats
    low: Floats
    high: Floats


def _series(of_partitions: Sequence[Sequence[MetricRecord]], name: str) -> _Series:
    found = [metric_of(metrics, name) or MetricRecord(name=name) for metrics in of_partitions]
    return _Series(
        np.array([metric.value for metric in found], np.float64),
        np.array([metric.low for metric in found], np.float64),
        np.array([metric.high for metric in found], np.float64),
    )


def _draw_estimates(axes: Any, estimated: _Series) -> None:
    places = np.arange(len(estimated.values))
    axes.fill_between(
        places, estimated.low, estimated.high, color=CURRENT, alpha=BAND_OPACITY, linewidth=0
    )
    axes.plot(places, estimated.values, color=CURRENT, linewidth=1.6)

    alone = isolated(estimated.values)
    axes.plot(alone, estimated.values[alone], color=CURRENT, linestyle="", marker="s", markersize=3)


def _draw_outcomes(axes: Any, realised: _Series, is_matured: Any) -> None:
    places = np.arange(len(realised.values))
    axes.vlines(places, realised.low, realised.high, color=TEXT, linewidth=0.8)

    for chosen, face in ((is_matured, TEXT), (~is_matured, "none")):
        axes.plot(
            places[chosen],
            realised.values[chosen],
            color=TEXT,
            markerfacecolor=face,
            linestyle="",
            marker="o",
            markersize=4,
        )


def _draw_errors(axes: Any, errors: Floats, is_matured: Any) -> None:
    known = is_matured & np.isfinite(errors)
    axes.bar(np.flatnonzero(known), errors[known], width=0.5, color=CURRENT)
    axes.axhline(0, color=AXIS, linewidth=0.8)
    axes.set_ylabel("error", fontsize=7.5, color=TEXT)
    axes.locator_params(axis="y", nbins=3)

    if not known.any():
        axes.set_ylim(-1, 1)
        axes.set_yticks([])


def _row(partition: PartitionPerformance, name: str) -> PerformanceRow:
    estimate = metric_of(partition.estimated, name)
    truth = metric_of(partition.realised, name)
    notes = [partition.note, *(metric.note for metric in (estimate, truth) if metric)]

    if truth is not None and not partition.is_matured:
        notes.append("more labels are to come")

    return PerformanceRow(
        partition=partition.partition,
        estimated="" if estimate is None else show_metric(estimate),
        realised="" if truth is None else show_metric(truth),
        error=_show_error(estimate, truth),
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
