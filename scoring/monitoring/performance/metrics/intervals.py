"""95 % intervals: of means, of shares, and of values that have bounds."""

import math
from typing import NamedTuple

Z_95 = 1.959963984540054
"""97.5 % of a normal distribution are below."""


class Interval(NamedTuple):
    """A 95 % interval."""

    low: float
    high: float


def normal_interval(value: float, variance: float) -> Interval:
    """Of a value that has no bounds, such as a bias.

    Args:
        value: The estimate.
        variance: Of the estimate, not of a row.
    """
    margin = Z_95 * math.sqrt(variance)
    return Interval(value - margin, value + margin)


def log_interval(value: float, variance: float) -> Interval:
    """Of a value that is never negative: normal on the logarithm, so that it stays above 0."""
    if value <= 0:
        return Interval(0.0, Z_95 * math.sqrt(variance))

    factor = math.exp(Z_95 * math.sqrt(variance) / value)
    return Interval(value / factor, value * factor)


def logit_interval(value: float, variance: float) -> Interval | None:
    """Of a value between 0 and 1: normal on its logarithm of odds, so that it stays between them.

    None at 0 and 1, where the logarithm of odds is infinite.

    Source: M. Pepe, "The Statistical Evaluation of Medical Tests" (2003), 5.2.
    """
    if not 0 < value < 1:
        return None

    center = math.log(value / (1 - value))
    margin = Z_95 * math.sqrt(variance) / (value * (1 - value))
    return Interval(_logistic(center - margin), _logistic(center + margin))


def wilson_interval(share: float, n_effective: float) -> Interval:
    """Of a share of rows. It holds with few rows and at shares of 0 and 1, too.

    Args:
        share: Of the rows, from 0 to 1.
        n_effective: The rows, or as many unweighted rows as tell as much as the weighted ones.

    Source: E. Wilson, "Probable Inference, the Law of Succession, and Statistical Inference"
    (1927).
    """
    spread = Z_95**2 / n_effective
    center = (share + spread / 2) / (1 + spread)
    margin = math.sqrt(share * (1 - share) * spread + spread**2 / 4) / (1 + spread)
    return Interval(max(0.0, center - margin), min(1.0, center + margin))


def _logistic(log_odds: float) -> float:
    if log_odds < 0:
        odds = math.exp(log_odds)
        return odds / (1 + odds)
    return 1 / (1 + math.exp(-log_odds))
