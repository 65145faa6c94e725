"""Ticks of an axis: few, round, and labelled with values that people know."""

import math
from dataclasses import dataclass

import numpy as np

from nightscore.monitoring.drift.labels import DAY_S, digits_for, show_moment, show_number

MAX_TICKS = 4
ROUND_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
SHORT_S = 2 * DAY_S
"""Spans of time up to this one are labelled with hours."""


@dataclass(frozen=True, slots=True)
class Tick:
    """One label of an axis, and where it stands."""

    place: float
    label: str


def number_ticks(low: float, high: float) -> list[Tick]:
    """Round numbers within a range."""
    step = _round_step((high - low) / MAX_TICKS)
    if not step:
        return [Tick(low, show_number(low))]

    first = math.ceil(low / step)
    last = min(math.floor(high / step), first + MAX_TICKS)
    digits = digits_for(low, high, step)

    ticks = []
    for multiple in range(first, last + 1):
        place = multiple * step
        ticks.append(Tick(place, show_number(place, digits)))

    return ticks


def time_ticks(low: float, high: float) -> list[Tick]:
    """Moments within a range of seconds since 1970, in UTC; whole days unless it is short."""
    is_short = high - low < SHORT_S
    ticks = []

    for place in np.linspace(low, high, MAX_TICKS - 1).tolist():
        if not is_short:
            place = DAY_S * round(place / DAY_S)
        ticks.append(Tick(place, show_moment(place, with_time=is_short)))

    return ticks


def _round_step(least: float) -> float:
    """The smallest round number that is no less; 0 for a range without any extent."""
    if not math.isfinite(least) or least < np.finfo(np.float64).tiny:
        return 0.0
    power = 10.0 ** math.floor(math.log10(least))
    for step in ROUND_STEPS:
        if step * power >= least:
            return step * power
    return 10 * power
