"""Which types a column may have for what is wanted, and which values would not survive.

The rule: a cast that can lose nothing is made; one that may lose something is made value by value, and a value
that would change is never passed on; one that changes the meaning is refused before anything is read.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nightscore.inputs.decimals import to_float64
from nightscore.ledger.formats import OutputFormat, known_formats
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


@dataclass(frozen=True, slots=True)
class Cast:
    """How a column gets the type that is wanted."""

    type: pa.DataType
    """Of the batch's column afterwards."""
    check: Literal["none", "exact", "integral"] = "none"
    """`exact`: the values must come back unchanged; `integral`: they must be whole, null or NaN apart."""


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
    if plain == target:
        return Cast(target)
    if pa.types.is_null(plain):
        return Cast(target)
    if is_text_of_bytes(plain, target):
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
    """Whether bytes are to be read as text: some writers do not say that theirs are. They must be UTF-8."""
    plain, wanted = plain_type(found), plain_type(target)
    return bool(pa.types.is_binary(plain) and pa.types.is_string(wanted))


def agreed_cast(found: pa.DataType, cast: Cast, agreed: pa.DataType) -> Cast:
    """The cast of one file's column to the type that all files agreed on."""
    plain = plain_type(found)
    if pa.types.is_floating(agreed) and pa.types.is_integer(plain):
        bits = 53 if agreed == pa.float64() else 24
        return Cast(agreed, "none" if plain.bit_width < bits else "exact")
    return Cast(agreed, cast.check)


def kept_cast(found: pa.DataType, output_format: OutputFormat) -> Cast | str:
    """The cast of a key or pass-through column to what the output format can hold without loss, or why not."""
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


def cast_column(
    column: pa.ChunkedArray, cast: Cast
) -> tuple[pa.ChunkedArray, npt.NDArray[np.bool_] | None]:
    """The column in its new type, and where its value does not survive (None: nowhere): those rows are not scored."""
    found = column.type
    if found == cast.type and cast.check == "none":
        return column, None
    if pa.types.is_dictionary(found):
        column = pc.cast(column, found.value_type)
    if pa.types.is_decimal(column.type) and pa.types.is_floating(cast.type):
        return to_float64(column)
    if pa.types.is_dictionary(cast.type):
        return pc.dictionary_encode(pc.cast(column, cast.type.value_type)), None
    if cast.check == "none":
        return pc.cast(column, cast.type, safe=False), None
    if pa.types.is_float16(column.type):
        column = pc.cast(column, pa.float32())  # which Arrow has arithmetic for
    bad = _not_whole(column, cast.type) if cast.check == "integral" else _changed(column, cast.type)
    if pa.types.is_integer(cast.type) and pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), pa.nulls(1, column.type)[0], column)
    if bad is None:
        return pc.cast(column, cast.type, safe=False), None
    kept = pc.if_else(pa.array(bad), pa.scalar(None, column.type), column.combine_chunks())
    return pa.chunked_array([pc.cast(kept, cast.type, safe=False)]), bad


def exceeds_float64(bounds: tuple[int, int]) -> bool:
    """Whether integers within the bounds may not be exact in float64."""
    return bounds[0] < -EXACT_FLOAT64 or bounds[1] > EXACT_FLOAT64


def _as_it_is(found: pa.DataType, plain: pa.DataType) -> Cast | str:
    if pa.types.is_null(plain):
        return Cast(pa.float64())
    if pa.types.is_decimal(plain):
        return Cast(pa.float64(), "exact")
    usable = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_string)
    if (
        any(is_one(plain) for is_one in usable)
        or pa.types.is_timestamp(plain)
        or pa.types.is_date(plain)
    ):
        is_coded = pa.types.is_dictionary(found) and pa.types.is_string(plain)
        return Cast(pa.dictionary(pa.int32(), plain) if is_coded else plain)
    return f"has the type {found}, which a model cannot use as it is"


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
        return f"has the type {plain}, the model was trained on {target}; a cast would round, so cast the features"
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
        # What a nullable integer column becomes in pandas; it stays floating, as pandas hands it to the model.
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


def _not_whole(column: pa.ChunkedArray, target: pa.DataType) -> npt.NDArray[np.bool_] | None:
    whole = pc.and_(pc.equal(pc.floor(column), column), pc.is_finite(column))
    if pa.types.is_integer(target):
        bound = 2.0 ** (target.bit_width - 1)
        within = pc.and_(
            pc.greater_equal(column, pa.scalar(-bound, column.type)),
            pc.less(column, pa.scalar(bound, column.type)),
        )
        whole = pc.and_(whole, within)
    fine = pc.or_kleene(whole, pc.is_nan(column))
    bad = pc.fill_null(pc.invert(fine), False)
    return to_mask(bad)


def _changed(column: pa.ChunkedArray, target: pa.DataType) -> npt.NDArray[np.bool_] | None:
    if pa.types.is_floating(target):
        bound = EXACT_FLOAT64 if target == pa.float64() else EXACT_FLOAT32
        beyond = pc.greater(column, pa.scalar(bound, column.type))
        if not pa.types.is_unsigned_integer(column.type):
            beyond = pc.or_(beyond, pc.less(column, pa.scalar(-bound, column.type)))
        return to_mask(pc.fill_null(beyond, False))
    there = pc.cast(column, target, safe=False)
    same = pc.equal(pc.cast(there, column.type, safe=False), column)
    if pa.types.is_integer(target):
        # uint64 to int64 and back is the identity on the bits: the sign tells.
        same = pc.and_(
            same,
            pc.equal(
                pc.less(column, pa.scalar(0, column.type)), pc.less(there, pa.scalar(0, target))
            ),
        )
    return to_mask(pc.fill_null(pc.invert(same), False))


def to_mask(flags: pa.ChunkedArray) -> npt.NDArray[np.bool_] | None:
    """A boolean column without nulls as numpy mask; None if nothing is set."""
    if not pc.any(flags).as_py():
        return None
    ones = pc.cast(flags, pa.uint8()).combine_chunks()
    values = np.frombuffer(ones.buffers()[1], dtype=np.uint8, count=len(ones) + ones.offset)
    return values[ones.offset :].astype(np.bool_)
