"""Metrics against scikit-learn's, which are written independently."""

import numpy as np
import pytest
from sklearn import metrics

from nightscore.monitoring.performance.metrics.binary import binary_metrics
from nightscore.monitoring.performance.metrics.classes import class_metrics
from nightscore.monitoring.performance.metrics.regression import regression_metrics


def _by_name(records):  # type: ignore[no-untyped-def]
    return {record.name: record.value for record in records}


@pytest.mark.parametrize("digits", [1, 2, 17])
@pytest.mark.parametrize("is_weighted", [False, True])
def test_binary(digits: int, is_weighted: bool) -> None:
    rng = np.random.default_rng(0)
    score = rng.random(5_000).round(digits)
    label = rng.random(5_000) < score
    weights = rng.random(5_000) if is_weighted else None

    got = _by_name(binary_metrics(score, label, threshold=0.5, weights=weights))

    options = {"sample_weight": weights}
    predicted = score > 0.5
    assert got == pytest.approx(
        {
            "roc_auc": metrics.roc_auc_score(label, score, **options),
            "average_precision": metrics.average_precision_score(label, score, **options),
            "log_loss": metrics.log_loss(label, score, **options),
            "brier": metrics.brier_score_loss(label, score, **options),
            "accuracy": metrics.accuracy_score(label, predicted, **options),
            "precision": metrics.precision_score(label, predicted, **options),
            "recall": metrics.recall_score(label, predicted, **options),
            "f1": metrics.f1_score(label, predicted, **options),
        },
        rel=1e-12,
    )


@pytest.mark.parametrize("is_weighted", [False, True])
def test_regression(is_weighted: bool) -> None:
    rng = np.random.default_rng(1)
    label = rng.normal(size=3_000)
    prediction = label + rng.normal(size=3_000)
    weights = rng.random(3_000) if is_weighted else None

    got = _by_name(regression_metrics(prediction, label, weights=weights, quantile=0.8))

    options = {"sample_weight": weights}
    assert got == pytest.approx(
        {
            "mae": metrics.mean_absolute_error(label, prediction, **options),
            "rmse": metrics.root_mean_squared_error(label, prediction, **options),
            "r2": metrics.r2_score(label, prediction, **options),
            "bias": np.average(prediction - label, weights=weights),
            "pinball": metrics.mean_pinball_loss(label, prediction, alpha=0.8, **options),
        },
        rel=1e-12,
    )


@pytest.mark.parametrize("is_weighted", [False, True])
def test_classes(is_weighted: bool) -> None:
    rng = np.random.default_rng(2)
    probabilities = rng.dirichlet(np.ones(3), size=2_000)
    label = (rng.random((2_000, 1)) > probabilities.cumsum(axis=1)).sum(axis=1)
    predicted = probabilities.argmax(axis=1)
    weights = rng.random(2_000) if is_weighted else None

    records = class_metrics(
        predicted, label, ["a", "b", "c"], probabilities=probabilities, weights=weights
    )
    got = _by_name(records)

    options = {"sample_weight": weights}
    assert got["accuracy"] == pytest.approx(metrics.accuracy_score(label, predicted, **options))
    assert got["log_loss"] == pytest.approx(metrics.log_loss(label, probabilities, **options))
    for name in ("precision", "recall", "f1"):
        score = getattr(metrics, f"{name}_score")
        of_classes = score(label, predicted, average=None, **options)
        assert [got[f"{name}[{c}]"] for c in "abc"] == pytest.approx(list(of_classes), rel=1e-12)
        assert got[f"{name}_macro"] == pytest.approx(of_classes.mean(), rel=1e-12)
