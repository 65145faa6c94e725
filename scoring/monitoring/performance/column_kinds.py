"""Which columns can be compared with each other, and the type to do it in."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import pyarrow as pa

if TYPE_CHECKING:
    import polars as pl

Kind = Literal["integers", "numbers", "text", "flags", "dates", "times", "nulls", "other"]


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


def kind_of(arrow_type: pa.DataType) -> ColumnKind:
    """What columns of a type hold."""
    shown = str(arrow_type)
    if pa.types.is_dictionary(arrow_type):
        arrow_type = arrow_type.value_type

    if pa.types.is_timestamp(arrow_type):
        return ColumnKind("times", shown, has_zone=arrow_type.tz is not None)

    if pa.types.is_integer(arrow_type):
        return ColumnKind("integers", shown, is_unsigned=arrow_type == pa.uint64())

    for kind, is_one in _KINDS:
        if is_one(arrow_type):
            return ColumnKind(kind, shown)

    return ColumnKind("other", shown)


_KINDS: tuple[tuple[Kind, pa.types], ...] = (
    ("numbers", pa.types.is_floating),
    ("text", pa.types.is_string),
    ("text", pa.types.is_large_string),
    ("text", pa.types.is_string_view),
    ("flags", pa.types.is_boolean),
    ("dates", pa.types.is_date),
    ("nulls", pa.types.is_null),
)


def common_type(kinds: Iterable[ColumnKind]) -> "pl.DataType | None":
    """The type to which columns of these kinds are cast to be compared. None: they cannot be.

    No value changes on the way: integers of all widths become one, and floating numbers, but
    integers are never compared with floating numbers, nor numbers with text.
    """
    import polars as pl

    known = [kind for kind in kinds if kind.kind != "nulls"]
    if not known:
        return pl.Null()

    alike = {(kind.kind, kind.is_unsigned, kind.has_zone) for kind in known}
    if len(alike) > 1:
        return None

    ((kind, is_unsigned, has_zone),) = alike
    types: dict[Kind, pl.DataType] = {
        "integers": pl.UInt64() if is_unsigned else pl.Int64(),
        "numbers": pl.Float64(),
        "text": pl.String(),
        "flags": pl.Boolean(),
        "dates": pl.Date(),
        "times": pl.Datetime("ns", "UTC" if has_zone else None),
    }

    return types.get(kind)
