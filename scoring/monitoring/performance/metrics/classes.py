"""How right a model of several classes is."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from nightscore.monitoring.performance.metrics.decisions import Confusion, metrics_of_confusion
from nightscore.monitoring.performance.metrics.intervals import log_interval
from nightscore.monitoring.performance.metrics.means import mean_of_rows
from nightscore.monitoring.performance.metrics.probability import EPSILON
from nightscore.monitoring.performance.metrics.records import NO_ROWS, known, unknown
from nightscore.profiles.bins import Floats
from nightscore.schemas.performance import MetricRecord

Codes = npt.NDArray[np.integer]

OF_A_CLASS = ("precision", "recall", "f1")


def class_metrics(
    predicted: Codes,
    label: Codes,
    classes: Sequence[str],
    *,
    probabilities: Floats | None = None,
    weights: Floats | None = None,
) -> list[MetricRecord]:
    """Accuracy, log loss, and precision, recall and F1 of each class and their macro means.

    Those of a class are named `precision[CLASS]`, the means `precision_macro`.

    Args:
        predicted: Shape (n,), positions in `classes`.
        label: Shape (n,), positions in `classes`.
        classes: Names of all k classes.
        probabilities: Shape (n, k), float64. None: there is no log loss.
        weights: Shape (n,), float64.
    """
    n_rows, n_classes = len(predicted), len(classes)
    if not n_rows:
        return [unknown("accuracy", 0, NO_ROWS)]

    pairs = label.astype(np.int64) * n_classes + predicted
    sums = _sums(pairs, weights, n_classes)
    squares = sums if weights is None else _sums(pairs, weights**2, n_classes)

    of_classes: dict[str, list[MetricRecord]] = {name: [] for name in OF_A_CLASS}
    for place, name in enumerate(classes):
        outcomes, outcome_squares = _one_against_all(sums, place), _one_against_all(squares, place)
        for record in metrics_of_confusion(outcomes, outcome_squares, n_rows, None)[1:]:
            renamed = record.model_copy(update={"name": f"{record.name}[{name}]"})
            of_classes[record.name].append(renamed)

    right = Confusion(float(np.trace(sums)), float(sums.sum() - np.trace(sums)), 0.0, 0.0)
    right_squares = Confusion(
        float(np.trace(squares)), float(squares.sum() - np.trace(squares)), 0.0, 0.0
    )
    records = [metrics_of_confusion(right, right_squares, n_rows, None)[1]]
    records[0] = records[0].model_copy(update={"name": "accuracy"})
    if probabilities is not None:
        records.append(_log_loss(probabilities, label, weights))
    for name, of_class in of_classes.items():
        known_values = [record.value or 0.0 for record in of_class]
        records.append(known(f"{name}_macro", float(np.mean(known_values)), n_rows, None))
        records.extend(of_class)

    return records


def _sums(pairs: Codes, weights: Floats | None, n_classes: int) -> Floats:
    sums = np.bincount(pairs, weights, minlength=n_classes**2).astype(np.float64)
    return sums.reshape(n_classes, n_classes)


def _one_against_all(sums: Floats, place: int) -> Confusion:
    tp = float(sums[place, place])
    fp = float(sums[:, place].sum()) - tp
    fn = float(sums[place].sum()) - tp
    return Confusion(tp, fp, fn, float(sums.sum()) - tp - fp - fn)


def _log_loss(probabilities: Floats, label: Codes, weights: Floats | None) -> MetricRecord:
    def losses(rows: slice) -> Floats:
        of_class = np.take_along_axis(probabilities[rows], label[rows, None], axis=1)[:, 0]
        return np.asarray(-np.log(np.clip(of_class, EPSILON, 1 - EPSILON)))

    mean = mean_of_rows(losses, len(label), weights)
    return known("log_loss", mean.value, len(label), log_interval(*mean))
