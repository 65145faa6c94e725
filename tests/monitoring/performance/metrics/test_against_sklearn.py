"""Values of metrics against scikit-learn's, which are written independently."""

import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from nightscore.monitoring.performance.metrics.binary import binary_metrics
from nightscore.monitoring.performance.metrics.classes import class_metrics
from nightscore.monitoring.performance.metrics.ranked_scores import rank_scores
from nightscore.monitoring.performance.metrics.ranking import average_precision, roc_auc
from nightscore.monitoring.performance.metrics.regression import regression_metrics
from nightscore.schemas.decision import DecisionValues
from nightscore.schemas.performance import MetricRecord

N_ROWS = 20_000
"""More than two blocks."""


def by_name(records: Iterable[MetricRecord]) -> dict[str, float | None]:
    return {record.name: record.value for record in records}


def binary_by_sklearn(
    score: Any, label: Any, threshold: float, weights: Any = None
) -> dict[str, float]:
    options = {"sample_weight": weights}
    predicted = score > threshold
    return {
        "roc_auc": metrics.roc_auc_score(label, score, **options),
        "average_precision": metrics.average_precision_score(label, score, **options),
        "log_loss": metrics.log_loss(label, score, **options),
        "brier": metrics.brier_score_loss(label, score, **options),
        "accuracy": metrics.accuracy_score(label, predicted, **options),
        "precision": metrics.precision_score(label, predicted, **options),
        "recall": metrics.recall_score(label, predicted, **options),
        "f1": metrics.f1_score(label, predicted, **options),
    }


@pytest.mark.parametrize("is_weighted", [False, True])
@pytest.mark.parametrize("digits", [0, 2, 17])
def test_binary(digits: int, is_weighted: bool) -> None:
    rng = np.random.default_rng(0)
    score = rng.random(N_ROWS)
    label = rng.random(N_ROWS) < score
    score = score.round(digits)
    weights = None
    if is_weighted:
        weights = rng.exponential(size=N_ROWS)
        weights[::7] = 0.0

    records = binary_metrics(score, label, threshold=0.5, weights=weights)
    expected = binary_by_sklearn(score, label, 0.5, weights)

    got = {record.name: record.value for record in records if record.name in expected}
    tolerance = 1e-9 if is_weighted else 1e-12
    assert got == pytest.approx(expected, rel=tolerance)


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(st.integers(-3, 3), st.booleans(), st.sampled_from([0.5, 1.0, 3.0])),
        min_size=2,
        max_size=12,
    )
)
def test_ties_count_as_in_sklearn(rows: list[tuple[int, bool, float]]) -> None:
    score = np.array([row[0] for row in rows], np.float64)
    label = np.array([row[1] for row in rows])
    weights = np.array([row[2] for row in rows])
    if len(set(label.tolist())) == 1:
        return

    for of_rows in (None, weights):
        ranked = rank_scores(score, label, of_rows)
        auc = metrics.roc_auc_score(label, score, sample_weight=of_rows)
        precision = metrics.average_precision_score(label, score, sample_weight=of_rows)
        assert roc_auc(ranked).value == pytest.approx(auc, rel=1e-12, abs=1e-15)
        assert average_precision(ranked).value == pytest.approx(precision, rel=1e-12)


def test_scores_from_0_to_1_and_others_are_sorted_alike() -> None:
    rng = np.random.default_rng(3)
    score = np.concatenate([rng.random(500), [0.0, -0.0, 1.0, np.nextafter(1.0, 2.0), 5e-324]])
    label = rng.random(len(score)) < 0.5

    packed = rank_scores(score, label)
    by_rows = rank_scores(score, label, np.ones(len(score)))

    assert np.array_equal(packed.scores, by_rows.scores)
    assert roc_auc(packed) == roc_auc(by_rows)


def test_the_value_of_outcomes_is_a_mean_of_rows() -> None:
    score = np.array([0.9, 0.8, 0.5, 0.1])
    label = np.array([True, False, True, False])
    values = DecisionValues(tp=10, fp=-4, fn=-1, tn=0.5)

    got = by_name(binary_metrics(score, label, threshold=0.5, values=values))

    assert got["value"] == pytest.approx((10 - 4 - 1 + 0.5) / 4)


@pytest.mark.parametrize("is_weighted", [False, True])
def test_regression(is_weighted: bool) -> None:
    rng = np.random.default_rng(1)
    label = rng.normal(1e6, 3, size=N_ROWS)
    prediction = label + rng.normal(0.1, 2, size=N_ROWS)
    weights = rng.random(N_ROWS) if is_weighted else None

    got = by_name(regression_metrics(prediction, label, weights=weights, quantile=0.8))

    options = {"sample_weight": weights}
    expected = {
        "mae": metrics.mean_absolute_error(label, prediction, **options),
        "rmse": metrics.root_mean_squared_error(label, prediction, **options),
        "r2": metrics.r2_score(label, prediction, **options),
        "bias": np.average(prediction - label, weights=weights),
        "pinball": metrics.mean_pinball_loss(label, prediction, alpha=0.8, **options),
    }
    assert got == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("is_weighted", [False, True])
def test_classes(is_weighted: bool) -> None:
    """One class is never predicted, and one never occurs."""
    rng = np.random.default_rng(2)
    probabilities = rng.dirichlet(np.ones(4), size=N_ROWS)
    label = (rng.random((N_ROWS, 1)) > probabilities.cumsum(axis=1)).sum(axis=1)
    predicted = np.minimum(probabilities.argmax(axis=1), 2).astype(np.int16)
    weights = rng.random(N_ROWS) if is_weighted else None
    five = np.hstack([probabilities, np.zeros((N_ROWS, 1))])

    records = class_metrics(predicted, label, [*"abcde"], probabilities=five, weights=weights)
    got = by_name(records)

    options = {"sample_weight": weights}
    tolerance = 1e-9 if is_weighted else 1e-12
    expected = {
        "accuracy": metrics.accuracy_score(label, predicted, **options),
        "log_loss": metrics.log_loss(label, probabilities, **options),
        "brier": metrics.brier_score_loss(label, probabilities, labels=[*range(4)], **options),
        "roc_auc_macro": metrics.roc_auc_score(label, probabilities, multi_class="ovr", **options),
    }
    for place, name in enumerate("abcd"):
        of_class = rank_scores(probabilities[:, place], label == place, weights)
        alone = roc_auc(of_class)
        (record,) = [one for one in records if one.name == f"roc_auc[{name}]"]
        expected[record.name] = alone.value or 0.0
        assert (record.low, record.high) == pytest.approx((alone.low, alone.high), rel=1e-9)

    for name in ("precision", "recall", "f1"):
        measure = getattr(metrics, f"{name}_score")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            of_classes = measure(label, predicted, average=None, **options).tolist()
        expected |= {f"{name}[{c}]": value for c, value in zip("abcd", of_classes, strict=True)}
        expected[f"{name}_macro"] = float(np.mean(of_classes))

    assert got.pop("precision[d]") is None, "nothing is predicted as this class"
    assert expected.pop("precision[d]") == 0
    of_nobody = ("precision", "recall", "f1", "roc_auc")
    assert {got.pop(f"{name}[e]") for name in of_nobody} == {None}
    (macro,) = [one for one in records if one.name == "roc_auc_macro"]
    assert macro.note == "1 of 5 classes have no label, and are left out"
    assert got == pytest.approx(expected, rel=tolerance)
