"""How right scores are as probabilities."""

from collections.abc import Callable

import numpy as np

from nightscore.monitoring.performance.metrics.intervals import log_interval
from nightscore.monitoring.performance.metrics.means import mean_of_rows
from nightscore.monitoring.performance.metrics.ranked_scores import RankedScores
from nightscore.monitoring.performance.metrics.records import TOO_FEW, known, unknown
from nightscore.profiles.bins import Floats
from nightscore.schemas.performance import MetricRecord

NO_PROBABILITY = "the score is no probability: it is below 0 or above 1"
EPSILON = float(np.finfo(np.float64).eps)
"""The least that a probability is taken for, as by scikit-learn's log loss of float64."""


def log_loss(ranked: RankedScores) -> MetricRecord:
    """The mean of -log of the probability that was given to the class that came.

    Probabilities are kept away from 0 and 1 by 2.2e-16, as scikit-learn's `log_loss` keeps them.
    """
    return without_band(_mean_loss("log_loss", ranked, surprise), count_impossible(ranked))


def without_band(record: MetricRecord, n_impossible: int) -> MetricRecord:
    """A log loss as it can be told where rows are of a class that was given a probability of 0.

    Each of them costs 36, so that a few decide the mean. How many there will be cannot be told
    from the others: a band of 95 % would cover 88 %.

    Args:
        record: The metric.
        n_impossible: The number of such rows.
    """
    if record.value is None or not n_impossible:
        return record

    rows = "1 row is" if n_impossible == 1 else f"{n_impossible:,} rows are"
    note = f"no band: {rows} of a class that was given a probability of 0"
    return record.model_copy(update={"low": None, "high": None, "note": note})


def brier(ranked: RankedScores) -> MetricRecord:
    """The mean squared difference of the probability from what came, 0 or 1.

    Source: G. Brier, "Verification of Forecasts Expressed in Terms of Probability" (1950).
    """
    return _mean_loss("brier", ranked, lambda of_class: np.square(1 - of_class))


def is_probability(ranked: RankedScores) -> bool:
    """Whether all scores are from 0 to 1."""
    return bool(ranked.scores[0] >= 0 and ranked.scores[-1] <= 1)


def surprise(of_class: Floats) -> Floats:
    """-log of probabilities, which are kept away from 0 and 1."""
    return -np.log(np.clip(of_class, EPSILON, 1 - EPSILON))


def count_impossible(ranked: RankedScores) -> int:
    """Positive rows of score 0, and negative ones of score 1."""
    n_zeros = int(np.searchsorted(ranked.scores, 0.0, "right"))
    n_below_one = int(np.searchsorted(ranked.scores, 1.0, "left"))
    n_positives = int(np.count_nonzero(ranked.labels[:n_zeros]))
    return n_positives + int(np.count_nonzero(~ranked.labels[n_below_one:]))


def _mean_loss(name: str, ranked: RankedScores, loss: Callable[[Floats], Floats]) -> MetricRecord:
    if not is_probability(ranked):
        return unknown(name, ranked.n_rows, NO_PROBABILITY)

    def losses(rows: slice) -> Floats:
        scores = ranked.scores[rows]
        return loss(np.where(ranked.labels[rows], scores, 1 - scores))

    mean = mean_of_rows(losses, ranked.n_rows, ranked.weights)
    interval = mean.interval(log_interval)
    return known(name, mean.value, ranked.n_rows, interval, "" if interval else TOO_FEW)
