"""Which columns can be compared with each other, and the type to do it in."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import pyarrow as pa

if TYPE_CHECKING:
    import polars as pl

Kind = Literal[
    "integers",
    "decimals",
    "numbers",
    "text",
    "bytes",
    "flags",
    "dates",
    "times",
    "nulls",
    "other",
]
MAX_DIGITS = 38
"""Of a decimal of 128 bits."""
INTEGER_DIGITS = 19
"""Of a 64-bit integer."""


@dataclass(frozen=True, slots=True)
class ColumnKind:
    """What a column holds, whatever its width or encoding."""

    kind: Kind
    shown: str
    """The type, for people."""
    is_unsigned: bool = False
    """64-bit integers beyond the signed ones."""
    has_zone: bool = False
    """Times with a time zone."""
    is_in_ns: bool = False
    """Times in nanoseconds. Other times are in whole microseconds, and may be centuries away."""
    scale: int = 0
    """Digits of decimals after the point."""


def kind_of(arrow_type: pa.DataType) -> ColumnKind:
    """What columns of a type hold."""
    shown = str(arrow_type)
    if pa.types.is_dictionary(arrow_type):
        arrow_type = arrow_type.value_type

    if pa.types.is_timestamp(arrow_type):
        has_zone, is_in_ns = arrow_type.tz is not None, arrow_type.unit == "ns"
        return ColumnKind("times", shown, has_zone=has_zone, is_in_ns=is_in_ns)

    if pa.types.is_integer(arrow_type):
        return ColumnKind("integers", shown, is_unsigned=arrow_type == pa.uint64())

    if pa.types.is_decimal128(arrow_type):
        return ColumnKind("decimals", shown, scale=arrow_type.scale)

    for kind, is_one in _KINDS:
        if is_one(arrow_type):
            return ColumnKind(kind, shown)

    return ColumnKind("other", shown)


_KINDS: tuple[tuple[Kind, pa.types], ...] = (
    ("numbers", pa.types.is_floating),
    ("text", pa.types.is_string),
    ("text", pa.types.is_large_string),
    ("text", pa.types.is_string_view),
    ("bytes", pa.types.is_binary),
    ("bytes", pa.types.is_large_binary),
    ("bytes", pa.types.is_binary_view),
    ("bytes", pa.types.is_fixed_size_binary),
    ("flags", pa.types.is_boolean),
    ("dates", pa.types.is_date),
    ("nulls", pa.types.is_null),
)


def without_offset(column: pa.ChunkedArray, *, is_local: bool = False) -> pa.ChunkedArray:
    """Times of a zone such as +05:30, which Polars does not know, in UTC. Others as they are.

    Args:
        column: Of any type.
        is_local: Give the time of the zone's clocks, without a zone.
    """
    dtype = column.type
    if not pa.types.is_timestamp(dtype) or not (dtype.tz or "").startswith(("+", "-")):
        return column
    if not is_local:
        return column.cast(pa.timestamp(dtype.unit, "UTC"))

    import pyarrow.compute as pc

    return pc.local_timestamp(column)


def common_type(kinds: Iterable[ColumnKind]) -> "pl.DataType | None":
    """The type to which columns of these kinds are cast to be compared. None: they cannot be.

    No value changes on the way: integers of all widths become one, and so do floating numbers.
    Integers and decimals are compared as decimals. Neither is compared with floating numbers, and
    no number with text.
    """
    import polars as pl

    known = [kind for kind in kinds if kind.kind != "nulls"]
    if not known:
        return pl.Null()

    if any(kind.kind == "decimals" for kind in known):
        return _common_decimal(known)

    alike = {(kind.kind, kind.is_unsigned, kind.has_zone) for kind in known}
    if len(alike) > 1:
        return None

    ((kind, is_unsigned, has_zone),) = alike
    unit: Literal["ns", "us"] = "ns" if any(one.is_in_ns for one in known) else "us"
    types: dict[Kind, pl.DataType] = {
        "integers": pl.UInt64() if is_unsigned else pl.Int64(),
        "numbers": pl.Float64(),
        "text": pl.String(),
        "bytes": pl.Binary(),
        "flags": pl.Boolean(),
        "dates": pl.Date(),
        "times": pl.Datetime(unit, "UTC" if has_zone else None),
    }

    return types.get(kind)


def common_number(kinds: Iterable[ColumnKind]) -> "pl.DataType | None":
    """The type of labels: as `common_type`, but numbers of all kinds may be mixed.

    A file in which labels are missing often has floating numbers where others have integers.
    Decimals become floating numbers, which metrics are computed with.
    """
    import polars as pl

    known = [kind for kind in kinds if kind.kind != "nulls"]
    names = {kind.kind for kind in known}
    is_mixed = len(names) > 1 or "decimals" in names

    if is_mixed and names <= {"integers", "decimals", "numbers"}:
        return pl.Float64()
    return common_type(known)


def _common_decimal(known: Sequence[ColumnKind]) -> "pl.DataType | None":
    """A decimal that holds decimals and integers; None: there is none, or others are among them."""
    import polars as pl

    scale = max(kind.scale for kind in known)
    is_whole = any(kind.kind == "integers" for kind in known)

    if not {kind.kind for kind in known} <= {"integers", "decimals"}:
        return None
    if is_whole and scale + INTEGER_DIGITS > MAX_DIGITS:
        return None

    return pl.Decimal(MAX_DIGITS, scale)
