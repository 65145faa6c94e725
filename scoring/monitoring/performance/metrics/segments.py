"""Metrics by segment, the worst first."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nightscore.monitoring.performance.metrics.ranked_scores import (
    Codes,
    order_of_segments,
    slices_of_segments,
)
from nightscore.schemas.performance import MetricRecord, SegmentRecord

LESS_IS_BETTER = ("log_loss", "brier", "mae", "rmse", "pinball")
ZERO_IS_BEST = ("bias", "calibration_intercept")

Rows = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Segments:
    """The segment of each row."""

    codes: Codes
    """Shape (n,), integers: positions in `names`."""
    names: Sequence[str]
    """Such as `origin=JFK`; also of the one of rows whose segment is null."""
    worst_by: str
    """The metric that says which segment is worst, such as `roc_auc`."""


def by_segment(
    segments: Segments, measure: Callable[[Rows], list[MetricRecord]]
) -> list[SegmentRecord]:
    """The metrics of each segment that has rows, the worst first.

    Args:
        segments: Of the rows.
        measure: Makes the metrics of rows, which are given by their positions.
    """
    rows = order_of_segments(segments.codes)
    records = []

    for code, of_segment in slices_of_segments(segments.codes[rows]):
        metrics = tuple(measure(rows[of_segment]))
        n_rows = of_segment.stop - of_segment.start
        records.append(SegmentRecord(segment=segments.names[code], n=n_rows, metrics=metrics))

    return worst_first(records, segments.worst_by)


def worst_first(records: Iterable[SegmentRecord], name: str) -> list[SegmentRecord]:
    """Segments by a metric, the worst first.

    Those that have no band are last: the worst of many segments of few rows is worst by chance.

    Args:
        records: Of the segments.
        name: Of the metric.
    """

    def rank(record: SegmentRecord) -> tuple[bool, float, int, str]:
        metric = record.metric(name)
        has_no_band = metric is None or metric.low is None
        return has_no_band, _goodness(metric), -record.n, record.segment

    return sorted(records, key=rank)


def _goodness(metric: MetricRecord | None) -> float:
    if metric is None or metric.value is None:
        return math.inf
    if metric.name in ZERO_IS_BEST:
        return -abs(metric.value)
    return -metric.value if metric.name in LESS_IS_BETTER else metric.value
