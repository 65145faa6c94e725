"""Days of two models that are equal in the long run, of many kinds.

Days are correlated as an autoregressive series of order 1 says, and have tails of a normal, a
t-distribution with 3 degrees of freedom, or an exponential.
"""

from collections.abc import Callable

import numpy as np

from nightscore.profiles.bins import Floats

N_ROWS = 200
TOO_SURE = ((0.95, 0.999), (0.99, 0.99999), (0.999, 0.99999))
"""Probabilities of the champion and of the challenger."""
MANY, FEW = 3_000, 151
"""Rows of a night of a shadow, and of one of a canary."""
Draw = Callable[[np.random.Generator, tuple[int, int]], Floats]

TAILS: dict[str, Draw] = {
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "t3": lambda rng, shape: rng.standard_t(3, shape) / np.sqrt(3),
    "skewed": lambda rng, shape: rng.exponential(1, shape) - 1,
    "skewed to better": lambda rng, shape: 1 - rng.exponential(1, shape),
}


def correlated_days(
    rng: np.random.Generator, shape: tuple[int, int], correlation: float, tails: str
) -> Floats:
    """Days of mean 0 and standard deviation 1, shape (series, days)."""
    n_series, n_days = shape
    noise = TAILS[tails](rng, (n_series, n_days + 40))

    days = noise.copy()
    for day in range(1, days.shape[1]):
        days[:, day] = correlation * days[:, day - 1]
        days[:, day] += np.sqrt(1 - correlation**2) * noise[:, day]
    return days[:, -n_days:]


def binary_days(
    rng: np.random.Generator, shape: tuple[int, int], correlation: float, growth: float = 1.0
) -> tuple[Floats, Floats]:
    """Differences of error rates of two classifiers on few rows, with a day effect of mean 0.

    Both models are wrong on equally many rows in the long run. Volumes grow by the factor `growth`
    a day.

    Returns:
        The days' means, and the variances that their rows explain.
    """
    n_days = shape[1]
    rows = np.round(200 * growth ** np.arange(n_days)).astype(int)

    effect = 0.015 * np.tanh(correlated_days(rng, shape, correlation, "normal"))
    only_challenger = rng.binomial(rows, 0.03 + effect)
    only_champion = rng.binomial(rows, 0.03 - effect)

    means = (only_challenger - only_champion) / rows
    squares = (only_challenger + only_champion) / rows
    return means, (squares - means**2) / (rows - 1)


def too_sure_days(
    rng: np.random.Generator, shape: tuple[int, int], champion: float, challenger: float
) -> tuple[Floats, Floats]:
    """Differences of the log loss of 200 rows a day, all of which two models give one probability.

    The challenger is too sure. It wins a little on most rows and loses much on the others, whose
    share is such that both models lose as much in the long run.

    Returns:
        The days' means, and the variances that their rows explain, as a comparison has them.
    """
    gain = np.log(challenger / champion)
    cost = np.log((1 - champion) / (1 - challenger))
    n_lost = rng.binomial(N_ROWS, gain / (gain + cost), shape)

    means = (n_lost * cost - (N_ROWS - n_lost) * gain) / N_ROWS
    variance = (n_lost * cost**2 + (N_ROWS - n_lost) * gain**2) / N_ROWS - means**2
    probability = (champion + challenger) / 2
    expected = probability * (1 - probability) * (gain + cost) ** 2
    return means, np.maximum(variance, expected) / (N_ROWS - 1)


def rows_of_nights(kind: str, n_days: int) -> Floats:
    """Numbers of rows that differ from night to night, shape (n_days,)."""
    days = np.arange(n_days)
    few_or_many = {
        "as many each night": days < 0,
        "a canary after 10 nights": days >= 10,
        "each 2nd night a canary": days % 2 == 1,
        "few on weekends": days % 7 >= 5,
        "one small night": days == 2,
    }
    return np.where(few_or_many[kind], float(FEW), float(MANY))


def days_of_rows(
    rng: np.random.Generator,
    n_series: int,
    rows: Floats,
    share_of_rows: float,
    tails: str = "normal",
    correlation: float = 0.5,
) -> tuple[Floats, Floats]:
    """Effects of days, and errors that are greater with few rows.

    Args:
        rng: Draws them.
        n_series: How many series.
        rows: Shape (days,): rows of each night.
        share_of_rows: Of the variance of a night of `MANY` rows, which is 1.
        tails: Of the effects of days.
        correlation: Of an effect with that of the day before.

    Returns:
        Shape (series, days) each: the days' means, and the variances that their rows explain.
    """
    shape = (n_series, len(rows))
    of_days = correlated_days(rng, shape, correlation, tails)
    variances = np.broadcast_to(share_of_rows * MANY / rows, shape)

    days = np.sqrt(1 - share_of_rows) * of_days
    days += np.sqrt(variances) * rng.standard_normal(shape)
    return days, variances
