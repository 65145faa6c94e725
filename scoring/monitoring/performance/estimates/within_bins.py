"""How rows and positive rows lie within a bin of the score, of which only sums are stored.

Scores of a bin are taken as exponentially distributed between its edges, with the mean that is
stored: of all distributions with that mean it is the one that assumes least (E. Jaynes,
"Information Theory and Statistical Mechanics", 1957). The share of positive rows follows a curve,
the logistic regression of the labels on the log odds of the scores, moved so that it gives the
bin's own share where the baseline has its rows (D. Cox, "Two further applications of a model for
binary regression", 1958; J. Platt, "Probabilistic outputs for support vector machines", 1999).

So a day whose rows lie higher in a bin than the baseline's has more positive rows in it, and the
positive rows of a bin rank higher than its others.
"""

from typing import NamedTuple

import numpy as np

from nightscore.profiles.bins import Floats

PARTS = 8
"""Parts of a bin, each with as many rows."""
LEAST_CHANCE = 1e-9
"""Where scores are clipped for their log odds."""
LEAST_SHARE = 1e-6
"""Where shares are."""
LEAST_PLACE = 0.01
"""How near a bin's mean may be to an end of it, as a share of its width."""
FLAT = 1e-3
"""A steepness below it is none."""
CURVE_STEPS, MOVE_STEPS = 12, 4
"""Newton's steps."""
PRIOR_WEIGHT = 1.0
"""Of a slope of 1, in the units of a row's information: few labels leave the score as it is."""

_STEEPNESS = np.linspace(-60.0, 60.0, 481)
_MIDDLES = (np.arange(PARTS) + 0.5) / PARTS


class Curve(NamedTuple):
    """Log odds of a positive row: intercept + slope * log odds of its score."""

    intercept: float = 0.0
    slope: float = 1.0

    @classmethod
    def of(cls, scores: Floats, shares: Floats, labelled: Floats) -> "Curve":
        """The logistic regression on bins.

        Args:
            scores: Mean scores, shape (bins,).
            shares: Shares of positive rows, shape (bins,).
            labelled: Labelled rows, shape (bins,).
        """
        x = log_odds(scores)
        design = np.stack([np.ones_like(x), x])
        prior = np.diag([1e-6, PRIOR_WEIGHT])
        expected = np.array([0.0, 1.0])

        # From a flat curve, Newton's steps do not run away.
        mean = float((labelled * shares).sum() / labelled.sum())
        coefficients = np.array([float(log_odds(np.array(mean))), 0.0])
        for _ in range(CURVE_STEPS):
            chances = _expit(coefficients @ design)
            gradient = design @ (labelled * (shares - chances)) - prior @ (coefficients - expected)
            information = (design * (labelled * chances * (1 - chances))) @ design.T + prior
            step = np.linalg.solve(information, gradient)
            coefficients = coefficients + step / max(1.0, float(np.abs(step).max()))

        intercept, slope = coefficients.tolist()
        return cls(intercept, slope)

    def log_odds_at(self, scores: Floats) -> Floats:
        """The log odds of a positive row with such a score."""
        odds: Floats = self.intercept + self.slope * log_odds(scores)
        return odds


SCORE_AS_CHANCE = Curve()


def log_odds(chances: Floats) -> Floats:
    """ln(p / (1 - p)), of p within the limits."""
    inside = np.minimum(np.maximum(chances, LEAST_CHANCE), 1 - LEAST_CHANCE)
    odds: Floats = np.log(inside / (1 - inside))
    return odds


class KnownBins(NamedTuple):
    """The baseline's part of what is said about rows within bins. It is the same for every day."""

    shares: Floats
    """Shares of positive rows, shape (..., bins)."""
    low: Floats
    """Lower ends of the bins, shape (..., bins)."""
    width: Floats
    """Their widths, shape (..., bins)."""
    moved: Floats
    """What is added to the curve's log odds to give the share of the bin, shape (..., bins)."""
    curve: Curve
    """Along which the share rises within a bin."""

    @classmethod
    def of(
        cls, shares: Floats, scores: Floats, ends: tuple[Floats, Floats], curve: Curve
    ) -> "KnownBins":
        """What a baseline says.

        Args:
            shares: Shares of its positive rows, shape (..., bins).
            scores: Its mean scores, shape (..., bins).
            ends: Lower and upper ends of the bins, each of shape (..., bins).
            curve: Along which the share rises within a bin.
        """
        low, high = ends
        width = np.maximum(high - low, 1e-300)
        known = curve.log_odds_at(_scores_of_parts(scores, low, width))
        return cls(shares, low, width, _moved_to(known, shares), curve)

    def shares_of_parts(self, scores: Floats) -> Floats:
        """The expected share of positive rows in each part of each bin, ascending by score.

        Args:
            scores: Mean scores of the rows that are estimated, shape (..., bins). Axes before the
                bins may be more than the baseline's: many days are estimated at once.

        Returns:
            Shape (..., bins, PARTS). Where the baseline's rows are all of one class, so are these.
        """
        odds = self.curve.log_odds_at(_scores_of_parts(scores, self.low, self.width))
        odds += self.moved[..., np.newaxis]

        shares = self.shares[..., np.newaxis]
        is_mixed = (shares > 0) & (shares < 1)
        return np.where(is_mixed, _expit(odds), shares)


def shares_of_parts(
    shares: Floats, baseline: Floats, day: Floats, ends: tuple[Floats, Floats], curve: Curve
) -> Floats:
    """As of `KnownBins`, for a baseline that is asked once.

    Args:
        shares: Of the baseline's rows, shape (..., bins).
        baseline: Mean scores of the baseline, shape (..., bins).
        day: Mean scores of the rows that are estimated, shape (..., bins).
        ends: Lower and upper ends of the bins, each of shape (..., bins).
        curve: Along which the share rises within a bin.
    """
    return KnownBins.of(shares, baseline, ends, curve).shares_of_parts(day)


def _scores_of_parts(means: Floats, low: Floats, width: Floats) -> Floats:
    """The middle score of each part, shape (..., bins, PARTS).

    Quantiles of an exponential distribution between two ends, found by its mean.
    """
    place = np.minimum(np.maximum((means - low) / width, LEAST_PLACE), 1 - LEAST_PLACE)
    steepness = np.interp(place, _MEANS, _STEEPNESS)

    is_flat = np.abs(steepness) < FLAT
    safe = np.where(is_flat, 1.0, steepness)[..., np.newaxis]
    inside = np.log1p(_MIDDLES * np.expm1(safe)) / safe
    if is_flat.any():
        inside[is_flat] = _MIDDLES

    scores: Floats = low[..., np.newaxis] + width[..., np.newaxis] * inside
    return scores


def _moved_to(odds: Floats, shares: Floats) -> Floats:
    """What is added to log odds, shape (..., bins, parts), so that mean chances are the shares.

    Newton's steps, kept within bounds that close in: the mean rises with what is added.
    """
    target = np.minimum(np.maximum(shares, LEAST_SHARE), 1 - LEAST_SHARE)
    low, high = log_odds(target) - odds.max(-1), log_odds(target) - odds.min(-1)
    moved = log_odds(target) - odds.mean(-1)

    for _ in range(MOVE_STEPS):
        chances = _expit(odds + moved[..., np.newaxis])
        rest = target - chances.mean(-1)
        low, high = np.where(rest > 0, moved, low), np.where(rest > 0, high, moved)

        slope = (chances * (1 - chances)).mean(-1)
        step = moved + rest / np.maximum(slope, 1e-12)
        moved = np.where((step >= low) & (step <= high), step, (low + high) / 2)

    return np.asarray(moved, np.float64)


def _expit(odds: Floats) -> Floats:
    chances: Floats = 1 / (1 + np.exp(-np.minimum(np.maximum(odds, -500.0), 500.0)))
    return chances


def _means_of(steepness: Floats) -> Floats:
    """The mean between 0 and 1 of a density that grows as exp(steepness * x)."""
    safe = np.where(np.abs(steepness) < FLAT, 1.0, steepness)
    means: Floats = 1 / -np.expm1(-safe) - 1 / safe
    return np.where(np.abs(steepness) < FLAT, 0.5, means)


_MEANS = _means_of(_STEEPNESS)
