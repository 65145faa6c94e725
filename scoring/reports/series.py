"""The series of a statistic over the partitions before a run, in numbers and as a sparkline."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

BLOCKS = "▁▂▃▄▅▆▇█"


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

    return [_value(partition.rows, wanted) for partition in past]


def sparkline(values: Sequence[float | None]) -> str:
    """A line of blocks, from 0 to the greatest value; a gap where there is none."""
    sizes = [abs(value) for value in values if value is not None]
    greatest = max(sizes, default=0.0)
    return "".join(_block(value, greatest) for value in values)


def _block(value: float | None, greatest: float) -> str:
    if value is None:
        return " "
    if greatest:
        return BLOCKS[round(abs(value) / greatest * (len(BLOCKS) - 1))]
    return BLOCKS[0]


def _value(rows: Sequence[Mapping[str, Any]], wanted: Mapping[str, str]) -> float | None:
    """The value of the first row that has all that is wanted."""
    for row in rows:
        if all(row[name] == text for name, text in wanted.items()):
            value: float | None = row["value"]
            return value
    return None
