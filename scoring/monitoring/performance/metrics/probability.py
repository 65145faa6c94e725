"""How right scores are as probabilities."""

import numpy as np

from nightscore.monitoring.performance.metrics.intervals import log_interval
from nightscore.monitoring.performance.metrics.means import mean_of_rows
from nightscore.monitoring.performance.metrics.ranked_scores import Labels
from nightscore.monitoring.performance.metrics.records import known, unknown
from nightscore.profiles.bins import Floats
from nightscore.schemas.performance import MetricRecord

NO_PROBABILITY = "the score is no probability: it is below 0 or above 1"
EPSILON = float(np.finfo(np.float64).eps)


def log_loss(score: Floats, label: Labels, weights: Floats | None = None) -> MetricRecord:
    """The mean of -log of the probability that was given to the class that came.

    Probabilities are kept at least 2.2e-16 away from 0 and 1, as scikit-learn's `log_loss` does.
    """
    return _mean_loss("log_loss", score, label, weights)


def brier(score: Floats, label: Labels, weights: Floats | None = None) -> MetricRecord:
    """The mean squared difference of the probability from what came, 0 or 1.

    Source: G. Brier, "Verification of Forecasts Expressed in Terms of Probability" (1950).
    """
    return _mean_loss("brier", score, label, weights)


def _mean_loss(name: str, score: Floats, label: Labels, weights: Floats | None) -> MetricRecord:
    if score.min() < 0 or score.max() > 1:
        return unknown(name, len(score), NO_PROBABILITY)

    def losses(rows: slice) -> Floats:
        of_class = np.where(label[rows], score[rows], 1 - score[rows])
        if name == "brier":
            return np.asarray(np.square(1 - of_class))
        return np.asarray(-np.log(np.clip(of_class, EPSILON, 1 - EPSILON)))

    mean = mean_of_rows(losses, len(score), weights)
    return known(name, mean.value, len(score), log_interval(mean.value, mean.variance))
