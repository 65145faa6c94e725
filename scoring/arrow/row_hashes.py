"""Hashes of rows that are the same on every machine, in every process and version of a library.

What counts is the value, not how it is stored. A row's hash begins at `start`, and for each of its
columns becomes XXH64 of the value's canonical bytes, with the seed (hash + kind) modulo 2^64. Words
are eight bytes, the lowest first:

| value | kind | canonical bytes |
| --- | --- | --- |
| null | 1 | the word 0 |
| integer of any width | 2 | the word of the value modulo 2^64 (two's complement) |
| floating number of any width | 3 | the bits of the double; -0.0 is 0.0, all NaN are 0x7FF8 << 48 |
| boolean | 4 | the word 0 or 1 |
| date | 5 | the word of the days since 1970 |
| timestamp | 6 | the word of the microseconds since 1970 in UTC; of one without a zone as it is |
| text | 7 | UTF-8 as it is, neither normalised nor trimmed |
| bytes | 7 | themselves |
| decimal | 7 | the value as text: 1.50 and 1.5 are `1.5`, 100.00 is `100`, .5 is `0.5` |

A dictionary is its values. Arms are of a column as the output has it: in Delta, that of uint64
is a decimal. If a timestamp has nanoseconds beyond its microseconds, its word is combined by
exclusive or with them, multiplied by 0x165667B19E3779F9. Times of day and durations are the
texts that Arrow writes.
"""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nightscore.arrow.arrays import from_texts
from nightscore.arrow.xxh64 import Bytes, Hashes, hash_bytes, hash_words

Column: TypeAlias = pa.Array | pa.ChunkedArray
Algorithm: TypeAlias = Callable[[Bytes, Hashes], Hashes]
"""Hashes texts of one length, shape (n, length), with the seed of each, shape (n,)."""

MISSING, INTEGER, FLOAT, BOOLEAN, DATE, TIME, TEXT = range(1, 8)
"""Kinds of values. They are added to the seed, so that 1, 1.0, true and "1" differ."""
BLOCK_ROWS = 16_384
"""Rows hashed at once: intermediate results stay in the processor's cache."""
BLOCK_BYTES = 1 << 18
NANOSECONDS = 1_000
_NOTHING, _MINUS, _POINT = from_texts(["", "-", "."]).cast(pa.large_string())
NANOSECOND_FACTOR = np.uint64(0x165667B19E3779F9)


def row_hashes(columns: Sequence[Column], start: int = 0) -> Hashes:
    """One hash a row, uint64 of shape (n,); of no columns an empty array.

    Args:
        columns: Of the same length, in a given order.
        start: What the hashes begin with, 0 to 2^64 - 1. Hashes of two starts are independent.

    Raises:
        pa.ArrowNotImplementedError: A type has no text, as lists and structs.
    """
    parts = []

    for first in range(0, len(columns[0]) if columns else 0, BLOCK_ROWS):
        block = [column.slice(first, BLOCK_ROWS) for column in columns]
        hashes = np.array([start], np.uint64)

        for column in block:
            hashes = _hash_column(column, hashes)

        parts.append(hashes)

    return np.concatenate(parts) if parts else np.empty(0, np.uint64)


def _hash_column(column: Column, seeds: Hashes) -> Hashes:
    """The hashes of rows with one more column.

    Args:
        column: Shape (n,).
        seeds: Shape (n,), or (1,) if it is that of all rows.
    """
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()

    kind, values = _canonical(column)
    with np.errstate(over="ignore"):
        seeds_of_kind = seeds + np.uint64(kind)
        seeds_of_null = seeds + np.uint64(MISSING)

    hashes = _hash_values(values, seeds_of_kind)
    if not column.null_count:
        return hashes

    is_null = column.is_null().to_numpy(zero_copy_only=False)
    return np.where(is_null, hash_words(np.zeros_like(seeds_of_null), seeds_of_null), hashes)


def _hash_values(values: Hashes | pa.Array, seeds: Hashes) -> Hashes:
    """The hashes of words, or of an array of bytes. That of a null does not count."""
    if isinstance(values, np.ndarray):
        return hash_words(values, seeds)
    return hash_texts(values, np.broadcast_to(seeds, len(values)), hash_bytes)


def hash_texts(values: pa.Array, seeds: Hashes, algorithm: Algorithm) -> Hashes:
    """The hashes of texts. That of a null does not count.

    Args:
        values: Large strings or large binary, shape (n,).
        seeds: Of each of them, shape (n,).
        algorithm: Hashes those of one length.
    """
    ends, content = _text_buffers(values)
    lengths = np.diff(ends)
    if len(lengths) and lengths.min() == lengths.max():
        return _hash_equally_long(content, ends[:-1], int(lengths[0]), seeds, algorithm)

    hashes = np.empty(len(seeds), np.uint64)
    for length in np.unique(lengths).tolist():
        rows = np.flatnonzero(lengths == length)
        hashes[rows] = _hash_equally_long(content, ends[rows], length, seeds[rows], algorithm)

    return hashes


def _hash_equally_long(
    content: Bytes,
    starts: npt.NDArray[np.int64],
    length: int,
    seeds: Hashes,
    algorithm: Algorithm,
) -> Hashes:
    """The hashes of texts of one length, so many at once that their bytes stay in the cache."""
    n_places = len(content) - length + 1
    windows = np.ndarray((n_places if length else 0,), f"V{length}", content, strides=(1,))
    n_at_once = max(1, BLOCK_BYTES // max(length, 1))
    parts = []

    for first in range(0, len(starts), n_at_once):
        some = starts[first : first + n_at_once]

        own = windows[some].view(np.uint8) if length else np.empty(0, np.uint8)
        own = own.reshape(len(some), length)

        parts.append(algorithm(own, seeds[first : first + n_at_once]))

    return np.concatenate(parts)


def _text_buffers(values: pa.Array) -> tuple[npt.NDArray[np.int64], Bytes]:
    """Where each text begins and ends, shape (n + 1,), and the bytes of all texts."""
    _, offsets, data = values.buffers()
    ends = np.frombuffer(offsets, np.int64)[values.offset : values.offset + len(values) + 1]
    return ends, np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8)


def _canonical(column: pa.Array) -> tuple[int, Hashes | pa.Array]:
    """The kind of a column's values; the values as words, or as an array of bytes."""
    types, arrow_type = pa.types, column.type

    if types.is_boolean(arrow_type):
        return BOOLEAN, _words(column.cast(pa.uint8()), np.int64)
    if types.is_integer(arrow_type):
        return INTEGER, _words(column, np.int64)
    if types.is_floating(arrow_type):
        return FLOAT, _float_words(column)
    if types.is_date(arrow_type):
        return DATE, _words(column.cast(pa.date32()).cast(pa.int32()), np.int64)
    if types.is_timestamp(arrow_type):
        return TIME, _time_words(column)
    if types.is_null(arrow_type):
        return MISSING, np.zeros(len(column), np.uint64)

    return TEXT, _canonical_texts(column)


def _canonical_texts(column: pa.Array) -> pa.Array:
    """The values as large strings or large binary."""
    types, arrow_type = pa.types, column.type

    is_binary = types.is_binary(arrow_type) or types.is_large_binary(arrow_type)
    if is_binary or types.is_fixed_size_binary(arrow_type):
        return column.cast(pa.large_binary())
    if types.is_decimal(arrow_type):
        return _decimal_texts(column)

    return column.cast(pa.large_string())


def _numbers(column: pa.Array) -> npt.NDArray[np.generic]:
    """The values; whatever stands where a value is null."""
    filled = column.fill_null(False if pa.types.is_boolean(column.type) else 0)
    numbers: npt.NDArray[np.generic] = filled.to_numpy(zero_copy_only=False)
    return numbers


def _words(column: pa.Array, wide: type[np.int64]) -> Hashes:
    """Integers as the bits of int64; those of uint64 above it wrap."""
    numbers = _numbers(column)
    words: Hashes = numbers.astype(wide).view(np.uint64)
    return words


def _float_words(column: pa.Array) -> Hashes:
    numbers = _numbers(column).astype(np.float64) + 0.0
    numbers[np.isnan(numbers)] = np.nan
    return numbers.view(np.uint64)


def _time_words(column: pa.Array) -> Hashes:
    """Microseconds since 1970 in UTC. Nanoseconds beyond them change the word, if there are any."""
    counts = _words(column.cast(pa.int64()), np.int64).view(np.int64)
    unit = column.type.unit

    with np.errstate(over="ignore"):
        if unit != "ns":
            factor = {"s": 1_000_000, "ms": 1_000, "us": 1}[unit]
            return (counts * factor).view(np.uint64)

        microseconds = counts // NANOSECONDS
        rest = (counts - microseconds * NANOSECONDS).view(np.uint64)
        return microseconds.view(np.uint64) ^ (rest * NANOSECOND_FACTOR)


def _decimal_texts(column: pa.Array) -> pa.Array:
    """The values in plain notation, without zeros at the end of the fraction."""
    scale = max(column.type.scale, 0)
    wide = column.cast(pa.decimal256(76, scale))

    # The same bits as whole numbers: Arrow writes small fractions as 5E-9.
    buffers = wide.buffers()
    unscaled = pa.Array.from_buffers(
        pa.decimal256(76, 0), len(wide), buffers, wide.null_count, wide.offset
    )
    digits = unscaled.cast(pa.large_string())
    if not scale:
        return digits

    is_negative = pc.starts_with(digits, "-")
    signs = pc.if_else(is_negative, _MINUS, _NOTHING)
    digits = pc.utf8_lpad(pc.utf8_ltrim(digits, "-"), scale + 1, "0")

    whole = pc.utf8_slice_codeunits(digits, 0, -scale)
    fraction = pc.utf8_rtrim(pc.utf8_slice_codeunits(digits, -scale), "0")
    joined = pc.binary_join_element_wise(signs, whole, _NOTHING)
    return pc.utf8_rtrim(pc.binary_join_element_wise(joined, fraction, _POINT), ".")


def is_hashable(arrow_type: pa.DataType) -> bool:
    """Whether values of this type have a hash: all but nested ones."""
    if pa.types.is_dictionary(arrow_type):
        return is_hashable(arrow_type.value_type)
    try:
        pc.cast(pa.nulls(0, arrow_type), pa.large_string())
    except pa.ArrowNotImplementedError:
        return bool(pa.types.is_binary(arrow_type) or pa.types.is_fixed_size_binary(arrow_type))
    return True
