"""The demo's calendar: flights of 2013, moved by whole weeks to the days around today."""

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

TIMEZONE = "America/New_York"
"""Of the flights, and of the nightly run's schedule."""
YEAR = 2013
HISTORY_DAYS = 364
"""Days before today that have flights."""
AHEAD_DAYS = 1
"""Days after today that have flights too, for a machine that sleeps until the next nightly run."""
WEEK = timedelta(weeks=1)


def today_at(now: datetime) -> date:
    """The date in New York at a time."""
    return now.astimezone(ZoneInfo(TIMEZONE)).date()


def demo_days(today: date) -> list[date]:
    """The days that have flights, oldest first: a year up to tomorrow."""
    first = today - timedelta(days=HISTORY_DAYS)
    return [first + timedelta(days=i) for i in range(HISTORY_DAYS + AHEAD_DAYS + 1)]


def source_day(day: date) -> date:
    """The day of 2013 whose flights a day has.

    It is the same weekday and nearly the same season: at most three days earlier or later in the
    year, at New Year up to a week. A day of 2013 is itself.
    """
    same_season = date(YEAR, 1, 1) + timedelta(days=day.timetuple().tm_yday - 1)
    days_to_weekday = (day.weekday() - same_season.weekday() + 3) % 7 - 3
    moved = same_season + timedelta(days=days_to_weekday)

    if moved.year < YEAR:
        return moved + WEEK
    if moved.year > YEAR:
        return moved - WEEK
    return moved
