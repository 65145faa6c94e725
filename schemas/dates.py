"""Dates as people write them, for corrections. What is published under a date is never guessed."""

import calendar
import re
from datetime import datetime

YEAR_FIRST = ("%Y-%m-%d", "%Y%m%d", "%Y/%m/%d", "%Y.%m.%d", "%Y_%m_%d", "%Y-%m-%dT%H:%M:%S")
DAY_OR_MONTH_FIRST = ("%d.%m.%Y", "%m.%d.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y")

_YEAR_FIRST = re.compile(r"(\d{4})([-/._]?)(\d{1,2})\2(\d{1,2})")
_MONTH = re.compile(r"([1-9]\d{3})[-/.]?(0[1-9]|1[0-2])")
_DAY_FIRST = re.compile(r"(\d{1,2})([-/._])(\d{1,2})\2(\d{4})")


def readings(text: str) -> list[datetime]:
    """The dates that a text can stand for, earliest first.

    01.02.2024 has two: the first of February, and the second of January.
    """
    is_compact = text.isdecimal()
    if is_compact and len(text) != len("20240101"):
        return []

    times = {_parsed(text, pattern) for pattern in (*YEAR_FIRST, *DAY_OR_MONTH_FIRST)}
    return sorted(time for time in times if time is not None)


def is_like_a_date(text: str) -> bool:
    """Whether a text is written as a date, even if there is no such date."""
    return bool(readings(text) or _YEAR_FIRST.fullmatch(text) or _DAY_FIRST.fullmatch(text))


def nearest_date(text: str) -> datetime | None:
    """The real date that is nearest to one that does not exist: 29 February for the 30th.

    If month and day are swapped, they are swapped back. None: the text is not written as a date.
    """
    if match := _YEAR_FIRST.fullmatch(text):
        year, month, day = int(match[1]), int(match[3]), int(match[4])
    elif match := _DAY_FIRST.fullmatch(text):
        year, month, day = int(match[4]), int(match[3]), int(match[1])
    else:
        return None

    if month > 12 and day <= 12:
        month, day = day, month

    year, month = max(year, 1), min(max(month, 1), 12)
    last_day = calendar.monthrange(year, month)[1]
    return datetime(year, month, min(max(day, 1), last_day))


def month_of(text: str) -> tuple[datetime, datetime] | None:
    """First and last day of a month that is written as 2024-02; None: it is no month."""
    match = _MONTH.fullmatch(text)
    if match is None:
        return None

    year, month = int(match[1]), int(match[2])
    last_day = calendar.monthrange(year, month)[1]
    return datetime(year, month, 1), datetime(year, month, last_day)


def _parsed(text: str, pattern: str) -> datetime | None:
    try:
        return datetime.strptime(text, pattern)
    except ValueError:
        return None
