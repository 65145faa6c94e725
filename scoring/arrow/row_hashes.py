"""Hashes of rows that are the same on every machine, in every process and version of a library.

A row's hash is XXH64 of its columns, one after another: the bytes of a value are hashed with the
hash of the columns before it as the seed. What counts is the value, not how it is stored: integers
of all widths are one type, as are texts and dictionaries of texts, and times of all units.

Source: Y. Collet, "xxHash fast digest algorithm, version 0.1.1" (specification, 2018), XXH64.
"""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Hashes = npt.NDArray[np.uint64]
Bytes = npt.NDArray[np.uint8]
Column: TypeAlias = pa.Array | pa.ChunkedArray

_P1 = np.uint64(0x9E3779B185EBCA87)
_P2 = np.uint64(0xC2B2AE3D27D4EB4F)
_P3 = np.uint64(0x165667B19E3779F9)
_P4 = np.uint64(0x85EBCA77C2B2AE63)
_P5 = np.uint64(0x27D4EB2F165667C5)

MISSING, INTEGER, FLOAT, BOOLEAN, DATE, TIME, TEXT = range(1, 8)
"""Kinds of values. They are added to the seed, so that 1, 1.0, true and "1" differ."""
BLOCK_ROWS = 32_768
"""Rows hashed at once: intermediate results stay in the processor's cache."""
BLOCK_BYTES = 1 << 18
NANOSECONDS = 1_000


def row_hashes(columns: Sequence[Column]) -> Hashes:
    """One hash a row, uint64 of shape (n,); of no columns an empty array.

    Null has a hash of its own. 0.0 and -0.0 are one value, and so are all NaN. Values of types
    without a rule (decimals, durations) are hashed as Arrow writes them as text.

    Args:
        columns: Of the same length, in a given order.

    Raises:
        pa.ArrowNotImplementedError: A type has no text, as lists and structs.
    """
    parts = []

    for start in range(0, len(columns[0]) if columns else 0, BLOCK_ROWS):
        block = [column.slice(start, BLOCK_ROWS) for column in columns]
        hashes = np.zeros(len(block[0]), np.uint64)

        for column in block:
            hashes = _hash_column(column, hashes)

        parts.append(hashes)

    return np.concatenate(parts) if parts else np.empty(0, np.uint64)


def hash_words(words: Hashes, seeds: Hashes) -> Hashes:
    """XXH64 of the eight bytes of each little-endian integer.

    Args:
        words: Shape (n,).
        seeds: Of each of them, shape (n,).
    """
    with np.errstate(over="ignore"):
        state = seeds + (_P5 + np.uint64(8))
        return _avalanche(_add_word(state, words))


def hash_bytes(content: Bytes, seeds: Hashes) -> Hashes:
    """XXH64 of byte strings that all have one length.

    Args:
        content: Shape (n, length).
        seeds: Of each of them, shape (n,).
    """
    n_bytes = content.shape[1]
    n_words = n_bytes // 8
    words = np.ascontiguousarray(content[:, : 8 * n_words]).view("<u8")
    n_striped = n_words // 4 * 4

    with np.errstate(over="ignore"):
        state = _stripes(words[:, :n_striped], seeds) if n_striped else seeds + _P5
        state = state + np.uint64(n_bytes)

        for column in range(n_striped, n_words):
            state = _add_word(state, words[:, column])

        place = 8 * n_words
        if n_bytes - place >= 4:
            four = np.ascontiguousarray(content[:, place : place + 4]).view("<u4")[:, 0]
            state ^= four.astype(np.uint64) * _P1
            state = _rotate(state, 23) * _P2 + _P3
            place += 4

        for column in range(place, n_bytes):
            state ^= content[:, column].astype(np.uint64) * _P5
            state = _rotate(state, 11) * _P1

        return _avalanche(state)


def _stripes(words: Hashes, seeds: Hashes) -> Hashes:
    """The state after all whole blocks of 32 bytes."""
    lanes = [seeds + _P1 + _P2, seeds + _P2, seeds.copy(), seeds - _P1]

    for column in range(words.shape[1]):
        lanes[column % 4] = _round(lanes[column % 4], words[:, column])

    rotated = zip(lanes, (1, 7, 12, 18), strict=True)
    state: Hashes = np.sum([_rotate(lane, n_bits) for lane, n_bits in rotated], axis=0)
    for lane in lanes:
        state = (state ^ _round(np.zeros_like(lane), lane)) * _P1 + _P4

    return state


def _round(lane: Hashes, words: Hashes) -> Hashes:
    mixed = words * _P2
    mixed += lane
    return _multiply_rotated(mixed, 31)


def _add_word(state: Hashes, words: Hashes) -> Hashes:
    """The state with eight bytes more. Arrays are changed in place: fresh ones cost more."""
    mixed = _multiply_rotated(words * _P2, 31)
    mixed ^= state
    mixed = _multiply_rotated(mixed, 27)
    mixed += _P4
    return mixed


def _rotate(values: Hashes, n_bits: int) -> Hashes:
    rotated = values << np.uint64(n_bits)
    rotated |= values >> np.uint64(64 - n_bits)
    return rotated


def _multiply_rotated(values: Hashes, n_bits: int) -> Hashes:
    rotated = _rotate(values, n_bits)
    rotated *= _P1
    return rotated


def _avalanche(state: Hashes) -> Hashes:
    for n_bits, prime in ((33, _P2), (29, _P3)):
        state ^= state >> np.uint64(n_bits)
        state *= prime
    state ^= state >> np.uint64(32)
    return state


def _hash_column(column: Column, seeds: Hashes) -> Hashes:
    """The hashes of rows with one more column."""
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
    return np.where(is_null, hash_words(np.zeros_like(seeds), seeds_of_null), hashes)


def _hash_values(values: Hashes | pa.Array, seeds: Hashes) -> Hashes:
    """The hashes of words, or of an array of bytes. That of a null does not count."""
    if isinstance(values, np.ndarray):
        return hash_words(values, seeds)

    ends, content = _text_buffers(values)
    lengths = np.diff(ends)
    if len(lengths) and lengths.min() == lengths.max():
        return _hash_texts(content, ends[:-1], int(lengths[0]), seeds)

    hashes = np.empty(len(seeds), np.uint64)
    for length in np.unique(lengths).tolist():
        rows = np.flatnonzero(lengths == length)
        hashes[rows] = _hash_texts(content, ends[rows], length, seeds[rows])

    return hashes


def _hash_texts(
    content: Bytes, starts: npt.NDArray[np.int64], length: int, seeds: Hashes
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

        parts.append(hash_bytes(own, seeds[first : first + n_at_once]))

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

    is_binary = types.is_binary(arrow_type) or types.is_large_binary(arrow_type)
    if is_binary or types.is_fixed_size_binary(arrow_type):
        return TEXT, column.cast(pa.large_binary())

    return TEXT, column.cast(pa.large_string())


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
        return microseconds.view(np.uint64) ^ (rest * _P3)


def is_hashable(arrow_type: pa.DataType) -> bool:
    """Whether values of this type have a hash: all but nested ones."""
    if pa.types.is_dictionary(arrow_type):
        return is_hashable(arrow_type.value_type)
    try:
        pc.cast(pa.nulls(0, arrow_type), pa.large_string())
    except pa.ArrowNotImplementedError:
        return bool(pa.types.is_binary(arrow_type) or pa.types.is_fixed_size_binary(arrow_type))
    return True
