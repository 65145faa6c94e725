"""Where the decision between two models stands after some nights, by labels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nightscore.monitoring.decisions.confidence_sequence import (
    LEAST_NIGHTS,
    interval,
    is_refused,
    log_evidence,
)
from nightscore.monitoring.decisions.day_models import weighted_means
from nightscore.monitoring.decisions.mcnemar import mcnemar_exact
from nightscore.monitoring.decisions.nights import LEAST_ROWS, Night, with_enough_rows
from nightscore.monitoring.performance.metrics.paired_areas import mean_areas
from nightscore.profiles.bins import Floats
from nightscore.schemas.comparison import ComparisonRecord, LossComparison, LossSums, Verdict
from nightscore.schemas.text import counted

MATTERS = 0.01
"""Share of the champion's mean loss. If the difference is surely smaller and may be none, there is
no difference that matters."""
FORECAST_FROM = 3
"""Fewer nights say nothing of the nights to come."""
WIDENED_BY = 5
"""Few nights show too little of their spread and correlation, and of two models that look equally
good the one is looked at that has been lucky. With t nights the forecast widens the deviations from
their mean by the root of 1 + 5 / t. Then about half of the forecasts are long enough.
`make bench BENCH=promotions` counts them."""
MOST_MORE_NIGHTS = 90
"""A forecast beyond is none: by then the data have changed."""


@dataclass(frozen=True, slots=True)
class Series:
    """The days' differences of one loss, each array of shape (t,), float64."""

    days: Floats
    """Their means."""
    variances: Floats
    """Of these means, as far as rows explain them."""
    rows: Floats


def compare_nights(
    champion: str, challenger: str, nights: Sequence[Night], n_challengers: int = 1
) -> ComparisonRecord:
    """Where the decision stands.

    Args:
        champion: Its version.
        challenger: Its version.
        nights: In their order. Those with too few rows are left out and named.
        n_challengers: Of the job, among which one is looked for.
    """
    counting = with_enough_rows(nights)
    notes = _notes(nights, counting)

    if not counting:
        return ComparisonRecord(
            champion=champion,
            challenger=challenger,
            verdict="unknown",
            n_challengers=n_challengers,
            notes=(*notes, "no night has labelled rows that both have scored"),
        )

    losses = [_compare_loss(name, counting, n_challengers) for name in _common_losses(counting)]
    decisive = losses[0]
    verdict = verdict_of(decisive, len(counting))

    more_nights = None
    if verdict == "undecided":
        more_nights = nights_to_decide(_series(decisive.name, counting), n_challengers)

    is_of_numbers = decisive.name == "squared_error"
    n_champion = sum(night.pairs.only_champion_right for night in counting)
    n_challenger = sum(night.pairs.only_challenger_right for night in counting)

    return ComparisonRecord(
        champion=champion,
        challenger=challenger,
        verdict=verdict,
        by="labels",
        nights=len(counting),
        first=counting[0].day,
        last=counting[-1].day,
        n_challengers=n_challengers,
        rows=sum(night.pairs.n for night in counting),
        more_nights=more_nights,
        losses=tuple(losses),
        only_champion_right=None if is_of_numbers else n_champion,
        only_challenger_right=None if is_of_numbers else n_challenger,
        mcnemar=None if is_of_numbers else mcnemar_exact(n_champion, n_challenger),
        areas=tuple(mean_areas([night.pairs.areas for night in counting])),
        notes=notes,
    )


def verdict_of(loss: LossComparison, n_nights: int) -> Verdict:
    """What the confidence sequence of a loss says."""
    if n_nights < LEAST_NIGHTS or loss.low is None or loss.high is None:
        return "undecided"
    if loss.high < 0:
        return "better"
    if loss.low > 0:
        return "worse"

    matters = MATTERS * abs(loss.champion)
    is_near_zero = -matters < loss.low and loss.high < matters
    return "no_difference" if is_near_zero else "undecided"


def nights_to_decide(series: Series, n_challengers: int = 1) -> int | None:
    """How many more nights decide whether the mean is above or below 0.

    The nights so far are repeated until they do, since then their mean and their correlation stay.
    It is a guess: nobody knows the true difference. In simulation half of the nights come earlier.

    Args:
        series: Of the nights so far.
        n_challengers: Of the job, among which one is looked for.

    Returns:
        None: too few nights, or more than `MOST_MORE_NIGHTS`.
    """
    n_nights = len(series.days)
    if n_nights < FORECAST_FROM:
        return None

    mean = weighted_means(series.days, series.rows)[-1]
    widened = mean + (series.days - mean) * np.sqrt(1 + WIDENED_BY / n_nights)

    n_all = n_nights + MOST_MORE_NIGHTS
    evidence = log_evidence(
        np.resize(widened, n_all), np.resize(series.variances, n_all), np.resize(series.rows, n_all)
    )
    decides = is_refused(evidence, n_challengers)
    decides[: max(n_nights, LEAST_NIGHTS - 1)] = False

    return int(decides.argmax()) + 1 - n_nights if decides.any() else None


def _common_losses(nights: Sequence[Night]) -> list[str]:
    """Losses that all nights have, the one that decides first."""
    names = [sums.name for sums in nights[-1].pairs.losses]
    return [name for name in names if all(night.loss(name) is not None for night in nights)]


def _compare_loss(name: str, nights: Sequence[Night], n_challengers: int) -> LossComparison:
    series = _series(name, nights)
    champion = np.array([sums.champion for sums in _sums(name, nights)], np.float64)

    ends = interval(series.days, series.variances, series.rows, n_challengers)
    low, high = ends if ends is not None else (None, None)

    return LossComparison(
        name=name,
        champion=float(weighted_means(champion, series.rows)[-1]),
        difference=float(weighted_means(series.days, series.rows)[-1]),
        low=low,
        high=high,
    )


def _series(name: str, nights: Sequence[Night]) -> Series:
    """The days' mean differences, and the variances that their rows explain.

    A model that is too sure wins a little on each row until one refutes it. Before that row comes,
    the rows' own variance is next to nothing, and that which is expected counts.
    """
    sums = _sums(name, nights)
    days = np.array([one.difference for one in sums], np.float64)
    rows = np.array([one.n for one in sums], np.float64)

    of_rows = np.array([max(one.variance, one.expected_variance) for one in sums], np.float64)
    return Series(days=days, variances=of_rows / np.maximum(rows - 1, 1), rows=rows)


def _sums(name: str, nights: Sequence[Night]) -> list[LossSums]:
    """Of one loss, of the nights that have it."""
    found = [night.loss(name) for night in nights]
    return [sums for sums in found if sums is not None]


def _notes(nights: Sequence[Night], counting: Sequence[Night]) -> tuple[str, ...]:
    kinds = dict.fromkeys(note for night in counting for note in night.pairs.notes)
    n_few = len(nights) - len(counting)
    if not n_few:
        return tuple(kinds)

    few = f"{counted(n_few, 'night')} left out: fewer than {LEAST_ROWS} labelled rows of both"
    return (few, *kinds)
