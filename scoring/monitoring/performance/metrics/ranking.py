"""How well scores put positive rows above negative ones."""

import numpy as np

from nightscore.monitoring.performance.metrics.intervals import (
    LEAST_ROWS,
    Interval,
    freedom_of,
    logit_interval,
    margin_of,
    wilson_interval,
)
from nightscore.monitoring.performance.metrics.ranked_scores import RankedScores, Ties
from nightscore.monitoring.performance.metrics.records import (
    ONE_CLASS,
    TOO_FEW_OF_A_CLASS,
    known,
    unknown,
)
from nightscore.profiles.bins import Floats
from nightscore.schemas.performance import MetricRecord

ALL_EQUAL = "no band: all scores are equal"


def roc_auc(ranked: RankedScores) -> MetricRecord:
    """The probability that a positive row has a greater score than a negative one.

    Ties count half. No value if one class is missing.

    Source: E. DeLong, D. DeLong, D. Clarke-Pearson, "Comparing the Areas under Two or More
    Correlated Receiver Operating Characteristic Curves" (1988), in the form of X. Sun, W. Xu, "Fast
    Implementation of DeLong's Algorithm" (2014), which sorts instead of comparing all pairs.
    """
    if not ranked.n_of_rarer_class:
        return unknown("roc_auc", ranked.n_rows, ONE_CLASS)

    area = _area(ranked)
    if ranked.scores[0] == ranked.scores[-1]:
        return known("roc_auc", area, ranked.n_rows, None, ALL_EQUAL)

    if ranked.n_of_rarer_class < LEAST_ROWS:
        return known("roc_auc", area, ranked.n_rows, None, TOO_FEW_OF_A_CLASS)

    interval = _interval(ranked, area, area, margin_of(_area_variance(ranked, area)))
    return known("roc_auc", area, ranked.n_rows, interval)


def average_precision(ranked: RankedScores) -> MetricRecord:
    """The mean, over positive rows, of the precision at their scores.

    No value if one class is missing.

    Source: as scikit-learn's `average_precision_score`, without interpolation. K. Boyd, K. Eng,
    C. Page, "Area under the Precision-Recall Curve: Point Estimates and Confidence Intervals"
    (2013), for an interval on the logarithm of odds.
    """
    if not ranked.n_of_rarer_class:
        return unknown("average_precision", ranked.n_rows, ONE_CLASS)

    value, bias, margin = _average_precision(ranked)
    if ranked.n_of_rarer_class < LEAST_ROWS:
        return known("average_precision", value, ranked.n_rows, None, TOO_FEW_OF_A_CLASS)

    interval = _interval(ranked, value, value - bias, margin)
    return known("average_precision", value, ranked.n_rows, interval)


def _interval(ranked: RankedScores, value: float, center: float, margin: float) -> Interval:
    """It holds the value. Without any error, or with nothing else, no variance is seen.

    Then it is that of a share of the rarer class, which is never too narrow: of all values between
    0 and 1, none vary more than shares do.
    """
    if not 0 < value < 1 or not 0 < center < 1:
        return wilson_interval(min(1.0, value), ranked.n_of_rarer_class)

    low, high = logit_interval(center, margin)
    return Interval(min(low, value), max(high, value))


def _area(ranked: RankedScores) -> float:
    pairs = 0.0
    for ties in ranked.falling():
        pairs += float(ties.negatives @ (ties.true_positives - ties.positives / 2))

    return pairs / (ranked.positives * ranked.negatives)


def _area_variance(ranked: RankedScores, area: float) -> float:
    """DeLong's variance: of the share of the other class that a row is on the right side of.

    With weights, each term is multiplied by its row's squared weight.
    """
    of_positives, of_negatives = 0.0, 0.0

    for ties in ranked.falling():
        share_below = 1 - (ties.false_positives - ties.negatives / 2) / ranked.negatives
        share_above = (ties.true_positives - ties.positives / 2) / ranked.positives

        of_positives += float(ties.positive_squares @ np.square(share_below - area))
        of_negatives += float(ties.negative_squares @ np.square(share_above - area))

    n_negatives = ranked.n_rows - ranked.n_positives
    of_positives *= ranked.n_positives / (ranked.n_positives - 1)
    of_negatives *= n_negatives / (n_negatives - 1)

    return of_positives / ranked.positives**2 + of_negatives / ranked.negatives**2


def _average_precision(ranked: RankedScores) -> tuple[float, float, float]:
    """The value, its bias and its margin.

    Each positive row counts in the precision at its own score, which makes that precision too
    great. The bias is what the precisions lose together if each leaves out its own row.

    The variance is the sum over rows of (weight x influence)², where the influence of a row is the
    derivative of the metric by the row's weight. A row counts at each threshold up to its own
    score, so its influence is a sum over the positive rows of lower scores.

    Source: B. Efron, "The Jackknife, the Bootstrap and Other Resampling Plans" (1982), 6.3, the
    infinitesimal jackknife.
    """
    precisions, gain, loss, bias = 0.0, 0.0, 0.0, 0.0

    for ties in ranked.falling():
        per_false, per_true = _slopes(ties)
        gain += float(ties.positives @ per_true)
        loss += float(ties.positives @ per_false)
        bias += float(ties.positive_squares @ per_true)
        precisions += float(ties.positives @ _precision(ties))

    value = precisions / ranked.positives
    squares, fourths = 0.0, 0.0
    usual_weight = (ranked.positives + ranked.negatives) / ranked.n_effective

    for ties in ranked.falling():
        per_false, per_true = _slopes(ties)
        gains, losses = ties.positives * per_true, ties.positives * per_false
        gains_below = gain - np.cumsum(gains) + gains
        losses_below = loss - np.cumsum(losses) + losses

        of_positives = _precision(ties) - value + gains_below
        for row_squares, influence in (
            (ties.positive_squares, of_positives),
            (ties.negative_squares, losses_below),
        ):
            square = np.square(influence / ranked.positives)
            squares += float(row_squares @ square)
            fourths += float(row_squares @ np.square(usual_weight * square))

        gain -= float(gains.sum())
        loss -= float(losses.sum())

    freedom = freedom_of(squares, fourths, ranked.n_effective)
    variance = squares * ranked.n_positives / max(ranked.n_positives - 1, 1)
    return min(1.0, value), bias / ranked.positives, margin_of(variance, freedom)


def _precision(ties: Ties) -> Floats:
    return ties.true_positives / (ties.true_positives + ties.false_positives)


def _slopes(ties: Ties) -> tuple[Floats, Floats]:
    """How fast the precision falls with false positives, and grows with true ones."""
    square = np.square(ties.true_positives + ties.false_positives)
    return ties.true_positives / square, ties.false_positives / square
