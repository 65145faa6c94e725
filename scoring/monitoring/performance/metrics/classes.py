"""How right a model of several classes is."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from nightscore.monitoring.performance.metrics.class_areas import areas_of_classes
from nightscore.monitoring.performance.metrics.decisions import (
    Confusion,
    Outcomes,
    accuracy,
    f1,
    precision,
    recall,
)
from nightscore.monitoring.performance.metrics.intervals import (
    LEAST_ROWS,
    log_interval,
    logit_interval,
    margin_of,
    wilson_interval,
)
from nightscore.monitoring.performance.metrics.means import blocks_of_rows, mean_of_rows
from nightscore.monitoring.performance.metrics.probability import (
    NO_PROBABILITY,
    surprise,
    without_band,
)
from nightscore.monitoring.performance.metrics.ranked_scores import Codes
from nightscore.monitoring.performance.metrics.records import (
    TOO_FEW,
    all_unknown,
    known,
    unknown,
    why_not,
)
from nightscore.profiles.bins import Floats
from nightscore.schemas.performance import MetricRecord

OF_A_CLASS = {"precision": precision, "recall": recall, "f1": f1}


class _Table(NamedTuple):
    """Rows by label (first axis) and predicted class, shape (k, k)."""

    sums: Floats
    """Of weights; rows, if there are no weights."""
    squares: Floats
    """Of squared weights."""
    n_rows: int


def class_metrics(
    predicted: Codes,
    label: Codes,
    classes: Sequence[str],
    *,
    probabilities: Floats | None = None,
    weights: Floats | None = None,
) -> list[MetricRecord]:
    """Accuracy, log loss, Brier score, and ROC AUC, precision, recall and F1 of the classes.

    Means over the classes are named `precision_macro`, those of a class `precision[CLASS]`. As in
    scikit-learn, a mean is over the classes that occur among the labels or the predictions, and a
    metric that is not defined of one of them counts 0 there; a note says so. A ROC AUC is that of
    one class against the rest.

    Args:
        predicted: Shape (n,), integers: positions in `classes`.
        label: Shape (n,), integers: positions in `classes`.
        classes: Names of all k classes.
        probabilities: Shape (n, k), float64, each row of a sum of 1. None: there are no
            log loss, Brier score and ROC AUC.
        weights: Shape (n,), float64, none negative, such as inverse probabilities of being
            labelled.
    """
    n_rows = len(predicted)
    why = why_not({"predictions": predicted}, weights)
    if why:
        return all_unknown(_names(classes, probabilities), n_rows, why)

    table = _count(predicted, label, len(classes), weights)
    records = [_accuracy(table)]
    if probabilities is not None:
        records.append(_log_loss(probabilities, label, weights))
        records.append(_brier(probabilities, label, weights))
        records += areas_of_classes(probabilities, label, classes, weights)

    for name, measure in OF_A_CLASS.items():
        of_classes = [measure(_one_against_all(table, place)) for place in range(len(classes))]
        records.append(_macro(name, of_classes, table))
        for record, of_class in zip(of_classes, classes, strict=True):
            records.append(record.model_copy(update={"name": f"{name}[{of_class}]"}))

    return records


def _names(classes: Sequence[str], probabilities: Floats | None) -> list[str]:
    names = ["accuracy"]
    if probabilities is not None:
        names += ["log_loss", "brier"]

    means = list(OF_A_CLASS) if probabilities is None else ["roc_auc", *OF_A_CLASS]
    for name in means:
        names.append(f"{name}_macro")
        names.extend(f"{name}[{of_class}]" for of_class in classes)

    return names


def _count(predicted: Codes, label: Codes, n_classes: int, weights: Floats | None) -> _Table:
    pairs = label.astype(np.int64) * n_classes + predicted

    def sums(of_rows: Floats | None) -> Floats:
        flat = np.bincount(pairs, of_rows, minlength=n_classes**2).astype(np.float64)
        return flat.reshape(n_classes, n_classes)

    if weights is None:
        counts = sums(None)
        return _Table(counts, counts, len(pairs))
    n_rows = int(np.count_nonzero(weights))
    return _Table(sums(weights), sums(np.square(weights)), n_rows)


def _accuracy(table: _Table) -> MetricRecord:
    right, right_squares = float(np.trace(table.sums)), float(np.trace(table.squares))
    sums = Confusion(right, float(table.sums.sum()) - right, 0.0, 0.0)
    squares = Confusion(right_squares, float(table.squares.sum()) - right_squares, 0.0, 0.0)
    return accuracy(Outcomes(sums, squares, table.n_rows))


def _one_against_all(table: _Table, place: int) -> Outcomes:
    sums, squares = (_confusion_of(counts, place) for counts in (table.sums, table.squares))
    return Outcomes(sums, squares, table.n_rows)


def _confusion_of(counts: Floats, place: int) -> Confusion:
    others = np.arange(len(counts)) != place
    return Confusion(
        tp=float(counts[place, place]),
        fp=float(counts[others, place].sum()),
        fn=float(counts[place, others].sum()),
        tn=float(counts[np.ix_(others, others)].sum()),
    )


def _macro(name: str, of_classes: list[MetricRecord], table: _Table) -> MetricRecord:
    """The mean over classes that occur. Its variance is the delta method's of the k x k shares.

    Source: K. Takahashi, K. Yamamoto, A. Kuchiba, T. Koyama, "Confidence interval for
    micro-averaged F1 and macro-averaged F1 scores" (2022).
    """
    labels, predictions = table.sums.sum(axis=1), table.sums.sum(axis=0)
    hits = np.diag(table.sums)
    occurs = labels + predictions > 0
    n_occurring = int(occurs.sum())
    value = sum(record.value or 0.0 for record in of_classes) / n_occurring
    gradient = _macro_gradient(name, hits, labels, predictions) / n_occurring

    mean = float((gradient * table.sums).sum()) / float(table.sums.sum())
    variance = float((np.square(gradient - mean) * table.squares).sum())
    n_effective = float(table.sums.sum()) ** 2 / float(table.squares.sum())
    n_undefined = sum(
        record.value is None and bool(occurs[place]) for place, record in enumerate(of_classes)
    )

    notes = []
    if n_undefined:
        notes.append(f"{n_undefined} of {n_occurring} classes have none, and count 0")

    interval = None
    if n_effective < LEAST_ROWS:
        notes.append(TOO_FEW)
    elif 0 < value < 1:
        interval = logit_interval(value, margin_of(variance))
    else:
        interval = wilson_interval(value, n_effective / n_occurring)

    return known(f"{name}_macro", value, table.n_rows, interval, "; ".join(notes))


def _macro_gradient(name: str, hits: Floats, labels: Floats, predictions: Floats) -> Floats:
    """Of the sum over classes by the rows of each cell, shape (k, k).

    Each metric of a class is c hits / (a labels + b predictions), with 0 where that is 0 / 0.
    """
    a, b, c = {"precision": (0, 1, 1), "recall": (1, 0, 1), "f1": (1, 1, 2)}[name]
    below = a * labels + b * predictions
    safe = np.where(below > 0, below, 1.0)
    by_hits = np.where(below > 0, c / safe, 0.0)
    by_below = -c * hits / np.square(safe)

    return np.diag(by_hits) + a * by_below[:, None] + b * by_below[None, :]


def _log_loss(probabilities: Floats, label: Codes, weights: Floats | None) -> MetricRecord:
    def of_label(rows: slice) -> Floats:
        return _of_label(probabilities[rows], label[rows])

    record = _mean_loss("log_loss", lambda rows: surprise(of_label(rows)), probabilities, weights)
    if record.value is None:
        return record

    blocks = blocks_of_rows(len(label))
    n_impossible = sum(int(np.count_nonzero(of_label(rows) == 0)) for rows in blocks)
    return without_band(record, n_impossible)


def _brier(probabilities: Floats, label: Codes, weights: Floats | None) -> MetricRecord:
    """The sum over the classes of squared differences from what came, 0 or 1: at most 2.

    Source: G. Brier, "Verification of Forecasts Expressed in Terms of Probability" (1950).
    """

    def losses(rows: slice) -> Floats:
        of_classes = probabilities[rows]
        squares: Floats = np.square(of_classes).sum(axis=1)
        return squares - 2 * _of_label(of_classes, label[rows]) + 1

    return _mean_loss("brier", losses, probabilities, weights)


def _of_label(probabilities: Floats, label: Codes) -> Floats:
    """The probability that each row's own class was given."""
    return np.take_along_axis(probabilities, label.astype(np.int64)[:, None], axis=1)[:, 0]


def _mean_loss(
    name: str,
    losses: Callable[[slice], Floats],
    probabilities: Floats,
    weights: Floats | None,
) -> MetricRecord:
    n_rows = len(probabilities)

    why = why_not({"probabilities": probabilities}, weights)
    if not why and (probabilities.min() < 0 or probabilities.max() > 1):
        why = NO_PROBABILITY
    if why:
        return unknown(name, n_rows, why)

    mean = mean_of_rows(losses, n_rows, weights)
    interval = mean.interval(log_interval)

    return known(name, mean.value, n_rows, interval, "" if interval else TOO_FEW)
