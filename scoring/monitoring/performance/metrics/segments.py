"""Metrics by segment, the worst first."""

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

LESS_IS_BETTER = frozenset({"log_loss", "brier", "mae", "rmse", "pinball"})
ZERO_IS_BEST = frozenset({"bias", "calibration_intercept"})

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

    Those that have no band are last: with so few rows the worst of many is worst by chance.

    Args:
        records: Of the segments.
        name: Of the metric.
    """

    def badness(record: SegmentRecord) -> tuple[bool, float, int, str]:
        metric = record.metric(name)
        if metric is None or metric.value is None:
            return (True, np.inf, -record.n, record.segment)
        return (metric.low is None, _goodness(metric), -record.n, record.segment)

    return sorted(records, key=badness)


def _goodness(metric: MetricRecord) -> float:
    value = metric.value or 0.0
    if metric.name in ZERO_IS_BEST:
        return -abs(value)
    return -value if metric.name.startswith(tuple(LESS_IS_BETTER)) else value
