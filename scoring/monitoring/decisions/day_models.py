"""How the means of days may vary: what days share with the day before, and what few rows add.

A day's mean is the true mean, an effect of the day, and the error of its rows. Effects of days are
an autoregressive series: a bad day is often followed by a bad one. The error has a variance that
falls with the number of rows. Nobody knows how much of the spread is of either kind, nor how much a
day resembles the day before. So there is one model for each combination of the two.

The numbers of rows must not depend on how right the models were. Then everything holds for these
numbers as if they had been fixed before, and a night of few rows can weigh as little as it should.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from nightscore.profiles.bins import Floats

CORRELATIONS = np.linspace(0.0, 0.72, 9)
"""Of a day's effect with that of the day before. With up to 0.72, skewed days with a correlation of
0.7 keep the 5 %. With up to 0.7 they barely do; with up to 0.8 great differences take up to 6 more
nights."""
SHARES_OF_ROWS = (0.0, 0.5, 1.0)
"""Shares of the variance of a usual day that its rows explain. 0: days weigh alike however many
rows they have. 1: rows weigh alike."""
ALTERNATIVES = ((0.5, 0.0), (0.0, 0.5), (0.0, 1.0))
"""Correlations and shares of rows under which a difference is looked for. They decide how soon it
is found, never how often there is none. All models would find small ones up to 9 nights later,
since each costs the others some of their weight."""
USUAL_DAYS = 7
"""A usual day has as many rows as these first ones (their harmonic mean). It is fixed from then on,
as the models must not change from look to look; nothing is decided before."""


@dataclass(frozen=True, slots=True)
class DayModel:
    """Makes of dependent days with different spreads independent ones with one spread."""

    whitening: Floats
    """Shape (t, t), lower triangular: the k-th result is of the first k days."""
    log_scale: Floats
    """Shape (t,): the logarithm of its determinant, of the first k days."""


@dataclass(frozen=True, slots=True)
class DayModels:
    """What days may be like."""

    all: tuple[DayModel, ...]
    """A mean is refused only if it fares badly under each of them."""
    alternatives: tuple[DayModel, ...]
    """Other means are looked for under these."""


def day_models(rows: Floats) -> DayModels:
    """All models of days with these numbers of rows.

    A day's variance is 1 if it has as many rows as a usual one.

    Args:
        rows: Shape (t,), float64: rows of each day, at least 1. What is said of the first days does
            not depend on later ones, from `USUAL_DAYS` on.
    """
    return _day_models(tuple(rows.tolist()))


@lru_cache(maxsize=2)
def _day_models(rows: tuple[float, ...]) -> DayModels:
    """The same. They are kept, since all losses of a comparison and its forecast need them."""
    of_days = np.array(rows, np.float64)
    pairs = [(phi, share) for share in SHARES_OF_ROWS for phi in CORRELATIONS]

    # Without effects of days there is nothing that could be correlated.
    distinct = dict.fromkeys((phi if share < 1 else 0.0, share) for phi, share in pairs)

    return DayModels(
        all=tuple(_model(of_days, *pair) for pair in distinct),
        alternatives=tuple(_model(of_days, *pair) for pair in ALTERNATIVES),
    )


def usual_rows(rows: Floats) -> float:
    """Rows of a usual day, of which the first ones are examples."""
    return float(1 / np.mean(1 / rows[:USUAL_DAYS]))


def weighted_means(days: Floats, rows: Floats) -> Floats:
    """The mean of the days up to each look, in which few rows weigh less.

    Half of a usual day's variance is taken to be of its rows. So the weight of a day is at most
    twice that of a usual one, and that of a few rows is next to nothing.

    Args:
        days: Shape (..., t), float64.
        rows: Shape (t,), as `day_models` takes them.

    Returns:
        Shape (..., t).
    """
    weights = 1 / (1 + usual_rows(rows) / rows)
    means: Floats = np.cumsum(weights * days, axis=-1) / np.cumsum(weights)
    return means


def _model(rows: Floats, correlation: float, share_of_rows: float) -> DayModel:
    apart = np.abs(np.subtract.outer(np.arange(len(rows)), np.arange(len(rows))))
    covariance = (1 - share_of_rows) * correlation**apart
    covariance += np.diag(share_of_rows * usual_rows(rows) / rows)

    root = np.linalg.cholesky(covariance)
    return DayModel(np.linalg.inv(root), -np.cumsum(np.log(np.diag(root))))
