"""Formulas of several classes against scikit-learn, and errors against a second derivation."""

import numpy as np
import pytest
from sklearn import metrics

from nightscore.monitoring.performance.estimates.expected_classes import (
    Cells,
    ClassBins,
    LabelledRows,
    expected_confusion,
    metrics_of_each_class,
    metrics_of_labels,
    metrics_of_probabilities,
)
from nightscore.profiles.bins import Floats
from tests.monitoring.performance.estimates.made_class_days import draw_rows

CLASSES = range(3)


def known_rows() -> tuple[Floats, Floats, Cells]:
    """Rows whose labels are known: each is a cell of its own."""
    rows = draw_rows(np.random.default_rng(1), 400, len(CLASSES), sureness=1.5)
    ones = np.ones(400)
    cells = Cells(rows.predicted, ones, ones * 50, np.eye(len(CLASSES))[rows.labels])
    return rows.probabilities, rows.labels, cells


def test_metrics_of_known_labels_are_those_of_scikit_learn() -> None:
    probabilities, labels, cells = known_rows()
    predicted = cells.predicted
    np.testing.assert_allclose(
        expected_confusion(cells), metrics.confusion_matrix(labels, predicted)
    )

    found = metrics_of_labels(cells)
    of_each = metrics_of_each_class(cells)
    assert found["accuracy"].value == pytest.approx((labels == predicted).mean())
    scores = {
        "precision": metrics.precision_score,
        "recall": metrics.recall_score,
        "f1": metrics.f1_score,
    }
    for name, score in scores.items():
        assert found[f"{name}_macro"].value == pytest.approx(
            score(labels, predicted, average="macro")
        )
        np.testing.assert_allclose(of_each[name].value, score(labels, predicted, average=None))
        assert found[f"{name}_macro"].error == pytest.approx(0, abs=1e-9)

    bins, none = [], np.empty(0, np.intp)
    for place in CLASSES:
        order = np.argsort(probabilities[:, place])
        is_class = (labels == place).astype(np.float64)
        ones = np.ones(len(order))
        bins.append(ClassBins(ones, probabilities[order, place], is_class[order], 50 * ones))

    found = metrics_of_probabilities(cells, bins, LabelledRows(none, none, none, none))
    assert found["roc_auc_macro"].value == pytest.approx(
        metrics.roc_auc_score(labels, probabilities, multi_class="ovr")
    )
    assert found["log_loss"].value == pytest.approx(metrics.log_loss(labels, probabilities))
    assert found["brier"].value == pytest.approx(
        metrics.brier_score_loss(labels, probabilities, labels=[*CLASSES])
    )


def some_cells() -> Cells:
    rng = np.random.default_rng(2)
    predicted = np.array([0, 0, 1, 1, 2, 2])
    shares = rng.dirichlet([1, 1, 1], 6)
    rows = np.array([40.0, 25, 60, 0, 33, 71])
    return Cells(predicted, rows, np.array([30.0, 45, 25, 60, 20, 80]), shares)


def test_errors_of_labels_are_those_of_the_delta_method() -> None:
    """The gradient by differences, the covariance of a multinomial written out."""
    cells = some_cells()

    def value_at(expected: Floats, name: str) -> float:
        shares = expected / np.maximum(cells.rows, 1)[:, None]
        moved = cells._replace(shares=shares)
        if name.endswith("]"):
            kind, place = name[:-3], int(name[-2])
            return float(metrics_of_each_class(moved)[kind].value[place])
        return float(metrics_of_labels(moved)[name].value)

    expected = cells.rows[:, None] * cells.shares
    together, of_each = metrics_of_labels(cells), metrics_of_each_class(cells)
    errors = {name: float(estimate.error) for name, estimate in together.items()}
    for name, estimate in of_each.items():
        errors |= {f"{name}[{place}]": float(estimate.error[place]) for place in CLASSES}

    step = 1e-4
    for name, error in errors.items():
        variance = 0.0
        for cell in np.flatnonzero(cells.rows):
            # Rows move between two labels: their number is known.
            gradient = np.zeros(3)
            for label in (1, 2):
                up, down = expected.copy(), expected.copy()
                up[cell, label] += step
                up[cell, 0] -= step
                down[cell, label] -= step
                down[cell, 0] += step
                gradient[label] = (value_at(up, name) - value_at(down, name)) / (2 * step)

            share, labelled = cells.shares[cell], cells.labelled[cell]
            covariance = np.diag(share) - np.outer(share, share)
            n_open = cells.rows[cell] + cells.rows[cell] ** 2 / labelled
            unbiased = labelled / (labelled - 1)
            variance += gradient @ covariance @ gradient * n_open * unbiased

        assert error == pytest.approx(np.sqrt(variance), rel=1e-5), name


def test_the_error_of_a_loss_counts_that_one_class_at_most_comes() -> None:
    """One cell of rows with the same probabilities: the loss of a row is drawn from three."""
    share, n_rows, n_labelled = np.array([0.5, 0.3, 0.2]), 80.0, 60.0
    counts = np.array([30, 18, 12])
    ones, none = np.ones(1), np.zeros(3, np.intp)
    cells = Cells(np.zeros(1, np.intp), ones * n_rows, ones * n_labelled, share[None])
    bins = [ClassBins(ones * n_rows, ones * p, ones * p, ones * n_labelled) for p in share]
    labelled = LabelledRows(none, np.arange(3), none, counts)

    found = metrics_of_probabilities(cells, bins, labelled)
    loss = -np.log(share)
    spread = (share @ loss**2 - (share @ loss) ** 2) * n_labelled / (n_labelled - 1)
    assert found["log_loss"].value == pytest.approx(share @ loss)
    assert found["log_loss"].error ** 2 == pytest.approx(spread * (1 / n_rows + 1 / n_labelled))

    # With the same probability for all rows nothing is ranked.
    assert found["roc_auc_macro"].value == pytest.approx(0.5)
    alone = found["roc_auc"]
    assert np.isfinite(alone.error).all()


def test_a_class_that_is_never_expected_is_no_number() -> None:
    cells = some_cells()
    shares = cells.shares * [1, 1, 0]
    never = cells._replace(
        shares=shares / shares.sum(1, keepdims=True), predicted=np.array([0, 0, 1, 1, 0, 1])
    )
    of_each = metrics_of_each_class(never)
    for name in ("precision", "recall", "f1"):
        assert np.isnan(of_each[name].value[2])
        assert np.isfinite(of_each[name].value[:2]).all()
    assert np.isfinite(metrics_of_labels(never)["f1_macro"].value)
