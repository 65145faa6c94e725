"""How far predicted numbers are from what came."""

import math

import numpy as np

from nightscore.monitoring.performance.metrics.intervals import (
    Interval,
    log_interval,
    normal_interval,
)
from nightscore.monitoring.performance.metrics.means import mean_of_rows
from nightscore.monitoring.performance.metrics.records import known, unknown, why_not
from nightscore.profiles.bins import Floats
from nightscore.schemas.performance import MetricRecord

REGRESSION_METRICS = ("mae", "rmse", "r2", "bias", "pinball")
"""In the order in which people see them."""


def regression_metrics(
    prediction: Floats, label: Floats, *, weights: Floats | None = None, quantile: float = 0.5
) -> list[MetricRecord]:
    """The metrics of `REGRESSION_METRICS` with 95 % intervals.

    What cannot be had has no value and a note: without rows, or with numbers that are NaN.

    Args:
        prediction: Shape (n,), float64.
        label: Shape (n,), float64.
        weights: Shape (n,), float64, such as inverse probabilities of being labelled.
        quantile: That the model predicts, for the pinball loss; .5 is half of the MAE.
    """
    n_rows = len(prediction)
    why = why_not({"predictions": prediction, "labels": label}, weights)
    if why:
        return [unknown(name, n_rows, why) for name in REGRESSION_METRICS]

    def error(rows: slice) -> Floats:
        return prediction[rows] - label[rows]

    def pinball(rows: slice) -> Floats:
        return np.maximum(-quantile * error(rows), (1 - quantile) * error(rows))

    mae = mean_of_rows(lambda rows: np.abs(error(rows)), n_rows, weights)
    square = mean_of_rows(lambda rows: np.square(error(rows)), n_rows, weights)
    bias = mean_of_rows(error, n_rows, weights)
    loss = mean_of_rows(pinball, n_rows, weights)
    squares = log_interval(square.value, square.variance)
    of_rmse = Interval(math.sqrt(squares.low), math.sqrt(squares.high))

    return [
        known("mae", mae.value, n_rows, log_interval(*mae)),
        known("rmse", math.sqrt(square.value), n_rows, of_rmse),
        _r2(prediction, label, square.value, weights),
        known("bias", bias.value, n_rows, normal_interval(*bias)),
        known("pinball", loss.value, n_rows, log_interval(*loss)),
    ]


def _r2(
    prediction: Floats, label: Floats, mean_square: float, weights: Floats | None
) -> MetricRecord:
    n_rows = len(label)
    center = mean_of_rows(lambda rows: label[rows], n_rows, weights).value
    spread = mean_of_rows(lambda rows: np.square(label[rows] - center), n_rows, weights).value
    if not spread:
        return unknown("r2", n_rows, "all labels are equal")

    unexplained = mean_square / spread

    def influence(rows: slice) -> Floats:
        square_error = np.square(prediction[rows] - label[rows])
        square_deviation = np.square(label[rows] - center)
        return np.asarray((unexplained * square_deviation - square_error) / spread)

    variance = mean_of_rows(influence, n_rows, weights).variance
    value = 1 - unexplained
    return known("r2", value, n_rows, normal_interval(value, variance))
