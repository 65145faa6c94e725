"""The line that would make probabilities right: its slope, and how far they are off on average."""

from typing import NamedTuple

import numpy as np

from nightscore.monitoring.performance.metrics.intervals import (
    LEAST_ROWS,
    margin_of,
    normal_interval,
)
from nightscore.monitoring.performance.metrics.means import blocks_of_rows
from nightscore.monitoring.performance.metrics.probability import NO_PROBABILITY, is_probability
from nightscore.monitoring.performance.metrics.ranked_scores import RankedScores
from nightscore.monitoring.performance.metrics.records import (
    ONE_CLASS,
    TOO_FEW_OF_A_CLASS,
    all_unknown,
    known,
    unknown,
)
from nightscore.profiles.bins import Floats
from nightscore.schemas.performance import MetricRecord

CALIBRATION_METRICS = ("calibration_slope", "calibration_intercept")
LEAST_PROBABILITY = 1e-6
"""Scores nearer to 0 and 1 count as this: the log odds of 0 are infinite."""
START_ROWS = 100_000
"""Newton's method starts from the solution of as many rows, at equal distances by score."""
MOST_STEPS = 30
MOST_LOG_ODDS = 100.0
"""A greater coefficient is on its way to infinity: the classes are apart."""
SMALL_STEP = 1e-10
LONGEST_STEP = 2.0
"""Newton's method oversteps where the scores are far from the solution."""
MOST_EXPONENT = 700.0
"""exp of a greater one overflows."""
MOST_POWERS = 3
"""Sums over rows are multiplied by powers of the log odds: 0, 1, 2."""


class _Fit(NamedTuple):
    """A coefficient and its variance."""

    value: float
    variance: float


class _Sums(NamedTuple):
    """Of a logistic regression at one point."""

    gradient: Floats
    """Shape (p,)."""
    curvature: Floats
    """Shape (p, p): minus the second derivatives of the log-likelihood."""
    spread: Floats
    """Shape (p, p): sum of the products of the rows' own gradients."""


def calibration_metrics(ranked: RankedScores) -> list[MetricRecord]:
    """The calibration slope and intercept, with 95 % intervals.

    The slope is b in log odds(positive) = a + b log odds(score): 1 is right, less means scores that
    are too extreme. The intercept is a with b = 1: 0 is right, more means scores that are too low
    on average. Both are found by Newton's method; their variances are the sandwich's, which hold
    even if log odds are not on a line.

    Source: D. Cox, "Two Further Applications of a Model for Binary Regression" (1958); B. Van
    Calster et al., "A Calibration Hierarchy for Risk Models Was Defined" (2016); H. White, "Maximum
    Likelihood Estimation of Misspecified Models" (1982), for the variances.
    """
    if not is_probability(ranked):
        return all_unknown(CALIBRATION_METRICS, ranked.n_rows, NO_PROBABILITY)
    if not ranked.n_of_rarer_class:
        return all_unknown(CALIBRATION_METRICS, ranked.n_rows, ONE_CLASS)

    note = ""
    if ranked.scores[0] < LEAST_PROBABILITY or ranked.scores[-1] > 1 - LEAST_PROBABILITY:
        note = f"approximate: scores nearer to 0 or 1 than {LEAST_PROBABILITY:f} count as that"

    slope = None
    if _log_odds(ranked.scores[:1])[0] < _log_odds(ranked.scores[-1:])[0]:
        slope = _fit(ranked, has_slope=True)

    return [
        _record("calibration_slope", ranked, slope, note),
        _record("calibration_intercept", ranked, _fit(ranked, has_slope=False), note),
    ]


def _record(name: str, ranked: RankedScores, fit: _Fit | None, note: str) -> MetricRecord:
    if fit is None:
        return unknown(name, ranked.n_rows, "the scores do not vary, or the classes are apart")
    if ranked.n_of_rarer_class < LEAST_ROWS:
        return known(name, fit.value, ranked.n_rows, None, TOO_FEW_OF_A_CLASS)

    interval = normal_interval(fit.value, margin_of(fit.variance))
    return known(name, fit.value, ranked.n_rows, interval, note)


def _fit(ranked: RankedScores, *, has_slope: bool) -> _Fit | None:
    """The slope, or the intercept where the slope is 1. None if there is no solution."""
    start = np.array([0.0, 1.0]) if has_slope else np.array([0.0])
    if ranked.n_rows > START_ROWS:
        step = -(-ranked.n_rows // START_ROWS)
        weights = None if ranked.weights is None else ranked.weights[::step]
        some = RankedScores.of_sorted(ranked.scores[::step], ranked.labels[::step], weights)
        solution = _solve(some, start)
        start = start if solution is None else solution[0]

    solution = _solve(ranked, start)
    if solution is None:
        return None

    coefficients, covariance = solution
    return _Fit(float(coefficients[-1]), float(covariance[-1, -1]))


def _solve(ranked: RankedScores, start: Floats) -> tuple[Floats, Floats] | None:
    """The coefficients and their covariance, of the last step but one: the last is small."""
    coefficients = start

    for _ in range(MOST_STEPS):
        sums = _sums(ranked, coefficients)
        inverse = _invert(sums.curvature)
        if inverse is None:
            return None

        step = inverse @ sums.gradient
        longest = float(np.abs(step).max())
        if longest > LONGEST_STEP:
            step *= LONGEST_STEP / longest

        coefficients = coefficients + step

        greatest = float(np.abs(coefficients).max())
        if greatest > MOST_LOG_ODDS:
            return None
        if longest <= SMALL_STEP * max(1.0, greatest):
            return coefficients, inverse @ sums.spread @ inverse

    return None


def _invert(matrix: Floats) -> Floats | None:
    """The inverse of a matrix of one or two rows. None if it has none that can be told."""
    if len(matrix) == 1:
        return np.asarray(1 / matrix) if matrix[0, 0] > 0 else None

    (a, b), (_, d) = matrix.tolist()
    determinant = a * d - b * b
    if not determinant > 1e-12 * a * d:
        return None
    return np.array([[d / determinant, -b / determinant], [-b / determinant, a / determinant]])


def _sums(ranked: RankedScores, coefficients: Floats) -> _Sums:
    """With one coefficient, the log odds of the score have the coefficient 1."""
    size = len(coefficients)
    gradient, curvature, spread = np.zeros((3, MOST_POWERS))

    for rows in blocks_of_rows(ranked.n_rows):
        log_odds = _log_odds(ranked.scores[rows])
        slope = float(coefficients[1]) if size > 1 else 1.0
        exponent = np.clip(coefficients[0] + slope * log_odds, -MOST_EXPONENT, MOST_EXPONENT)
        probability = 1 / (1 + np.exp(-exponent))
        residual = ranked.labels[rows] - probability
        factor = probability * (1 - probability)
        if ranked.weights is not None:
            residual *= ranked.weights[rows]
            factor *= ranked.weights[rows]

        square = residual * residual
        power = np.ones(len(log_odds))
        for place in range(2 * size - 1):
            gradient[place] += residual @ power
            curvature[place] += factor @ power
            spread[place] += square @ power
            power = power * log_odds

    places = np.add.outer(np.arange(size), np.arange(size))
    return _Sums(gradient[:size], curvature[places], spread[places])


def _log_odds(scores: Floats) -> Floats:
    clipped = np.clip(scores, LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
    return np.log(clipped / (1 - clipped))
