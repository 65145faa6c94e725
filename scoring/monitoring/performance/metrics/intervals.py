"""95 % intervals: of means, of shares, and of values that have bounds."""

import math
from typing import NamedTuple

Z_95 = 1.959963984540054
"""97.5 % of a normal distribution are below."""
MOST_LOGARITHM = 300.0
"""Greater factors overflow."""
LEAST_ROWS = 10
"""With fewer rows, or fewer of one class, the spread that they show is not trusted."""


class Interval(NamedTuple):
    """A 95 % interval."""

    low: float
    high: float


def margin_of(variance: float, freedom: float = math.inf) -> float:
    """Half of an interval's width, before it is transformed.

    Args:
        variance: Of the estimate, not of a row.
        freedom: Degrees of freedom of the variance, which is an estimate too.
    """
    return student_quantile(freedom) * math.sqrt(variance)


def freedom_of(squares: float, fourths: float, n_effective: float) -> float:
    """Degrees of freedom of a variance: fewer, if a few rows make up most of it.

    Normal rows have as many as there are rows.

    Source: F. Satterthwaite, "An Approximate Distribution of Estimates of Variance Components"
    (1946): 2 variance² / variance of the variance.

    Args:
        squares: Sum of the squares of what rows contribute to the estimate, of mean 0.
        fourths: Sum of their fourth powers.
        n_effective: Rows.
    """
    excess = fourths - squares * squares / n_effective

    return 2 * squares * squares / excess if excess > 0 else math.inf


def student_quantile(freedom: float) -> float:
    """97.5 % of a t-distribution are below. With fewer than 4 degrees of freedom, as with 4.

    Source: M. Abramowitz, I. Stegun, "Handbook of Mathematical Functions" (1964), 26.7.5.
    """
    inverse, z = 1 / max(freedom, 4.0), Z_95
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384

    return z + inverse * (first + inverse * (second + inverse * third))


def normal_interval(value: float, margin: float) -> Interval:
    """Of a value that has no bounds, such as a bias."""
    return Interval(value - margin, value + margin)


def log_interval(value: float, margin: float) -> Interval:
    """Of a value that is never negative: symmetric on the logarithm, so that it stays above 0.

    Losses are skewed: a few rows have great ones. The logarithm of their mean is less so.
    """
    if value <= 0:
        return Interval(0.0, margin)

    factor = math.exp(min(margin / value, MOST_LOGARITHM))
    return Interval(value / factor, value * factor)


def logit_interval(value: float, margin: float) -> Interval:
    """Of a value between 0 and 1, without them: symmetric on its logarithm of odds.

    Source: M. Pepe, "The Statistical Evaluation of Medical Tests" (2003), 5.2.
    """
    center = math.log(value / (1 - value))
    of_log_odds = margin / (value * (1 - value))
    return Interval(_logistic(center - of_log_odds), _logistic(center + of_log_odds))


def wilson_interval(share: float, n_effective: float) -> Interval:
    """Of a share of rows. It holds with few rows, and at shares of 0 and 1, too.

    Args:
        share: Of the rows, from 0 to 1.
        n_effective: The rows, or as many unweighted rows as tell as much as the weighted ones.

    Source: E. Wilson, "Probable Inference, the Law of Succession, and Statistical Inference"
    (1927).
    """
    spread = Z_95**2 / n_effective
    center = (share + spread / 2) / (1 + spread)
    margin = math.sqrt(share * (1 - share) * spread + spread**2 / 4) / (1 + spread)

    return Interval(max(0.0, min(share, center - margin)), min(1.0, max(share, center + margin)))


def share_interval(share: float, variance: float, n_effective: float) -> Interval:
    """Wilson's, of as many rows as have this variance together.

    Source: E. Korn, B. Graubard, "Confidence Intervals for Proportions with Small Expected Number
    of Positive Counts Estimated from Survey Data" (1998), for the rows that are effective.

    Args:
        share: Of the rows, from 0 to 1.
        variance: Of the share.
        n_effective: Taken at shares of 0 and 1, which show no variance.
    """
    if variance > 0 and 0 < share < 1:
        n_effective = share * (1 - share) / variance
    return wilson_interval(share, n_effective)


def _logistic(log_odds: float) -> float:
    """It does not overflow."""
    if log_odds >= 0:
        return 1 / (1 + math.exp(-log_odds))
    odds = math.exp(max(log_odds, -MOST_LOGARITHM))
    return odds / (1 + odds)
