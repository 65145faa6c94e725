"""Expected metrics of a model of several classes.

A metric is a function of labels that are not known yet. Its value is that of their expected counts.
If one row's label were the class k, the metric would be greater by h_k, its influence. The rows are
divided into cells, by predicted class and by bin of the winning probability. In a cell of q rows
the baseline has m labelled ones, whose influences have the variance v (k is drawn as their labels
are: at most one class comes, so the classes of a row are not independent). By the delta method the
metric has the variance

    sum over cells of v (q + q^2 / m)

of the labels to come, and of the baseline's. Of metrics of probabilities the influence depends on
the bin of the label's own probability, too. The baseline's part is then the variance of its own
rows' influences on the shares of those bins.

Source: G. Casella, R. Berger, "Statistical Inference" (2002), 5.5.4, for the delta method; K.
Takahashi, K. Yamamoto, A. Kuchiba, T. Koyama, "Confidence interval for micro-averaged F1 and
macro-averaged F1 scores" (2022), for macro averages over the cells of a confusion.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from nightscore.monitoring.performance.estimates.expected import (
    LEAST_PROBABILITY,
    Estimate,
    roc_auc_and_gradient,
)
from nightscore.profiles.bins import Counts, Floats

OF_A_CLASS = ("precision", "recall", "f1")


class Cells(NamedTuple):
    """Rows by predicted class and by bin of the winning probability."""

    predicted: npt.NDArray[np.intp]
    """The place of the predicted class, shape (cells,)."""
    rows: Floats
    """Shape (cells,)."""
    labelled: Floats
    """Labelled rows of the baseline, shape (cells,)."""
    shares: Floats
    """Expected shares of the classes among the labels, shape (cells, classes)."""


class ClassBins(NamedTuple):
    """What is known of the rows in the bins of one class's probability, each of shape (bins,)."""

    rows: Floats
    scores: Floats
    """Mean probabilities."""
    shares: Floats
    """Expected shares of rows whose label is the class."""
    labelled: Floats
    """Labelled rows of the baseline, from which the shares are."""


class LabelledRows(NamedTuple):
    """The baseline's labelled rows: by cell, label, and bin of the label's own probability."""

    cells: npt.NDArray[np.intp]
    labels: npt.NDArray[np.intp]
    bins: npt.NDArray[np.intp]
    rows: Counts


def expected_confusion(cells: Cells) -> Floats:
    """Expected rows by label (first axis) and predicted class, shape (classes, classes)."""
    n_classes = cells.shares.shape[1]
    by_label = np.zeros((n_classes, n_classes))
    np.add.at(by_label, cells.predicted, cells.rows[:, np.newaxis] * cells.shares)
    return by_label.T


def metrics_of_labels(cells: Cells) -> dict[str, Estimate]:
    """Accuracy and the macro averages of precision, recall and F1, by name.

    The averages are over the classes that are predicted or expected.
    """
    confusion = expected_confusion(cells)
    is_hit = _is_hit(cells)
    n_rows = confusion.sum()

    estimates = {"accuracy": _estimate(cells, np.trace(confusion) / n_rows, is_hit / n_rows)}

    occurs = confusion.sum(0) + confusion.sum(1) > 0
    for name in OF_A_CLASS:
        values, influences = _of_each_class(name, cells)
        mean = np.nan_to_num(values).sum() / occurs.sum()
        estimates[f"{name}_macro"] = _estimate(cells, mean, influences / occurs.sum())

    return estimates


def metrics_of_each_class(cells: Cells) -> dict[str, Estimate]:
    """Precision, recall and F1, and the expected rows of the class as `rows`. Shape (classes,)."""
    estimates = {}
    for name in OF_A_CLASS:
        values, influences = _of_each_class(name, cells)
        estimates[name] = Estimate(values, _errors_of_each(cells, influences))

    n_expected = expected_confusion(cells).sum(1)
    ones = np.ones_like(cells.shares)
    return estimates | {"rows": Estimate(n_expected, _errors_of_each(cells, ones))}


def _is_hit(cells: Cells) -> Floats:
    """1 where the label would be what is predicted, shape (cells, classes)."""
    return np.eye(cells.shares.shape[1])[cells.predicted]


def _of_each_class(name: str, cells: Cells) -> tuple[Floats, Floats]:
    """The metric of each class, NaN where undefined, and the influence of a label of the class.

    Each is c hits / (a labels + b predictions). The rows that are predicted are known.
    """
    a, b, c = {"precision": (0, 1, 1), "recall": (1, 0, 1), "f1": (1, 1, 2)}[name]
    confusion = expected_confusion(cells)
    below = a * confusion.sum(1) + b * confusion.sum(0)

    safe = np.where(below > 0, below, 1.0)
    values = np.where(below > 0, c * np.diag(confusion) / safe, np.nan)
    influences = np.where(below > 0, (c * _is_hit(cells) - a * values) / safe, 0.0)

    return values, influences


def _estimate(cells: Cells, value: np.floating, influences: Floats) -> Estimate:
    """A metric with its standard error.

    Args:
        cells: The cells.
        value: The metric.
        influences: Of a row of each cell if its label were each class, shape (cells, classes).
    """
    means = (cells.shares * influences).sum(1)
    squares = (cells.shares * np.square(influences)).sum(1)
    variances = _unbiased(squares - np.square(means), cells.labelled)
    return Estimate(np.asarray(value), np.sqrt((variances * _n_open(cells)).sum()))


def _errors_of_each(cells: Cells, influences: Floats) -> Floats:
    """Standard errors of metrics, each of which depends on the labels of its own class only."""
    variances = cells.shares * (1 - cells.shares) * np.square(influences)
    by_cell = _unbiased(variances, cells.labelled[:, np.newaxis])
    errors: Floats = np.sqrt((by_cell * _n_open(cells)[:, np.newaxis]).sum(0))
    return errors


def _n_open(cells: Cells) -> Floats:
    n_open: Floats = cells.rows + np.square(cells.rows) / np.maximum(cells.labelled, 1)
    return n_open


def _unbiased(variances: Floats, labelled: Floats) -> Floats:
    """Variances of m labels, times m / (m - 1)."""
    correction = np.where(labelled > 1, labelled / np.maximum(labelled - 1, 1), 1.0)
    corrected: Floats = np.maximum(variances, 0.0) * correction
    return corrected


def metrics_of_probabilities(
    cells: Cells, bins: Sequence[ClassBins], labelled: LabelledRows
) -> dict[str, Estimate]:
    """One-against-rest ROC AUC of each class and their mean, log loss and Brier score.

    Log loss and Brier score are sums over the classes of what a row counts if the class is its
    label. The value of an AUC is NaN if the class, or any other, is not expected.

    Args:
        cells: The cells.
        bins: Of each class's probability.
        labelled: The baseline's labelled rows.

    Returns:
        By name; `roc_auc` is of each class, of shape (classes,).
    """
    n_rows = cells.rows.sum()
    scores = [np.clip(one.scores, LEAST_PROBABILITY, 1.0) for one in bins]

    log_losses = [-np.log(one) / n_rows for one in scores]
    brier = [(1 - 2 * one.scores) / n_rows for one in bins]
    # Of the Brier score, the squares of all probabilities count whatever the label.
    squares = sum((one.rows * np.square(one.scores)).sum() for one in bins) / n_rows

    with np.errstate(divide="ignore", invalid="ignore"):
        areas = [roc_auc_and_gradient(one.rows, one.shares) for one in bins]
        values = np.array([value[0] for value, _ in areas])
        gradients = [gradient for _, gradient in areas]

        return {
            "roc_auc_macro": _of_mean(cells, bins, labelled, values, gradients),
            "log_loss": _of_sum(cells, bins, labelled, 0.0, log_losses),
            "brier": _of_sum(cells, bins, labelled, squares, brier),
            "roc_auc": _of_each_area(cells, bins, labelled, values, gradients),
        }


def _of_mean(
    cells: Cells,
    bins: Sequence[ClassBins],
    labelled: LabelledRows,
    values: Floats,
    gradients: Sequence[Floats],
) -> Estimate:
    influences = [gradient / len(bins) for gradient in gradients]
    error = _error_of_bins(cells, bins, labelled, influences)
    return Estimate(values.mean(), error)


def _of_sum(
    cells: Cells,
    bins: Sequence[ClassBins],
    labelled: LabelledRows,
    constant: float,
    influences: Sequence[Floats],
) -> Estimate:
    value = constant
    for one, influence in zip(bins, influences, strict=True):
        value += (one.rows * one.shares * influence).sum()
    return Estimate(np.asarray(value), _error_of_bins(cells, bins, labelled, influences))


def _of_each_area(
    cells: Cells,
    bins: Sequence[ClassBins],
    labelled: LabelledRows,
    values: Floats,
    gradients: Sequence[Floats],
) -> Estimate:
    nothing = [np.zeros_like(gradient) for gradient in gradients]
    errors = []

    for place, gradient in enumerate(gradients):
        # Labels of other classes have no influence on this one's AUC.
        alone = [*nothing[:place], gradient, *nothing[place + 1 :]]

        errors.append(_error_of_bins(cells, bins, labelled, alone))

    return Estimate(values, np.array(errors))


def _error_of_bins(
    cells: Cells,
    bins: Sequence[ClassBins],
    labelled: LabelledRows,
    influences: Sequence[Floats],
) -> Floats:
    """The standard error of a metric on which labels have an influence by bin.

    Args:
        cells: The cells.
        bins: Of each class's probability.
        labelled: The baseline's labelled rows.
        influences: Of a row in each bin of a class's probability, if the class were its label.
    """
    # A labelled row of the baseline stands for as many rows as its bin has of each.
    stands_for = [
        influence * one.rows / np.maximum(one.labelled, 1)
        for one, influence in zip(bins, influences, strict=True)
    ]

    of_labels = _variances(cells, labelled, influences)
    of_baseline = _variances(cells, labelled, stands_for)

    variance = (of_labels * cells.rows).sum() + (of_baseline * cells.labelled).sum()

    return np.asarray(np.sqrt(variance))


def _variances(cells: Cells, labelled: LabelledRows, influences: Sequence[Floats]) -> Floats:
    """Variances of one row's influence, shape (cells,)."""
    starts = np.cumsum([0, *map(len, influences)])[:-1]
    of_rows = np.concatenate(influences)[starts[labelled.labels] + labelled.bins]
    n_cells = len(cells.labelled)

    sums = np.bincount(labelled.cells, labelled.rows * of_rows, n_cells)
    squares = np.bincount(labelled.cells, labelled.rows * np.square(of_rows), n_cells)
    n_labelled = np.maximum(cells.labelled, 1)

    spread = squares / n_labelled - np.square(sums / n_labelled)
    return _unbiased(spread, cells.labelled)
