"""Whether a column's difference is seasonal, or within the column's usual variation."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from nightscore.monitoring.drift import statistic_catalog
from nightscore.profiles.table import Habit
from nightscore.schemas.drift import ColumnDrift, Signal, is_at_least

LEAST_HABIT = 14
"""With fewer of them, nothing is called usual."""
LEAST_WEEKDAYS = 2
"""One day alone may have been unusual itself."""
MAX_SEASONAL_SHIFT = 1.0
"""In standard deviations of the same weekdays: all values beyond the baseline's range are in one
bin, however far beyond they are."""
HABIT_SLACK = 0.1
"""Of the median: a column that is always as far away moves a little with the number of rows."""
WHOLE = 0.999
"""Almost all of the rows."""


def distances(drift: ColumnDrift) -> dict[str, float]:
    """How far a column is from its reference: one number for each thing that may differ.

    0 where it is not known. `shift` stands beside the distribution, whose index has its greatest
    value once all rows are in other bins.
    """
    values = {"null_rate_difference": drift.null_rate_difference} | drift.statistics
    by_habit: dict[str, float] = {}
    for statistic in statistic_catalog.STATISTICS:
        if statistic.habit:
            value = values.get(statistic.name)
            by_habit[statistic.habit] = 0.0 if value is None else statistic.distance(value)

    return by_habit


def is_explained(drift: ColumnDrift, weekdays: ColumnDrift | None, habit: Habit) -> bool:
    """Whether the season or the column's habit shows all that speaks for a warning or worse.

    Days are no samples of one distribution: one day's weather differs from a quarter's beyond any
    doubt, and so does the next one's. Such a column is no news while it is no further from the
    baseline than it usually is.

    Args:
        drift: The column against the baseline.
        weekdays: The same against the same weekdays; None: there are too few.
        habit: Its distances from the baseline in the partitions before.
    """
    for signal, severity in drift.signals.items():
        if not is_at_least(severity, "warning") or _is_usual(drift, signal, habit):
            continue
        if weekdays is None or not _is_like_weekdays(weekdays, signal):
            return False

    return True


def _is_like_weekdays(weekdays: ColumnDrift, signal: Signal) -> bool:
    """Whether the same weekdays show this as well."""
    if weekdays.severity == "insufficient data":
        return False

    # Weekdays have no range of their own: a column distributed like them is within it.
    signals: list[Signal] = [signal, "distribution"] if signal == "range" else [signal]
    if any(is_at_least(weekdays.signals.get(name, "ok"), "warning") for name in signals):
        return False

    if signal not in ("distribution", "range"):
        return True

    shift = weekdays.statistics.get("wasserstein_over_std")
    return shift is None or shift <= MAX_SEASONAL_SHIFT


def _is_usual(drift: ColumnDrift, signal: Signal, habit: Habit) -> bool:
    """Whether the column is as far from the baseline as in the partitions before."""
    now = distances(drift)
    names = [signal, "shift"] if signal in ("distribution", "range") else [signal]
    for name in names:
        before = [day.get(name, 0.0) for day in habit.values()]
        if not _is_within(now.get(name, 0.0), before):
            return False
    return True


def _is_within(distance: float, habit: Sequence[float]) -> bool:
    """Within three standard deviations of the median, robustly, of the square roots.

    The square roots of the index, which is a squared distance, and of rates are about normal. And
    hardly more than it ever was: rates and indices have a greatest value, and what swings wildly
    could otherwise be anything. Half of the days must show a lasting shift before it is usual.

    Source: F. Hampel, "The influence curve and its role in robust estimation" (1974): 1.4826 times
    the median absolute deviation estimates a normal distribution's standard deviation.
    """
    if len(habit) < LEAST_HABIT:
        return False

    roots = np.sqrt(np.asarray(habit, np.float64))
    middle = float(np.median(roots))
    spread = 1.4826 * float(np.median(np.abs(roots - middle)))

    usual = middle + max(3 * spread, HABIT_SLACK * middle)
    greatest = (1 + HABIT_SLACK) * float(roots.max())

    return math.sqrt(distance) <= min(usual, greatest, _upper_bound(roots))


def _upper_bound(roots: npt.NDArray[np.float64]) -> float:
    """Below 1, which a rate has if all rows are null: that is usual only if it was so before."""
    greatest = float(roots.max())
    if greatest >= WHOLE or greatest > 1:
        return math.inf
    return WHOLE
