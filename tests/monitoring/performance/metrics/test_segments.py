"""Metrics by segment are those of its rows alone, the worst first."""

import numpy as np
import pytest

from nightscore.monitoring.performance.metrics.binary import (
    binary_by_segment,
    metrics_of_ranked,
)
from nightscore.monitoring.performance.metrics.ranked_scores import order_of_segments, rank_scores
from nightscore.monitoring.performance.metrics.regression import regression_metrics
from nightscore.monitoring.performance.metrics.segments import (
    Segments,
    by_segment,
    worst_first,
)
from nightscore.profiles.bins import Floats
from nightscore.schemas.performance import MetricRecord, SegmentRecord

RNG = np.random.default_rng(16)
N_ROWS = 3_000
NAMES = "abcde"
SCORES = RNG.random(N_ROWS).round(2)
CODES = RNG.integers(0, 5, N_ROWS)
CODES[CODES == 3] = 4
LABELS = RNG.random(N_ROWS) < np.where(CODES == 1, 0.5, SCORES)
WEIGHTS = np.where(RNG.random(N_ROWS) < 0.1, 0.0, RNG.exponential(size=N_ROWS))


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_binary(weights: Floats | None) -> None:
    segments = Segments(CODES, NAMES, "roc_auc")
    records = binary_by_segment(SCORES, LABELS, segments, threshold=0.5, weights=weights)

    assert {record.segment for record in records} == {"a", "b", "c", "e"}
    assert records[0].segment == "b", "the worst"
    values = [record.metric("roc_auc") for record in records]
    assert values == sorted(values, key=lambda record: record.value or 0)  # type: ignore[union-attr]

    for of_segment in records:
        rows = NAMES.index(of_segment.segment) == CODES
        of_rows = None if weights is None else weights[rows]
        alone = metrics_of_ranked(rank_scores(SCORES[rows], LABELS[rows], of_rows), 0.5)
        for record, expected in zip(of_segment.metrics, alone, strict=True):
            assert (record.name, record.n, record.note) == (
                expected.name, expected.n, expected.note,
            )  # fmt: skip
            assert (record.value, record.low) == pytest.approx((expected.value, expected.low))


def test_regression() -> None:
    label = SCORES + RNG.normal(0, 0.1 + 0.1 * CODES)

    def measure(rows: np.ndarray) -> list[MetricRecord]:
        return regression_metrics(SCORES[rows], label[rows])

    records = by_segment(Segments(CODES.astype(np.uint32), NAMES, "rmse"), measure)

    assert [record.segment for record in records] == ["e", "c", "b", "a"]
    assert sum(record.n for record in records) == N_ROWS
    rows = CODES == 2
    assert list(records[1].metrics) == regression_metrics(SCORES[rows], label[rows])


def test_segments_without_a_band_are_last() -> None:
    def segment(name: str, value: float | None, low: float | None) -> SegmentRecord:
        metric = MetricRecord(name="bias", value=value, low=low)
        return SegmentRecord(segment=name, n=5, metrics=(metric,))

    records = [
        segment("a", None, None), segment("b", -9, None), segment("c", 1, 0), segment("d", -2, -3),
    ]  # fmt: skip

    assert [one.segment for one in worst_first(records, "bias")] == ["d", "c", "b", "a"]
    assert worst_first(records, "rmse")[0].segment == "a"


def test_no_segments() -> None:
    nothing = Segments(np.array([], np.int64), [], "rmse")

    assert binary_by_segment(SCORES[:0], LABELS[:0], nothing, threshold=0.5) == []
    assert by_segment(nothing, lambda rows: []) == []


def test_many_segments_are_sorted_by_all_their_bytes() -> None:
    codes = np.array([70_000, 1, 70_000])

    assert order_of_segments(codes).tolist() == [1, 0, 2]
