"""Recognises how the partitions of an input write their dates."""

from collections.abc import Sequence

from nightscore.schemas.partition import order_of, parse_time

FORMATS = (
    "%Y-%m-%d",
    "%Y%m%d",
    "%Y-%m-%d-%H",
    "%Y-%m-%dT%H",
    "%Y-%m-%d %H",
    "%Y%m%d%H",
    "%Y%m%dT%H",
    "%Y-%m-%dT%H:%M:%S",
    "%Y-%m-%d %H:%M:%S",
    "%Y_%m_%d",
    "%Y.%m.%d",
    "%Y-%m",
    "%Y%m",
    "%d-%m-%Y",
    "%d.%m.%Y",
    "%Y",
)
"""What folders of partitions are named after, the most usual first."""
SHOWN_VALUES = 3
YEARS = range(1970, 2101)
"""Other numbers of four digits are no years, but shops or regions."""


def recognise_format(values: Sequence[str | None]) -> str | None:
    """The format in which most of the values are dates; None if fewer than half of them are.

    Args:
        values: Of partitions; None is Hive's default partition, which is no date.
    """
    counts = dict.fromkeys(FORMATS, 0)
    for value in values:
        for pattern in FORMATS:
            counts[pattern] += is_date(value, pattern)

    best = max(FORMATS, key=lambda pattern: counts[pattern])
    return best if 2 * counts[best] >= max(len(values), 1) else None


def newest_value(values: Sequence[str | None], pattern: str) -> str | None:
    """The newest date. Where there is none, the last value, if possible one that is not missing."""
    ordered = sorted(values, key=lambda value: order_of(value, pattern))
    named = [value for value in ordered if value is not None]

    for value in reversed(named):
        if is_date(value, pattern):
            return value
    return (named or ordered)[-1]


def other_dates(values: Sequence[str | None], pattern: str) -> str:
    """What is said of partitions whose dates are written in another way; empty: there are none.

    Args:
        values: Of partitions.
        pattern: The format that the job states.
    """
    odd = []
    for value in values:
        if value is not None and not is_date(value, pattern) and recognise_format([value]):
            odd.append(value)

    if not odd:
        return ""

    shown = ", ".join(odd[:SHOWN_VALUES])
    verb = "is a date" if len(odd) == 1 else "are dates"
    return f"{len(odd):,} of {len(values):,} partitions, such as {shown}, {verb} in another format"


def is_date(value: str | None, pattern: str) -> bool:
    """Whether a value is a date of our times, written exactly so."""
    time = parse_time(value, pattern)
    return time is not None and time.year in YEARS and time.strftime(pattern) == value
