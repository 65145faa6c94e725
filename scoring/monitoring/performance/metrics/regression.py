"""How far predicted numbers are from what came."""

import math
from collections.abc import Callable

import numpy as np

from nightscore.monitoring.performance.metrics.intervals import (
    Interval,
    log_interval,
    normal_interval,
)
from nightscore.monitoring.performance.metrics.means import Mean, mean_of_rows
from nightscore.monitoring.performance.metrics.records import (
    TOO_FEW,
    all_unknown,
    known,
    unknown,
    why_not,
)
from nightscore.profiles.bins import Floats
from nightscore.schemas.performance import MetricRecord

REGRESSION_METRICS = ("mae", "rmse", "r2", "bias", "pinball")
"""In the order in which people see them."""


def regression_metrics(
    prediction: Floats, label: Floats, *, weights: Floats | None = None, quantile: float = 0.5
) -> list[MetricRecord]:
    """The metrics of `REGRESSION_METRICS` with 95 % intervals.

    What cannot be had has no value and a note: without rows, or with numbers that are NaN. Bias is
    the mean of prediction - label.

    Args:
        prediction: Shape (n,), float64.
        label: Shape (n,), float64.
        weights: Shape (n,), float64, none negative, such as inverse probabilities of being
            labelled.
        quantile: That the model predicts, for the pinball loss; at .5 it is half of the MAE.
    """
    n_rows = len(prediction)
    why = why_not({"predictions": prediction, "labels": label}, weights)
    if why:
        return all_unknown(REGRESSION_METRICS, n_rows, why)

    def error(rows: slice) -> Floats:
        return prediction[rows] - label[rows]

    def pinball(rows: slice) -> Floats:
        """R. Koenker, G. Bassett, "Regression Quantiles" (1978)."""
        errors = error(rows)
        return np.maximum(-quantile * errors, (1 - quantile) * errors)

    with np.errstate(over="ignore", invalid="ignore"):
        mae = mean_of_rows(lambda rows: np.abs(error(rows)), n_rows, weights)
        square = mean_of_rows(lambda rows: np.square(error(rows)), n_rows, weights)
        bias = mean_of_rows(error, n_rows, weights)
        loss = mean_of_rows(pinball, n_rows, weights)
        unexplained = _unexplained(prediction, label, square.value, weights)

    return [
        _of_mean("mae", mae, n_rows, log_interval),
        _of_mean("rmse", square, n_rows, log_interval, math.sqrt),
        _r2(unexplained, n_rows),
        _of_mean("bias", bias, n_rows, normal_interval),
        _of_mean("pinball", loss, n_rows, log_interval),
    ]


def _unexplained(
    prediction: Floats, label: Floats, mean_square: float, weights: Floats | None
) -> Mean | None:
    """1 - R2: the mean squared error, divided by the variance of the labels. None if that is 0.

    Its margin is the delta method's of a ratio.
    """
    if label.min() == label.max():
        return None

    n_rows = len(label)
    center = mean_of_rows(lambda rows: label[rows], n_rows, weights).value
    spread = mean_of_rows(lambda rows: np.square(label[rows] - center), n_rows, weights).value
    if not spread:
        return None

    ratio = mean_square / spread

    def influence(rows: slice) -> Floats:
        square_error = np.square(prediction[rows] - label[rows])
        return (square_error - ratio * np.square(label[rows] - center)) / spread

    of_influence = mean_of_rows(influence, n_rows, weights)
    return of_influence._replace(value=ratio)


def _r2(unexplained: Mean | None, n_rows: int) -> MetricRecord:
    """1 - sum of squared errors / sum of squared distances of the labels from their mean."""
    if unexplained is None:
        return unknown("r2", n_rows, "all labels are equal")

    record = _of_mean("r2", unexplained, n_rows, log_interval, lambda ratio: 1 - ratio)
    return record.model_copy(update={"low": record.high, "high": record.low})


def _of_mean(
    name: str,
    mean: Mean,
    n_rows: int,
    shape: Callable[[float, float], Interval],
    transform: Callable[[float], float] = float,
) -> MetricRecord:
    """A monotonic function of a mean. The ends of the interval are transformed alike."""
    if not (math.isfinite(mean.value) and math.isfinite(mean.margin)):
        return unknown(name, n_rows, "the numbers are too great")

    value = transform(mean.value)

    interval = mean.interval(shape)
    if interval is None:
        return known(name, value, n_rows, None, TOO_FEW)

    return known(name, value, n_rows, Interval(*map(transform, interval)))
