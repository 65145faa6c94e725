"""Formulas against scikit-learn, and gradients against differences."""

import numpy as np
import pytest
from sklearn import metrics
from sklearn.isotonic import isotonic_regression

from nightscore.monitoring.performance.estimates.expected import (
    Bins,
    Estimate,
    expected_metrics,
    expected_outcomes,
)
from nightscore.monitoring.performance.estimates.isotonic import isotonic
from nightscore.profiles.bins import Floats
from nightscore.schemas.decision import DecisionValues

VALUES = DecisionValues(tp=20.0, fp=-5.0, fn=-8.0, tn=0.5)
THRESHOLD = 0.4


def bins_of(scores: Floats, shares: Floats, rows: Floats, labelled: float = 50.0) -> Bins:
    return Bins(
        rows=rows,
        scores=scores,
        shares=shares,
        variances=shares * (1 - shares),
        labelled=np.full(len(rows), labelled),
        predicted_positive=(scores > THRESHOLD).astype(np.float64),
    )


@pytest.fixture
def rows() -> tuple[Floats, Floats]:
    """Scores in ascending order, and labels."""
    rng = np.random.default_rng(1)
    scores = np.sort(rng.beta(1, 2, 500))
    return scores, (rng.random(500) < scores).astype(np.float64)


def test_metrics_of_known_labels_are_those_of_scikit_learn(rows: tuple[Floats, Floats]) -> None:
    scores, labels = rows
    found = expected_metrics(bins_of(scores, labels, np.ones(500)), VALUES)
    predicted = scores > THRESHOLD
    (tn, fp), (fn, tp) = metrics.confusion_matrix(labels, predicted)
    worth = (tp * VALUES.tp + fp * VALUES.fp + fn * VALUES.fn + tn * VALUES.tn) / 500
    expected = {
        "roc_auc": metrics.roc_auc_score(labels, scores),
        "log_loss": metrics.log_loss(labels, scores),
        "brier": metrics.brier_score_loss(labels, scores),
        "accuracy": metrics.accuracy_score(labels, predicted),
        "precision": metrics.precision_score(labels, predicted),
        "recall": metrics.recall_score(labels, predicted),
        "f1": metrics.f1_score(labels, predicted),
        "value": worth,
    }
    for name, value in expected.items():
        assert found[name].value == pytest.approx(value, rel=1e-12), name
        assert found[name].error == 0, "known labels leave nothing open"

    # The parts of a bin are below a row: its precision is followed within it.
    precise = metrics.average_precision_score(labels, scores)
    assert found["average_precision"].value == pytest.approx(precise, abs=0.01)
    outcomes = expected_outcomes(bins_of(scores, labels, np.ones(500)))
    assert [float(one.value) for one in outcomes.values()] == [tp, fp, fn, tn]


def test_ties_count_half_as_in_scikit_learn() -> None:
    scores = np.array([0.1, 0.3, 0.6, 0.9])
    rows, positive = np.array([40.0, 30, 20, 10]), np.array([4.0, 6, 12, 9])
    all_scores = np.repeat(
        np.tile(scores, 2), [*(rows - positive).astype(int), *positive.astype(int)]
    )
    labels = np.repeat([0, 1], [int((rows - positive).sum()), int(positive.sum())])
    found = expected_metrics(bins_of(scores, positive / rows, rows))
    assert found["roc_auc"].value == pytest.approx(metrics.roc_auc_score(labels, all_scores))


def test_the_average_precision_is_the_mean_over_random_orders_within_bins() -> None:
    rng = np.random.default_rng(2)
    scores, rows = np.linspace(0.05, 0.95, 12), np.full(12, 40.0)
    place = np.repeat(np.arange(12), 40)
    drawn = []
    for _ in range(400):
        labels = rng.random(480) < scores[place]
        drawn.append(metrics.average_precision_score(labels, place + rng.random(480)))

    found = expected_metrics(bins_of(scores, scores, rows))["average_precision"]
    assert found.value == pytest.approx(np.mean(drawn), abs=3 * np.std(drawn) / 20)


def test_log_loss_is_clipped_as_in_scikit_learn() -> None:
    scores, labels = np.array([0.0, 0.5, 1.0]), np.array([1.0, 1.0, 0.0])
    found = expected_metrics(bins_of(scores, labels, np.ones(3)))["log_loss"]
    assert found.value == pytest.approx(metrics.log_loss(labels, scores))


def test_errors_are_those_of_the_delta_method() -> None:
    scores = np.array([0.05, 0.2, 0.45, 0.7, 0.95])
    shares = np.array([0.1, 0.15, 0.5, 0.6, 0.9])
    rows = np.array([400.0, 300, 0, 200, 100])
    bins = bins_of(scores, shares, rows)
    found = expected_metrics(bins, VALUES) | expected_outcomes(bins)

    def value_at(positive: Floats, name: str) -> float:
        moved = bins._replace(shares=positive / np.maximum(rows, 1))
        again: dict[str, Estimate] = expected_metrics(moved, VALUES) | expected_outcomes(moved)
        return float(again[name].value)

    step = 1e-4
    for name in found:
        if name == "average_precision":
            continue  # its gradient differs within a bin: the simulation tests it
        variance = 0.0
        for place in np.flatnonzero(rows):
            up, down = rows * shares, rows * shares
            up[place] += step
            down[place] -= step
            gradient = (value_at(up, name) - value_at(down, name)) / (2 * step)
            n_open = rows[place] + rows[place] ** 2 / bins.labelled[place]
            variance += gradient**2 * bins.variances[place] * n_open
        assert found[name].error == pytest.approx(np.sqrt(variance), rel=1e-5), name


def test_one_class_is_no_number() -> None:
    found = expected_metrics(bins_of(np.array([0.1, 0.9]), np.zeros(2), np.full(2, 500.0)))
    for name in ("roc_auc", "average_precision", "recall"):
        assert np.isnan(found[name].value), name
    assert found["accuracy"].value == 0.5


def test_isotonic_regression_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(3)
    for n in (1, 2, 50):
        values, weights = rng.random(n).round(1), rng.integers(1, 9, n).astype(np.float64)
        expected = isotonic_regression(values, sample_weight=weights)
        np.testing.assert_allclose(isotonic(values, weights), expected)
