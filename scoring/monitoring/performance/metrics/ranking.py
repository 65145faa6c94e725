"""How well scores put positive rows above negative ones."""

import numpy as np

from nightscore.monitoring.performance.metrics.intervals import Interval, logit_interval
from nightscore.monitoring.performance.metrics.ranked_scores import RankedScores
from nightscore.monitoring.performance.metrics.records import ONE_CLASS, known, unknown
from nightscore.schemas.performance import MetricRecord


def roc_auc(ranked: RankedScores) -> MetricRecord:
    """The probability that a positive row has a greater score than a negative one.

    Ties count half. No value if one class is missing.

    Source: E. DeLong, D. DeLong, D. Clarke-Pearson, "Comparing the Areas under Two or More
    Correlated Receiver Operating Characteristic Curves" (1988).
    """
    if not (ranked.n_positives and ranked.n_negatives):
        return unknown("roc_auc", ranked.n_rows, ONE_CLASS)

    area = _area(ranked)
    return known("roc_auc", area, ranked.n_rows, _area_interval(ranked, area))


def average_precision(ranked: RankedScores) -> MetricRecord:
    """The mean, over positive rows, of the precision at their scores.

    Source: as scikit-learn's `average_precision_score`, without interpolation.
    """
    if not (ranked.n_positives and ranked.n_negatives):
        return unknown("average_precision", ranked.n_rows, ONE_CLASS)

    value, variance = _average_precision(ranked)
    interval = logit_interval(value, variance)
    return known("average_precision", value, ranked.n_rows, interval)


def _area(ranked: RankedScores) -> float:
    below, pairs = 0.0, 0.0

    for ties in ranked.blocks():
        negatives_to = below + np.cumsum(ties.negatives)
        pairs += float(ties.positives @ (negatives_to - ties.negatives / 2))
        below = float(negatives_to[-1])

    return pairs / (ranked.positives * ranked.negatives)


def _area_interval(ranked: RankedScores, area: float) -> Interval | None:
    negatives_below, positives_below = 0.0, 0.0
    of_positives, of_negatives = 0.0, 0.0

    for ties in ranked.blocks():
        negatives_to = negatives_below + np.cumsum(ties.negatives)
        positives_to = positives_below + np.cumsum(ties.positives)
        share_below = (negatives_to - ties.negatives / 2) / ranked.negatives
        share_above = 1 - (positives_to - ties.positives / 2) / ranked.positives
        of_positives += float(ties.positive_squares @ np.square(share_below - area))
        of_negatives += float(ties.negative_squares @ np.square(share_above - area))
        negatives_below, positives_below = float(negatives_to[-1]), float(positives_to[-1])

    variance = of_positives / ranked.positives**2 + of_negatives / ranked.negatives**2
    return logit_interval(area, variance)


def _average_precision(ranked: RankedScores) -> tuple[float, float]:
    value = 0.0
    positives_below, negatives_below = 0.0, 0.0

    for ties in ranked.blocks():
        positives_to = positives_below + np.cumsum(ties.positives)
        negatives_to = negatives_below + np.cumsum(ties.negatives)
        true = ranked.positives - positives_to + ties.positives
        false = ranked.negatives - negatives_to + ties.negatives
        value += float(ties.positives @ (true / (true + false)))
        positives_below, negatives_below = float(positives_to[-1]), float(negatives_to[-1])

    value /= ranked.positives
    return value, value * (1 - value) / ranked.positives
