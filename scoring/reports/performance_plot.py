"""Estimate against truth: what was estimated and what came true, drawn over time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nightscore.monitoring.performance.estimates.wording import LABELS, metric_of
from nightscore.monitoring.performance.track_record import PartitionPerformance
from nightscore.profiles.bins import Floats
from nightscore.reports.performance_figures import PerformanceFigures, performance_figures
from nightscore.reports.plots import (
    AXIS,
    CURRENT,
    TEXT,
    draw_png,
    draw_svg,
    isolated,
    label_dates,
)
from nightscore.schemas.performance import MetricRecord

SIZE = (8.2, 3.2)
"""Inches: as wide as the page."""
BAND_OPACITY = 0.22
BESIDE = 0.2
"""Adjusted estimates are drawn so far to the right, where partitions are 1 apart."""


@dataclass(frozen=True, slots=True)
class PerformancePlot:
    """One metric over the partitions, drawn and in figures."""

    svg: str
    figures: PerformanceFigures


def draw_performance(
    partitions: Sequence[PartitionPerformance], names: Sequence[str]
) -> list[PerformancePlot]:
    """The plots of some metrics.

    Args:
        partitions: In order.
        names: Of metrics, in the order in which people see them.
    """
    plots = []
    for name in names:
        svg = performance_svg(partitions, name)
        plots.append(PerformancePlot(svg, performance_figures(partitions, name)))

    return plots


def performance_svg(partitions: Sequence[PartitionPerformance], name: str) -> str:
    """The estimate as a line with its band, what came true as dots, and below them the error.

    What came true has its own interval. A hollow dot is of labels that are not complete. The
    baseline is dashed. Estimates that are adjusted for covariate shift are diamonds with their
    bands. The error is estimated minus realised.

    Args:
        partitions: In order.
        name: Of the metric.
    """
    return draw_svg(_drawing(partitions, name), SIZE, f"performance {name}")


def performance_png(partitions: Sequence[PartitionPerformance], name: str) -> bytes:
    """The same as a picture.

    Args:
        partitions: In order.
        name: Of the metric.
    """
    return draw_png(_drawing(partitions, name), SIZE)


def _drawing(partitions: Sequence[PartitionPerformance], name: str) -> Callable[[Any], None]:
    """Fills a figure with the plot of a metric."""
    estimated = _series([partition.estimated for partition in partitions], name)
    realised = _series([partition.realised for partition in partitions], name)
    baseline = _series([partition.baseline for partition in partitions], name)
    adjusted = _series([partition.adjusted for partition in partitions], name)

    is_matured = np.array([partition.is_matured for partition in partitions])
    is_comparable = np.array([partition.is_comparable for partition in partitions])

    def draw(figure: Any) -> None:
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))

        _draw_estimates(above, estimated)
        above.plot(baseline.values, color=TEXT, linewidth=1, linestyle=(0, (4, 3)))
        _draw_outcomes(above, realised, is_matured)
        _draw_adjusted(above, adjusted)

        above.set_ylabel(LABELS.get(name, name), fontsize=7.5, color=TEXT)
        above.locator_params(axis="y", nbins=5)

        _draw_errors(below, estimated.values - realised.values, is_comparable)
        label_dates(below, [partition.partition for partition in partitions])
        below.set_xlim(-0.6, len(partitions) - 0.4)

    return draw


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


def _draw_adjusted(axes: Any, adjusted: _Series) -> None:
    """Diamonds, beside the dots so that neither hides the other; nothing where there is none."""
    known = np.flatnonzero(np.isfinite(adjusted.values))
    places = known + BESIDE

    axes.vlines(places, adjusted.low[known], adjusted.high[known], color=CURRENT, linewidth=0.8)
    axes.plot(
        places,
        adjusted.values[known],
        color=CURRENT,
        markerfacecolor="none",
        linestyle="",
        marker="D",
        markersize=4,
    )


def _draw_errors(axes: Any, errors: Floats, is_comparable: Any) -> None:
    known = is_comparable & np.isfinite(errors)
    axes.bar(np.flatnonzero(known), errors[known], width=0.5, color=CURRENT)
    axes.axhline(0, color=AXIS, linewidth=0.8)
    axes.set_ylabel("error", fontsize=7.5, color=TEXT)
    axes.locator_params(axis="y", nbins=3)

    if not known.any():
        axes.set_ylim(-1, 1)
        axes.set_yticks([])
