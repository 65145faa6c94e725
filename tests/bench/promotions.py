"""Counts how often models that are no better are called better, and the nights that good ones take.

Each scenario has thousands of series of days. The mean of the difference is 0, so each `better` is
a false promotion. Days are correlated as an autoregressive series of order 1 says, and have tails
of a normal, a t-distribution with 3 degrees of freedom, or an exponential.
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from nightscore.monitoring.decisions.confidence_sequence import (
    LEAST_NIGHTS,
    is_refused,
    log_evidence,
)
from nightscore.monitoring.decisions.verdict import nights_to_decide
from nightscore.profiles.bins import Floats

N_LOOKS = 30
N_SERIES = 20_000
N_OF_POWER = 2_000
N_FORECASTS = 400
MOST_NIGHTS = 200
N_ROWS = 200
TOO_SURE = ((0.95, 0.999), (0.99, 0.99999), (0.999, 0.99999))
"""Probabilities of the champion and of the challenger."""
EFFECTS = (0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0)
"""True differences in standard deviations of days."""
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


def false_promotions(days: Floats, variances: Floats | None = None) -> float:
    """The share of series that are ever called better within their looks.

    Args:
        days: Shape (series, looks): challenger's minus champion's loss, of mean 0.
        variances: Shape (series, looks), as `log_evidence` takes them.
    """
    return float((_first_better(days, variances) <= days.shape[1]).mean())


def measure(n_series: int = N_SERIES, n_of_power: int = N_OF_POWER) -> dict[str, Any]:
    """False promotions of all scenarios, and the nights that true differences take."""
    rng = np.random.default_rng(19)
    shape = (n_series, N_LOOKS)
    started = time.process_time()

    false: dict[str, float] = {}
    for tails in TAILS:
        for correlation in (0.0, 0.3, 0.5, 0.7):
            days = correlated_days(rng, shape, correlation, tails)
            false[f"{tails}, correlation {correlation}"] = false_promotions(days)

    false |= _of_other_days(rng, shape)

    for correlation in (0.0, 0.5):
        for growth in (1.0, 1.1):
            name = f"binary, 200 rows growing by {growth - 1:.0%}, correlation {correlation}"
            false[name] = false_promotions(*binary_days(rng, shape, correlation, growth))

    for champion, challenger in TOO_SURE:
        name = f"too sure: {challenger} where the champion says {champion}"
        false[name] = false_promotions(*too_sure_days(rng, shape, champion, challenger))

    return {
        "series": n_series,
        "looks": N_LOOKS,
        "false": false,
        "nights": {str(phi): _nights(rng, phi, n_of_power) for phi in (0.0, 0.5)},
        "forecast": _forecasts(rng, min(n_of_power, N_FORECASTS)),
        "false_in_many_looks": _of_many_looks(rng, max(n_series // 5, 1)),
        "cpu_s": time.process_time() - started,
    }


def show(result: dict[str, Any]) -> None:
    """Print the tables."""
    print(f"\nFalse promotions in {result['looks']} nightly looks, of {result['series']:,} series")
    for name, share in result["false"].items():
        print(f"  {name:58} {share:6.2%}")

    print(f"\nThe same in {MOST_NIGHTS} looks, correlation 0.5")
    for tails, share in result["false_in_many_looks"].items():
        print(f"  {tails:58} {share:6.2%}")

    print('\nNights until "better": median (80 % are decided by), by the true difference')
    for correlation, of_effects in result["nights"].items():
        shown = [f"{effect}: {one[0]} ({one[1]})" for effect, one in of_effects.items()]
        print(f"  correlation {correlation}: {', '.join(shown)}")

    print("\nForecasts of undecided nights, and the nights that it took")
    for name, one in result["forecast"].items():
        print(f"  {name}: {one}")
    print(f"\n{result['cpu_s']:.0f} s of CPU")


def _of_other_days(rng: np.random.Generator, shape: tuple[int, int]) -> dict[str, float]:
    """Days that are no such series: the decision has to hold there too."""
    n_series, n_days = shape
    false: dict[str, float] = {}

    for correlation in (0.8, 0.9):
        slow = correlated_days(rng, shape, correlation, "normal")
        days = slow + rng.standard_normal(shape)
        false[f"slow, correlation {correlation}, and as much noise"] = false_promotions(days)

    week = np.array([-1, -1, -1, -1, -1, 2.5, 2.5])
    starts = rng.integers(0, 7, n_series)
    of_week = week[(np.arange(n_days) + starts[:, None]) % 7]
    for noise in (0.1, 1.0):
        days = of_week + noise * correlated_days(rng, shape, 0.3, "normal")
        false[f"better on working days alone, noise {noise}"] = false_promotions(days)

    few_rows = 1.1 ** (-np.arange(n_days) / 2)
    days = correlated_days(rng, shape, 0.5, "normal")
    false["volumes grow by 10 %, correlation 0.5"] = false_promotions(days * few_rows)
    false["volumes fall by 10 %, correlation 0.5"] = false_promotions(days * few_rows[::-1])
    return false


def _of_many_looks(rng: np.random.Generator, n_series: int) -> dict[str, float]:
    found = {}
    for tails in TAILS:
        days = correlated_days(rng, (n_series, MOST_NIGHTS), 0.5, tails)
        found[tails] = false_promotions(days)

    return found


def _first_better(days: Floats, variances: Floats | None = None) -> Floats:
    """The first look that says better, shape (series,); one after the last: none does."""
    is_better = is_refused(log_evidence(days, variances)) & (np.cumsum(days, axis=-1) < 0)
    is_better[:, : LEAST_NIGHTS - 1] = False

    first = is_better.argmax(axis=1) + 1
    return np.where(is_better.any(axis=1), first, days.shape[1] + 1).astype(np.float64)


def _nights(
    rng: np.random.Generator, correlation: float, n_series: int
) -> dict[str, tuple[str, str]]:
    found = {}
    for effect in EFFECTS:
        days = correlated_days(rng, (n_series, MOST_NIGHTS), correlation, "normal") - effect
        first = np.quantile(_first_better(days), [0.5, 0.8], method="higher")
        median, most = (f"> {MOST_NIGHTS}" if n > MOST_NIGHTS else f"{n:.0f}" for n in first)
        found[str(effect)] = (median, most)

    return found


def _forecasts(rng: np.random.Generator, n_series: int) -> dict[str, str]:
    """Forecasts after 10 nights that have decided nothing, against what came."""
    found = {}
    for correlation, effect in ((0.0, 0.75), (0.0, 1.5), (0.3, 0.75), (0.3, 1.5), (0.5, 1.0)):
        days = correlated_days(rng, (n_series, MOST_NIGHTS), correlation, "normal") - effect
        came = _first_better(days)
        undecided = np.flatnonzero(came > 10)
        none = np.zeros(10)
        told = [nights_to_decide(days[row, :10], none) for row in undecided]
        pairs = [(n, came[row] - 10) for n, row in zip(told, undecided, strict=True) if n]

        forecast, actual = np.array(pairs).T
        found[f"true difference {effect}, correlation {correlation}"] = (
            f"{len(undecided)} undecided, {len(pairs)} forecasts; median {np.median(forecast):.0f} "
            f"nights, came {np.median(actual):.0f}; decided by then {(actual <= forecast).mean():.0%}"
        )

    return found
