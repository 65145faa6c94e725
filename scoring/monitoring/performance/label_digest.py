"""Digests of labels: whether a partition's labels are those that were evaluated before.

A digest is the same whatever the labels' order, the files that they are in and the versions of
libraries. Each row has a hash of 64 bits. The digest is the SHA-256 of the columns' names, the
number of rows, the sum of the hashes and the sum of the hashes mixed once more.

A row's hash begins at 0. For each column in the order of their names, each 64-bit word of the value
is combined with it by exclusive or, and the result is mixed (splitmix64). The words of a value:

- integers, flags, dates (days) and times (as they are stored): themselves;
- floating numbers: if they are whole, the integer, otherwise their bits;
- text (UTF-8), bytes and decimals (as text): 8 bytes each, the first one lowest, the last word
  filled up with zeros; then the number of bytes;
- null: one word that says so.
"""

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from nightscore.profiles.hashes import mix

if TYPE_CHECKING:
    import polars as pl

SCHEME = "2:"
"""Begins digests that are made in this way. Older ones have no such beginning."""
SLICE_ROWS = 1_000_000
"""Rows taken from Polars at once."""
BLOCK_ROWS = 16_384
"""Rows hashed at once: intermediate results stay in the processor's cache."""
WORD_BYTES = 8
NULL_WORD = 0xD6E8FEB86659FD93
"""Any number that is unlikely as a value."""
WHOLE_BELOW = 2.0**53
"""Floating numbers up to here may be integers."""

OLD_SEEDS = (1, 2)

Words = npt.NDArray[np.uint64]


def content_digest(rows: "pl.DataFrame") -> str:
    """The digest of some labels.

    Args:
        rows: Of any columns that labels are read as.
    """
    names = sorted(rows.columns)
    total, mixed_total = 0, 0

    for some in rows.select(names).iter_slices(SLICE_ROWS):
        columns = [_column_of(column) for column in some]

        for start in range(0, some.height, BLOCK_ROWS):
            stop = min(start + BLOCK_ROWS, some.height)
            hashes = np.zeros(stop - start, np.uint64)

            for column in columns:
                hashes = column.add(hashes, start, stop)

            total += int(hashes.sum(dtype=np.uint64))
            mixed_total += int(mix(hashes).sum(dtype=np.uint64))

    parts = [",".join(names), str(rows.height), str(total % 2**64), str(mixed_total % 2**64)]
    return SCHEME + hashlib.sha256("|".join(parts).encode()).hexdigest()[:32]


def old_content_digest(rows: "pl.DataFrame") -> str:
    """The digest that was made before, by the hash of Polars, which other versions may change.

    It tells whether labels are those of an older record. Without it, each partition would be
    evaluated once more.
    """
    columns = ",".join(f"{name}:{dtype}" for name, dtype in sorted(rows.schema.items()))
    ordered = rows.select(sorted(rows.columns))
    sums = dict.fromkeys(OLD_SEEDS, 0)

    for some in ordered.iter_slices(SLICE_ROWS):
        for seed in OLD_SEEDS:
            sums[seed] += int(some.hash_rows(seed).sum()) % 2**64

    parts = [columns, str(rows.height), *(str(total % 2**64) for total in sums.values())]
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class _Numbers:
    """A column of one word a value."""

    words: Words

    def add(self, hashes: Words, start: int, stop: int) -> Words:
        """The hashes of some rows, to which their values are added."""
        return mix(hashes ^ self.words[start:stop])


@dataclass(frozen=True, slots=True)
class _Bytes:
    """A column of texts or bytes."""

    offsets: npt.NDArray[np.int64]
    """Where each value begins in the content, and where the last one ends."""
    words: Words
    """The word that begins at each byte of the content."""

    def add(self, hashes: Words, start: int, stop: int) -> Words:
        """The hashes of some rows, to which their values are added."""
        starts = self.offsets[start:stop]
        lengths = np.diff(self.offsets[start : stop + 1])
        shortest, longest = int(lengths.min()), int(lengths.max())

        for begin in range(0, longest, WORD_BYTES):
            is_whole = shortest >= begin + WORD_BYTES
            hashes = self._add_word(hashes, starts + begin, None if is_whole else lengths - begin)

        return mix(hashes ^ lengths.view(np.uint64))

    def _add_word(
        self, hashes: Words, places: npt.NDArray[np.int64], left: npt.NDArray[np.int64] | None
    ) -> Words:
        """Add the words at some places, of which only `left` bytes count; None: all of them."""
        if left is None:
            return mix(hashes ^ self.words[places])

        is_within = left > 0
        if is_within.all():
            return mix(hashes ^ (self.words[places] & _mask(left)))

        words = self.words[np.where(is_within, places, 0)] & _mask(left)
        return np.where(is_within, mix(hashes ^ words), hashes)


@dataclass(frozen=True, slots=True)
class _WithNulls:
    """A column some of whose values are null."""

    is_null: npt.NDArray[np.bool_]
    values: _Numbers | _Bytes

    def add(self, hashes: Words, start: int, stop: int) -> Words:
        """The hashes of some rows, to which their values are added."""
        of_null = mix(hashes ^ np.uint64(NULL_WORD))
        of_value = self.values.add(hashes, start, stop)
        return np.where(self.is_null[start:stop], of_null, of_value)


def _column_of(column: "pl.Series") -> _Numbers | _Bytes | _WithNulls:
    values = _values_of(column)
    if not column.null_count():
        return values
    return _WithNulls(column.is_null().to_numpy(), values)


def _values_of(column: "pl.Series") -> _Numbers | _Bytes:
    """A column whose nulls may be any value."""
    import polars as pl

    dtype = column.dtype
    if dtype == pl.Null:
        return _Numbers(np.zeros(len(column), np.uint64))

    if isinstance(dtype, pl.Decimal | pl.Categorical):
        column, dtype = column.cast(pl.String), pl.String()

    if dtype in (pl.String, pl.Binary):
        return _bytes_of(column)
    if dtype.is_float():
        return _Numbers(_words_of_floats(column.cast(pl.Float64).fill_null(0).to_numpy()))

    integers = column.to_physical()
    wanted = pl.UInt64 if dtype == pl.UInt64 else pl.Int64
    return _Numbers(integers.cast(wanted).fill_null(0).to_numpy().view(np.uint64))


def _words_of_floats(values: npt.NDArray[np.float64]) -> Words:
    is_whole = (np.abs(values) <= WHOLE_BELOW) & (np.trunc(values) == values)
    integers = np.where(is_whole, values, 0.0).astype(np.int64)
    words: Words = np.where(is_whole, integers.view(np.uint64), values.view(np.uint64))
    return words


def _bytes_of(column: "pl.Series") -> _Bytes:
    import polars as pl

    array = column.to_arrow(compat_level=pl.CompatLevel.oldest())
    _, offsets_buffer, content = array.buffers()

    offsets = np.frombuffer(offsets_buffer, np.int64)[array.offset :][: len(array) + 1]

    # A word may begin at any byte, and the last one ends beyond the content.
    n_bytes = int(offsets[-1])
    padded = np.zeros(n_bytes + WORD_BYTES, np.uint8)

    if n_bytes:
        padded[:n_bytes] = np.frombuffer(content, np.uint8)[:n_bytes]

    return _Bytes(offsets, np.ndarray((n_bytes + 1,), "<u8", padded, strides=(1,)))


def _mask(n_bytes: npt.NDArray[np.int64]) -> Words:
    """The bits of a word's first bytes; of 8 bytes or more all bits."""
    n_bits = np.clip(n_bytes, 1, WORD_BYTES).astype(np.uint64) * np.uint64(8)
    mask: Words = np.uint64(2**64 - 1) >> (np.uint64(64) - n_bits)
    return mask
