"""Precision, recall, F1 and lift of the rows with the greatest scores."""

import numpy as np
import pytest

from nightscore.monitoring.performance.metrics.ranked_scores import rank_scores
from nightscore.monitoring.performance.metrics.top_rows import top_metrics
from nightscore.schemas.performance import MetricRecord

RNG = np.random.default_rng(12)
SCORES = RNG.random(20_000)
LABELS = RNG.random(20_000) < 0.5 * SCORES


def by_name(records: list[MetricRecord]) -> dict[str, MetricRecord]:
    return {record.name: record for record in records}


@pytest.mark.parametrize("share", [0.01, 0.3, 1.0])
def test_distinct_scores(share: float) -> None:
    n_top = round(share * 20_000)
    top = np.argsort(-SCORES)[:n_top]
    n_true, n_positives = np.count_nonzero(LABELS[top]), np.count_nonzero(LABELS)
    precision, recall = n_true / n_top, n_true / n_positives

    records = top_metrics(rank_scores(SCORES, LABELS), [share])

    assert {record.name.split("@")[0]: record.value for record in records} == pytest.approx(
        {
            "precision": precision,
            "recall": recall,
            "f1": 2 * precision * recall / (precision + recall),
            "lift": precision / (n_positives / 20_000),
        },
        rel=1e-12,
    )
    assert all(record.low <= record.value <= record.high for record in records)  # type: ignore[operator]


def test_rows_at_the_cut_count_in_part() -> None:
    """Two of ten rows: one of .9, and one of the four of .5, of which one is positive."""
    score = np.array([0.9] + [0.5] * 4 + [0.1] * 5)
    label = np.array([True, True] + [False] * 8)

    records = by_name(top_metrics(rank_scores(score, label), [0.2]))

    assert records["precision@20%"].value == pytest.approx((1 + 0.25) / 2)
    assert records["precision@20%"].note == "no band: fewer than 20 rows"
    weighted = by_name(top_metrics(rank_scores(score, label, np.full(10, 3.0)), [0.2]))
    assert weighted["lift@20%"].value == records["lift@20%"].value


def test_no_positive_row_at_the_top() -> None:
    records = by_name(top_metrics(rank_scores(SCORES, SCORES < 0.2), [0.1]))

    for name in ("precision", "recall", "f1", "lift"):
        record = records[f"{name}@10%"]
        assert (record.value, record.low) == (0, 0)
        assert record.high is not None
        assert 0 < record.high < 0.02
