"""Two models' ROC AUCs on the same rows."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from nightscore.monitoring.performance.metrics.auc_difference import roc_auc_difference
from nightscore.monitoring.performance.metrics.intervals import Z_95


@pytest.mark.parametrize("digits", [1, 17])
def test_by_all_pairs(digits: int) -> None:
    rng = np.random.default_rng(13)
    truth = rng.random(200)
    label = rng.random(200) < truth
    score = (truth + rng.normal(0, 0.2, 200)).round(digits)
    other = (truth + rng.normal(0, 0.5, 200)).round(digits)

    components = []
    for values in (score, other):
        above = values[label][:, None] > values[~label]
        components.append(above + 0.5 * (values[label][:, None] == values[~label]))
    by_positive = np.cov([pairs.mean(axis=1) for pairs in components]) / label.sum()
    by_negative = np.cov([pairs.mean(axis=0) for pairs in components]) / (~label).sum()
    both = by_positive + by_negative
    margin = Z_95 * np.sqrt(both[0, 0] + both[1, 1] - 2 * both[0, 1])

    for weights in (None, np.full(200, 0.5)):
        record = roc_auc_difference(score, other, label, weights)
        value = roc_auc_score(label, score) - roc_auc_score(label, other)
        assert record.value == pytest.approx(value, rel=1e-12)
        assert (record.low, record.high) == pytest.approx((value - margin, value + margin))


def test_rows_of_weight_0_do_not_count() -> None:
    rng = np.random.default_rng(14)
    score, other, label = rng.random(80), rng.random(80), rng.random(80) < 0.5
    weights = np.repeat([1.0, 0.0], 40)

    all_rows = roc_auc_difference(score, other, label, weights)
    some = roc_auc_difference(score[:40], other[:40], label[:40])

    assert all_rows.value == pytest.approx(some.value)
    assert all_rows.low == pytest.approx(some.low)


def test_without_a_value_or_a_band() -> None:
    score = np.linspace(0, 1, 20)
    label = score > 0.7

    assert roc_auc_difference(score[:0], score[:0], label[:0]).note == "no rows"
    assert roc_auc_difference(score, score, label & False).note == "one class only"
    assert roc_auc_difference(score, score * np.nan, label).note == (
        "20 of 20 other scores are NaN or infinite"
    )
    few = roc_auc_difference(score, score, label)
    assert (few.value, few.note) == (0, "no band: fewer than 10 rows of one class")
