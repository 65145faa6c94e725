"""Which types a column may have for what is wanted, and which values would not survive.

The rule: A cast that can lose nothing is made. A cast that may lose something is made value by
value, and a value that would change is never passed on. A cast that changes the meaning is refused
before anything is read.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nightscore.inputs.decimals import to_float64
from nightscore.ledger.output_formats import OutputFormat, known_formats
from nightscore.schemas.model import FeatureType

EXACT_FLOAT64 = 2**53
"""Integers up to here are exact in float64 (IEEE 754 binary64 has 53 bits of significand)."""

EXACT_FLOAT32 = 2**24

WANTED: dict[FeatureType, pa.DataType] = {
    "double": pa.float64(),
    "float": pa.float32(),
    "long": pa.int64(),
    "integer": pa.int32(),
    "boolean": pa.bool_(),
    "string": pa.string(),
    "binary": pa.binary(),
    "datetime": pa.timestamp("ns"),
}
USABLE = (
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_boolean,
    pa.types.is_string,
    pa.types.is_timestamp,
    pa.types.is_date,
)
"""Types of features that a model can use as they are."""

Mask = npt.NDArray[np.bool_]
"""Rows of a column, shape (n,)."""


@dataclass(frozen=True, slots=True)
class Cast:
    """How a column gets the type that is wanted."""

    type: pa.DataType
    """Of the batch's column afterwards."""
    check: Literal["none", "exact", "integral"] = "none"
    """`exact`: values must come back unchanged. `integral`: they must be whole, null or NaN."""


def plain_type(found: pa.DataType) -> pa.DataType:
    """The type without its encoding: dictionary, large and view variants are the same data."""
    if pa.types.is_dictionary(found):
        return plain_type(found.value_type)
    if pa.types.is_large_string(found) or found == pa.string_view():
        return pa.string()
    if pa.types.is_large_binary(found) or found == pa.binary_view():
        return pa.binary()
    return found


def feature_cast(found: pa.DataType, wanted: FeatureType) -> Cast | str:
    """The cast of a feature column, or why there is none."""
    plain = plain_type(found)

    if wanted == "any":
        return _as_it_is(found, plain)

    target = WANTED[wanted]
    if plain == target or pa.types.is_null(plain) or is_text_of_bytes(plain, target):
        return Cast(target)

    if wanted in ("double", "float"):
        return _to_floating(plain, target)
    if wanted in ("long", "integer"):
        return _to_integer(plain, target)

    if wanted == "datetime" and (pa.types.is_timestamp(plain) or pa.types.is_date(plain)):
        # MLflow says datetime of times with a zone as well: the library gets what the file has.
        zone = plain.tz if pa.types.is_timestamp(plain) else None
        return Cast(pa.timestamp("ns", zone), "exact")

    return f"has the type {found}, the model wants {wanted}"


def is_text_of_bytes(found: pa.DataType, target: pa.DataType) -> bool:
    """Whether bytes are to be read as text, which must be UTF-8.

    Some writers do not say that their bytes are text.
    """
    plain, wanted = plain_type(found), plain_type(target)
    return bool(pa.types.is_binary(plain) and pa.types.is_string(wanted))


def agreed_cast(found: pa.DataType, cast: Cast, agreed: pa.DataType) -> Cast:
    """The cast of one file's column to the type that all files agreed on."""
    plain = plain_type(found)
    if pa.types.is_floating(agreed) and pa.types.is_integer(plain):
        bits = 53 if agreed == pa.float64() else 24
        return Cast(agreed, "none" if plain.bit_width < bits else "exact")
    return Cast(agreed, cast.check)


def passthrough_cast(found: pa.DataType, output_format: OutputFormat) -> Cast | str:
    """The cast of a key or pass-through column, or why there is none.

    The output format holds the new type without loss.
    """
    plain = plain_type(found)
    if pa.types.is_null(plain):
        return Cast(plain)

    stored = output_format.storage_type(plain)
    if stored is None:
        others = [other.name for other in known_formats() if other.storage_type(plain) is not None]
        return (
            f"has the type {found}, which {output_format.title} cannot hold; "
            f"use output.format: {' or '.join(others)} or drop the column"
        )

    is_cut = pa.types.is_timestamp(plain) and plain.unit == "ns" and stored.unit != "ns"
    return Cast(stored, "exact" if is_cut else "none")


def cast_column(column: pa.ChunkedArray, cast: Cast) -> tuple[pa.ChunkedArray, Mask | None]:
    """The column in its new type.

    Returns:
        The column, and the rows whose value does not survive (None: there are none). These rows
        are not scored.
    """
    if column.type == cast.type and cast.check == "none":
        return column, None

    if pa.types.is_dictionary(column.type):
        column = pc.cast(column, column.type.value_type)

    if pa.types.is_decimal(column.type) and pa.types.is_floating(cast.type):
        return to_float64(column)
    if pa.types.is_dictionary(cast.type):
        return pc.dictionary_encode(pc.cast(column, cast.type.value_type)), None

    if cast.check == "none":
        return pc.cast(column, cast.type, safe=False), None

    return _cast_checked(column, cast)


def _cast_checked(column: pa.ChunkedArray, cast: Cast) -> tuple[pa.ChunkedArray, Mask | None]:
    """The column in its new type, value by value."""
    if pa.types.is_float16(column.type):
        column = pc.cast(column, pa.float32())  # which Arrow has arithmetic for

    lost = (
        _not_whole(column, cast.type) if cast.check == "integral" else _changed(column, cast.type)
    )

    if pa.types.is_integer(cast.type) and pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), pa.nulls(1, column.type)[0], column)

    if lost is None:
        return pc.cast(column, cast.type, safe=False), None

    surviving = pc.if_else(pa.array(lost), pa.scalar(None, column.type), column.combine_chunks())
    return pa.chunked_array([pc.cast(surviving, cast.type, safe=False)]), lost


def exceeds_float64(bounds: tuple[int, int]) -> bool:
    """Whether some integer within the bounds is not exact in float64."""
    return bounds[0] < -EXACT_FLOAT64 or bounds[1] > EXACT_FLOAT64


def _as_it_is(found: pa.DataType, plain: pa.DataType) -> Cast | str:
    """The cast of a feature whose type the model does not state."""
    if pa.types.is_null(plain):
        return Cast(pa.float64())
    if pa.types.is_decimal(plain):
        return Cast(pa.float64(), "exact")
    if not any(is_usable(plain) for is_usable in USABLE):
        return f"has the type {found}, which a model cannot use as it is"
    is_coded = pa.types.is_dictionary(found) and pa.types.is_string(plain)
    return Cast(pa.dictionary(pa.int32(), plain) if is_coded else plain)


def _to_floating(plain: pa.DataType, target: pa.DataType) -> Cast | str:
    if pa.types.is_boolean(plain):
        return Cast(target)
    if pa.types.is_floating(plain) and plain.bit_width < target.bit_width:
        return Cast(target)

    if pa.types.is_integer(plain):
        exact_bits = 53 if target == pa.float64() else 24
        return Cast(target, "none" if plain.bit_width < exact_bits else "exact")

    if pa.types.is_decimal(plain) and target == pa.float64():
        return Cast(target, "exact")

    if pa.types.is_floating(plain):
        return (
            f"has the type {plain}, the model was trained on {target}; "
            "a cast would round, so cast the features"
        )

    return _refused(plain, target)


def _to_integer(plain: pa.DataType, target: pa.DataType) -> Cast | str:
    if pa.types.is_boolean(plain):
        return Cast(target)

    if pa.types.is_integer(plain):
        fits = plain.bit_width < target.bit_width or (
            plain.bit_width == target.bit_width and pa.types.is_signed_integer(plain)
        )
        return Cast(target, "none" if fits else "exact")

    if pa.types.is_floating(plain):
        # A nullable column of integers in pandas. It stays floating, as pandas hands it to a model.
        return Cast(plain, "integral")

    return _refused(plain, target)


def _refused(plain: pa.DataType, target: pa.DataType) -> str:
    if pa.types.is_decimal(plain):
        return (
            f"has the type {plain}, and decimals become no {target} without loss; cast the features"
        )

    if pa.types.is_temporal(plain):
        return (
            f"has the type {plain}, and a time is no {target}; compute the number in the features"
        )

    if pa.types.is_string(plain):
        return f"has the type {plain}, and strings are not read as numbers; cast the features"

    return f"has the type {plain}, the model wants {target}"


def _not_whole(column: pa.ChunkedArray, target: pa.DataType) -> Mask | None:
    is_whole = pc.and_(pc.equal(pc.floor(column), column), pc.is_finite(column))
    if pa.types.is_integer(target):
        bound = 2.0 ** (target.bit_width - 1)
        is_above = pc.greater_equal(column, pa.scalar(-bound, column.type))
        is_below = pc.less(column, pa.scalar(bound, column.type))
        is_whole = pc.and_(is_whole, pc.and_(is_above, is_below))

    survives = pc.or_kleene(is_whole, pc.is_nan(column))
    return to_mask(pc.fill_null(pc.invert(survives), False))


def _changed(column: pa.ChunkedArray, target: pa.DataType) -> Mask | None:
    if pa.types.is_floating(target):
        bound = EXACT_FLOAT64 if target == pa.float64() else EXACT_FLOAT32
        beyond = pc.greater(column, pa.scalar(bound, column.type))
        if not pa.types.is_unsigned_integer(column.type):
            beyond = pc.or_(beyond, pc.less(column, pa.scalar(-bound, column.type)))
        return to_mask(pc.fill_null(beyond, False))

    there = pc.cast(column, target, safe=False)
    is_same = pc.equal(pc.cast(there, column.type, safe=False), column)

    if pa.types.is_integer(target):
        # uint64 to int64 and back is the identity on the bits: only the sign differs.
        was_negative = pc.less(column, pa.scalar(0, column.type))
        is_negative = pc.less(there, pa.scalar(0, target))
        is_same = pc.and_(is_same, pc.equal(was_negative, is_negative))

    return to_mask(pc.fill_null(pc.invert(is_same), False))


def to_mask(flags: pa.ChunkedArray) -> Mask | None:
    """A boolean column without nulls as a mask; None if nothing is set."""
    if not pc.any(flags).as_py():
        return None
    ones = pc.cast(flags, pa.uint8()).combine_chunks()
    values = np.frombuffer(ones.buffers()[1], dtype=np.uint8, count=len(ones) + ones.offset)
    return values[ones.offset :].astype(np.bool_)
