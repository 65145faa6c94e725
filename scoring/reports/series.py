"""The series of a statistic over the partitions before a run, in numbers and as a sparkline."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SPARKS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True, slots=True)
class Past:
    """One partition of the series."""

    partition: str
    rows: Sequence[Mapping[str, Any]]
    """Of its table of statistics."""


def series_of(
    past: Sequence[Past], role: str | None, column: str, statistic: str, reference: str
) -> list[float | None]:
    """One statistic of a column over the partitions; None where it is not known.

    Args:
        past: The partitions, in order.
        role: Of the column; None: the first role that has it.
        column: Its name.
        statistic: Stored name.
        reference: What the column was compared with.
    """
    wanted = {"column": column, "statistic": statistic, "reference": reference, "segment": ""}
    if role is not None:
        wanted["role"] = role

    return [_value(one.rows, wanted) for one in past]


def sparkline(values: Sequence[float | None]) -> str:
    """A line of blocks, from 0 to the greatest value; a gap where there is none."""
    sizes = [None if value is None else abs(value) for value in values]
    greatest = max((size for size in sizes if size is not None), default=0.0)
    return "".join(_spark(size, greatest) for size in sizes)


def _spark(size: float | None, greatest: float) -> str:
    if size is None:
        return " "
    if greatest:
        return SPARKS[round(size / greatest * (len(SPARKS) - 1))]
    return SPARKS[0]


def _value(rows: Sequence[Mapping[str, Any]], wanted: Mapping[str, str]) -> float | None:
    for row in rows:
        if all(row[name] == value for name, value in wanted.items()):
            value: float | None = row["value"]
            return value
    return None
