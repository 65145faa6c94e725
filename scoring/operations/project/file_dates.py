"""Reads the dates in the names of files. What could mean two days is a problem, never a guess."""

import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from nightscore.inputs.date_formats import YEARS
from nightscore.inputs.files import shown
from nightscore.schemas.dates import readings

ISO = "%Y-%m-%d"
ORDERS = {"%d-%m-%Y": "day first", "%m-%d-%Y": "month first"}

_YEAR_FIRST = re.compile(r"(?<!\d)(\d{4})([-_./])(\d{1,2})\2(\d{1,2})(?!\d)")
_YEAR_LAST = re.compile(r"(?<!\d)(\d{1,2})([-_./])(\d{1,2})\2(\d{4})(?!\d)")
_COMPACT = re.compile(r"(?<!\d)(\d{8})(\d{2}|\d{4}|\d{6}|\d{9})?(?!\d)")
_NO_FULL_DATE = re.compile(
    r"(?<!\d)(?<!\d[-_.])(\d{2}([-_.])(0?[1-9]|1[0-2])\2\d{2}"
    r"|\d{2}(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])"
    r"|(19|20)\d{2}[-_.]?(0[1-9]|1[0-2])"
    r"|\d{1,2}[-_. ]?(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*[-_. ]?\d{2,4})"
    r"(?![-_.]?\d)",
    re.IGNORECASE,
)
"""A year of two digits, a month, or a month's name."""
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_PART = re.compile(r"part[-._]?\d*\b|data_\d+\.|0\d*\.|\d{1,3}\.", re.IGNORECASE)
"""How writers number the files of one data set: `part-00000-...`, `data_0.parquet`, `0.parquet`."""
_TIMES = {0: "", 2: "%H", 4: "%H%M", 6: "%H%M%S", 9: "%H%M%S%f"}


@dataclass(frozen=True, slots=True)
class FileDate:
    """What the name of a file says about its day."""

    day: str = ""
    """As 2026-11-24."""
    problem: str = ""
    """Why it is not clear. Both are empty: there is nothing like a date."""


def dates_in(paths: Sequence[str]) -> list[FileDate]:
    """The last date in each path.

    01-02-2026 is read if the other paths leave one order only: with 24-02-2026 beside it, the day
    comes first.
    """
    texts, orders = list[str](), list(ORDERS)
    for path in paths:
        text = _last_date(_UUID.sub("", path))
        texts.append(text)
        if _YEAR_LAST.fullmatch(text):
            orders = [order for order in orders if _parsed(text, order)]

    return [_read(path, text, orders) for path, text in zip(paths, texts, strict=True)]


def is_part(path: str) -> bool:
    """Whether a name is one that a writer gives to parts of one data set."""
    return _PART.match(posixpath.basename(path)) is not None


def _last_date(path: str) -> str:
    """The last text with a year of four digits, with `-` between its parts; empty: there is none.

    It need not be a real date.
    """
    found: list[tuple[int, str]] = []
    for match in _YEAR_FIRST.finditer(path):
        if int(match[1]) in YEARS:
            found.append((match.end(), f"{match[1]}-{match[3]}-{match[4]}"))

    for match in _YEAR_LAST.finditer(path):
        if int(match[4]) in YEARS:
            found.append((match.end(), f"{match[1]}-{match[3]}-{match[4]}"))

    for match in _COMPACT.finditer(path):
        if text := _compact(match[1], match[2] or ""):
            found.append((match.end(), text))

    return max(found, default=(0, ""))[1]


def _compact(digits: str, time: str) -> str:
    """Eight digits as a date with `-`, perhaps with a time behind them; empty: some number."""
    year_first = f"{digits[:4]}-{digits[4:6]}-{digits[6:]}"
    year_last = f"{digits[:2]}-{digits[2:4]}-{digits[4:]}"
    if time:
        is_time = _parsed(f"{digits}{time}", f"%Y%m%d{_TIMES[len(time)]}")
        return year_first if is_time and int(digits[:4]) in YEARS else ""

    if int(digits[4:]) in YEARS and readings(year_last):
        return year_last
    return year_first if int(digits[:4]) in YEARS else ""


def _read(path: str, text: str, orders: Sequence[str]) -> FileDate:
    """The date that a text stands for, where several files allow these orders."""
    if not text:
        vague = None if is_part(path) else _NO_FULL_DATE.search(_UUID.sub("", path))
        if vague is None:
            return FileDate()
        return FileDate(problem=f"{shown(path)}: {vague[0]} is no full date with year, month, day")

    times = readings(text)
    if _YEAR_LAST.fullmatch(text) and len(orders) == 1:
        times = [datetime.strptime(text, orders[0])]

    days = [f"{time:{ISO}}" for time in times]
    if len(days) == 1:
        return FileDate(day=days[0])
    if not days:
        return FileDate(problem=f"{shown(path)}: there is no day {text}")
    return FileDate(problem=f"{shown(path)}: {text} may be {' or '.join(days)}")


def _parsed(text: str, pattern: str) -> datetime | None:
    try:
        return datetime.strptime(text, pattern)
    except ValueError:
        return None
