"""Counts how often models that are no better are called better, and the nights that good ones take.

Each scenario has thousands of series of days. The mean of the difference is 0, so each `better` is
a false promotion. Then true differences are added, and nights are counted until they are found.
"""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nightscore.monitoring.decisions.confidence_sequence import (
    LEAST_NIGHTS,
    is_refused,
    log_evidence,
)
from nightscore.monitoring.decisions.day_models import weighted_means
from nightscore.monitoring.decisions.verdict import Series, nights_to_decide
from nightscore.profiles.bins import Floats
from tests.bench.simulated_days import (
    FEW,
    MANY,
    TAILS,
    TOO_SURE,
    binary_days,
    correlated_days,
    days_of_rows,
    rows_of_nights,
    too_sure_days,
)

N_LOOKS = 30
N_SERIES = 20_000
N_OF_POWER = 2_000
N_FORECASTS = 400
MOST_NIGHTS = 200
MOST_OF_UNEQUAL = 100
ROWS_OF_NIGHTS = (
    "as many each night",
    "a canary after 10 nights",
    "each 2nd night a canary",
    "few on weekends",
    "one small night",
)
SHARES_OF_ROWS = (0.0, 0.5, 0.9, 1.0)
"""Of a night's variance. 0.9 is a share that no model has."""
EFFECTS = (0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0)
"""True differences in standard deviations of days."""


def false_promotions(
    days: Floats,
    variances: Floats | None = None,
    rows: Floats | None = None,
    n_challengers: int = 1,
) -> float:
    """The share of series that are ever called better within their looks.

    Args:
        days: Shape (series, looks): challenger's minus champion's loss, of mean 0.
        variances: Shape (series, looks), as `log_evidence` takes them.
        rows: Shape (looks,), as `log_evidence` takes them.
        n_challengers: As `is_refused` takes it.
    """
    return float((first_better(days, variances, rows, n_challengers) <= days.shape[1]).mean())


def false_promotions_of_any(days: Sequence[Floats]) -> float:
    """The share of champions that any of several challengers would wrongly have replaced.

    Args:
        days: Of each challenger. Independent ones are the worst case.
    """
    firsts = [first_better(own, n_challengers=len(days)) for own in days]
    return float((np.min(firsts, axis=0) <= days[0].shape[1]).mean())


def first_better(
    days: Floats,
    variances: Floats | None = None,
    rows: Floats | None = None,
    n_challengers: int = 1,
) -> Floats:
    """The first look that says better, shape (series,); one after the last: none does."""
    is_better = is_called_better(days, variances, rows, n_challengers)

    first = is_better.argmax(axis=1) + 1
    return np.where(is_better.any(axis=1), first, days.shape[1] + 1).astype(np.float64)


def is_called_better(
    days: Floats,
    variances: Floats | None = None,
    rows: Floats | None = None,
    n_challengers: int = 1,
) -> npt.NDArray[np.bool_]:
    """What each look says, shape (series, looks)."""
    means = weighted_means(days, np.ones(days.shape[1]) if rows is None else rows)
    evidence = log_evidence(days, variances, rows)

    is_better: npt.NDArray[np.bool_] = is_refused(evidence, n_challengers) & (means < 0)
    is_better[:, : LEAST_NIGHTS - 1] = False
    return is_better


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

    for n_challengers in (2, 5):
        for tails, correlation in (("normal", 0.5), ("skewed", 0.5), ("skewed", 0.7)):
            days = [correlated_days(rng, shape, correlation, tails) for _ in range(n_challengers)]
            name = f"any of {n_challengers} challengers, {tails}, correlation {correlation}"
            false[name] = false_promotions_of_any(days)

    return {
        "series": n_series,
        "looks": N_LOOKS,
        "false": false,
        "nights": {str(phi): _nights(rng, phi, n_of_power) for phi in (0.0, 0.5)},
        "forecast": _forecasts(rng, min(n_of_power, N_FORECASTS)),
        "false_in_many_looks": _of_many_looks(rng, max(n_series // 5, 1)),
        "rows_of_nights": _of_unequal_nights(rng, n_series, n_of_power),
        "taken_back": _taken_back(rng, n_of_power),
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
        shown = [f"{effect}: {one}" for effect, one in of_effects.items()]
        print(f"  correlation {correlation}: {', '.join(shown)}")

    print("\nNights of 3,000 and of 151 rows: false promotions, and nights until a difference of 2")
    for name, of_shares in result["rows_of_nights"].items():
        print(f"  {name}")
        for share, one in of_shares.items():
            print(f"    {share} of the variance is of rows: {one}")

    print('\n"Better" after 20 nights of 3,000 rows, taken back by one night more')
    for name, of_shares in result["taken_back"].items():
        print(f"  of {name}: {of_shares}")

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


def _of_unequal_nights(
    rng: np.random.Generator, n_series: int, n_of_power: int
) -> dict[str, dict[str, str]]:
    """The worst of normal and skewed days, and what true differences take."""
    found: dict[str, dict[str, str]] = {}

    for kind in ROWS_OF_NIGHTS:
        rows, of_power = rows_of_nights(kind, N_LOOKS), rows_of_nights(kind, MOST_OF_UNEQUAL)
        found[kind] = {}

        for share in SHARES_OF_ROWS:
            false: list[float] = []
            for tails in ("normal", "skewed"):
                days, variances = days_of_rows(rng, n_series, rows, share, tails)
                false.append(false_promotions(days, variances, rows))

            days, variances = days_of_rows(rng, n_of_power, of_power, share)
            nights = _show_nights(first_better(days - 2, variances, of_power), MOST_OF_UNEQUAL)
            found[kind][f"{share:.0%}"] = f"{false[0]:.2%}, skewed {false[1]:.2%}; {nights}"

    return found


def _taken_back(rng: np.random.Generator, n_series: int) -> dict[str, dict[str, str]]:
    """How often one night takes back what is true, by its rows and their share of variance."""
    found: dict[str, dict[str, str]] = {}

    for n_rows in (MANY, FEW):
        rows = np.array([*[float(MANY)] * 20, float(n_rows)])
        of_shares: dict[str, str] = {}

        for share in SHARES_OF_ROWS:
            days, variances = days_of_rows(rng, n_series, rows, share)
            said = is_called_better(days - 2, variances, rows)
            taken_back = said[:, -2] & ~said[:, -1]
            of_shares[f"{share:.0%}"] = f"{taken_back.sum() / max(said[:, -2].sum(), 1):.1%}"

        found[f"{n_rows} rows"] = of_shares

    return found


def _nights(rng: np.random.Generator, correlation: float, n_series: int) -> dict[str, str]:
    found = {}
    for effect in EFFECTS:
        days = correlated_days(rng, (n_series, MOST_NIGHTS), correlation, "normal") - effect
        found[str(effect)] = _show_nights(first_better(days))

    return found


def _show_nights(first: Floats, most_nights: int = MOST_NIGHTS) -> str:
    """The median, and by when 80 % are decided."""
    quantiles = np.quantile(first, [0.5, 0.8], method="higher")
    median, most = (f"> {most_nights}" if n > most_nights else f"{n:.0f}" for n in quantiles)
    return f"{median} ({most})"


def _forecasts(rng: np.random.Generator, n_series: int) -> dict[str, str]:
    """Forecasts after 10 nights that have decided nothing, against what came."""
    found = {}
    for correlation, effect in ((0.0, 0.75), (0.0, 1.5), (0.3, 0.75), (0.3, 1.5), (0.5, 1.0)):
        days = correlated_days(rng, (n_series, MOST_NIGHTS), correlation, "normal") - effect
        came = first_better(days)
        undecided = np.flatnonzero(came > 10)
        none, equal = np.zeros(10), np.ones(10)
        told = [nights_to_decide(Series(days[row, :10], none, equal)) for row in undecided]
        pairs = [(n, came[row] - 10) for n, row in zip(told, undecided, strict=True) if n]

        forecast, actual = np.array(pairs).T
        found[f"true difference {effect}, correlation {correlation}"] = (
            f"{len(undecided)} undecided, {len(pairs)} forecasts; median {np.median(forecast):.0f} "
            f"nights, came {np.median(actual):.0f}; decided by then {(actual <= forecast).mean():.0%}"
        )

    return found
