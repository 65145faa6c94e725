"""Columns of numbers as float64, whatever their type."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nightscore.arrow.numeric import numeric_values, stored_values
from nightscore.inputs.casts import plain_type
from nightscore.profiles.bins import Floats

LISTS = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
"""Tests for types whose values count by their lengths."""
SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
"""Seconds of each unit of time."""
DAYS = 1 / 86_400_000
"""Days of a millisecond."""

_NO_BITS = np.empty(0, np.uint8)


@dataclass(frozen=True, slots=True)
class RawNumbers:
    """The numbers of a chunk, shape (n,)."""

    values: Floats
    """Their content is undefined where they are null."""
    n_null: int = 0
    validity: npt.NDArray[np.uint8] = field(default_factory=lambda: _NO_BITS)
    """Bytes of Arrow's bitmap."""
    first_bit: int = -1
    """The first value's bit in the bitmap; negative: no value is null."""


def as_numbers(column: pa.ChunkedArray) -> tuple[Floats, int]:
    """The values that are not null as float64, and the number of nulls.

    Dates are days since 1970, timestamps, times and durations are seconds, decimals are floats, and
    lists are their lengths.
    """
    n_null = int(column.null_count)
    column = pc.drop_null(column.cast(plain_type(column.type)))

    arrow_type = column.type
    stored, scale = _stored(arrow_type)

    if any(is_list(arrow_type) for is_list in LISTS):
        column = pc.list_value_length(column)
    elif pa.types.is_decimal(arrow_type):
        column = column.cast(pa.float64())
    elif stored != arrow_type:
        column = column.cast(stored)

    chunks: list[Floats] = []
    for chunk in column.chunks:
        chunks.append(numeric_values(chunk).astype(np.float64, copy=False))

    values = chunks[0] if len(chunks) == 1 else np.concatenate([np.empty(0), *chunks])

    return values if scale == 1.0 else values * scale, n_null


def raw_numbers(chunk: pa.Array) -> RawNumbers:
    """The same of a chunk. Nulls stay in their places if the values can be read where they are."""
    stored, scale = _stored(chunk.type)
    is_readable = pa.types.is_integer(stored) or stored in (pa.float32(), pa.float64())
    if not len(chunk) or not is_readable:
        values, n_null = as_numbers(pa.chunked_array([chunk], chunk.type))
        return RawNumbers(values, n_null)

    # A null's value may be a signalling NaN.
    with np.errstate(invalid="ignore"):
        values = stored_values(chunk.view(stored)).astype(np.float64, copy=False)
        if scale != 1.0:
            values = values * scale

    if not chunk.null_count:
        return RawNumbers(values)

    bitmap = np.frombuffer(chunk.buffers()[0], np.uint8)

    return RawNumbers(values, chunk.null_count, bitmap, chunk.offset)


def finite_values(columns: Iterable[pa.ChunkedArray]) -> Floats:
    """The finite values of all batches, as `as_numbers` gives them."""
    numbers: Floats = np.concatenate([np.empty(0), *(as_numbers(column)[0] for column in columns)])
    return numbers[np.isfinite(numbers)]


def _stored(arrow_type: pa.DataType) -> tuple[pa.DataType, float]:
    """The type of the numbers in a column's buffer, and the factor that makes their unit ours."""
    if pa.types.is_date32(arrow_type):
        return pa.int32(), 1.0
    if pa.types.is_date64(arrow_type):
        return pa.int64(), DAYS
    if pa.types.is_time32(arrow_type):
        return pa.int32(), SECONDS[arrow_type.unit]

    in_64_bits = (pa.types.is_timestamp, pa.types.is_duration, pa.types.is_time64)
    if any(is_one(arrow_type) for is_one in in_64_bits):
        return pa.int64(), SECONDS[arrow_type.unit]

    return arrow_type, 1.0
