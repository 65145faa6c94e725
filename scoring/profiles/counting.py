"""What a chunk of a column adds to its profile.

Machine code counts it in one pass. Without machine code the values are sorted.
"""

import functools
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nightscore.arrow.arrays import from_numpy, to_places
from nightscore.native.column_places import ColumnPlaces
from nightscore.native.constants import COLUMNS_TOGETHER
from nightscore.native.count_buffers import CountBuffers
from nightscore.native.machine_code import BoundKernel, Kernels
from nightscore.native.search_trees import BinSearch
from nightscore.profiles.bins import Counts, Floats, count_sorted
from nightscore.profiles.hashes import Hashes, add_sorted, no_hashes
from nightscore.profiles.numbers import as_numbers, finite_values, raw_numbers

MOST_SIZES = 32
"""Numbers of bins for which a thread keeps buffers: 16 KiB a column each."""


@dataclass(frozen=True, slots=True)
class CountSpec:
    """How the values of a column of numbers are counted."""

    edges: Floats
    """Ascending: bin i is `(edges[i - 1], edges[i]]`."""
    pivot: float
    """Subtracted before squares are taken."""
    bounds: tuple[float, float]
    """Values beyond them are outside."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberCounts:
    """Counts of some values. Nulls, NaN and infinities are counted apart and enter nothing else."""

    values: pa.Array | pa.ChunkedArray | None
    """What was counted; None: batches that are gone."""
    n_rows: int
    n_null: int
    n_nan: int
    n_high: int
    """Positive infinities."""
    n_low: int
    """Negative infinities."""
    counts: Counts
    """Finite values in each bin, shape (len(edges) + 1,)."""
    sums: Floats
    """Sums of these values, of the same shape."""
    least: float
    """Infinite without a finite value."""
    greatest: float
    """Negative infinity without a finite value."""
    total: float
    shifted: float
    """Sum of the distances from the pivot."""
    squares: float
    """Sum of the squares of these distances."""
    n_outside: int
    hashes: Hashes | None
    """Hashes of values, in any order, with all that belong to the least and were not known; None:
    not wanted."""

    @property
    def finite(self) -> Floats:
        """The finite values, read once more: for statistics that machine code does not count."""
        assert self.values is not None, "see SufficientStatistic.NEEDS_VALUES"  # noqa: S101
        if isinstance(self.values, pa.ChunkedArray):
            return finite_values([self.values])
        return finite_values([pa.chunked_array([self.values])])


def count_by_sorting(
    column: pa.ChunkedArray, spec: CountSpec, known_hashes: Hashes | None
) -> NumberCounts:
    """Count a batch with NumPy alone.

    Args:
        column: Numbers.
        spec: How they are counted.
        known_hashes: The least hashes so far; None: hashes are not wanted.
    """
    values, n_null = as_numbers(column)
    values = np.sort(values)  # NaN last, infinities at the ends of the others
    places = np.searchsorted(values, [-np.finfo(np.float64).max, np.inf, np.nan])
    n_low, first_high, first_nan = places.tolist()
    finite = values[n_low:first_high]

    hashes: Hashes | None = None
    if known_hashes is not None:
        hashes = add_sorted(known_hashes, finite)

    counts, sums = count_sorted(finite, spec.edges)
    least, greatest = np.inf, -np.inf

    if len(finite):
        least, greatest = float(finite[0]), float(finite[-1])

    n_not_above = np.searchsorted(finite, spec.bounds[1], "right")
    n_below = np.searchsorted(finite, spec.bounds[0], "left")

    with np.errstate(over="ignore", invalid="ignore"):
        total = float(finite.sum())
        distances = finite - spec.pivot
        shifted = float(distances.sum())
        # A dot product would start threads of BLAS.
        squares = float(np.einsum("i,i->", distances, distances))

    return NumberCounts(
        values=column,
        n_rows=len(column),
        n_null=n_null,
        n_nan=len(values) - first_nan,
        n_high=first_nan - first_high,
        n_low=n_low,
        counts=counts,
        sums=sums,
        least=least,
        greatest=greatest,
        total=total,
        shifted=shifted,
        squares=squares,
        n_outside=len(finite) - int(n_not_above - n_below),
        hashes=hashes,
    )


class _Bound(NamedTuple):
    """Buffers, and the kernel that counts into them."""

    buffers: CountBuffers
    count_columns: BoundKernel


class _BoundKernels(threading.local):
    """The buffers of a thread, for columns of as many bins."""

    def __init__(self) -> None:
        self._by_size: dict[tuple[Kernels, int, bool, int], _Bound] = {}

    def take(self, kernels: Kernels, n_bins: int, *, with_hashes: bool, n_columns: int) -> _Bound:
        """Buffers that nobody else uses until this thread takes them again."""
        # One column or many: a segment's does not empty the buffers of sixteen.
        most_columns = 1 if n_columns == 1 else COLUMNS_TOGETHER
        size = kernels, n_bins, with_hashes, most_columns
        bound = self._by_size.get(size)

        if bound is None:
            if len(self._by_size) >= MOST_SIZES:
                self._by_size.clear()
            buffers = CountBuffers(n_bins, with_hashes=with_hashes, n_columns=most_columns)
            bound = _Bound(buffers, kernels.count_columns.bind(*buffers.arguments))
            self._by_size[size] = bound

        return bound


_bound_kernels = _BoundKernels()


class NumberCounter:
    """Counts chunks of one column by machine code."""

    def __init__(self, spec: CountSpec, kernels: Kernels) -> None:
        """Lay the edges out for the kernel."""
        self.kernels = kernels
        self.search = _shared_search(spec.edges.tobytes())
        self.n_bins = len(spec.edges) + 1
        self.limits = (spec.pivot, *spec.bounds, self.search.origin, self.search.scale)

    def count(self, chunk: pa.Array, known_hashes: Hashes | None) -> NumberCounts:
        """Count a chunk.

        Args:
            chunk: Numbers.
            known_hashes: The least hashes so far; None: hashes are not wanted.
        """
        (counts,) = count_together([ToCount(self, chunk, known_hashes)])
        return counts


class ToCount(NamedTuple):
    """A chunk of a column that is to be counted."""

    counter: NumberCounter
    chunk: pa.Array
    known_hashes: Hashes | None
    """See `NumberCounter.count`."""

    @property
    def shape(self) -> tuple[int, bool]:
        """What columns have in common that are counted together: bins, and whether hashes."""
        return self.counter.n_bins, self.known_hashes is not None


def count_together(columns: Sequence[ToCount]) -> list[NumberCounts]:
    """Count chunks of columns of one shape, in one call of machine code.

    Args:
        columns: At most `COLUMNS_TOGETHER`.
    """
    n_columns = len(columns)
    n_bins, with_hashes = columns[0].shape
    counters = [column.counter for column in columns]
    buffers, count_columns = _bound_kernels.take(
        counters[0].kernels, n_bins, with_hashes=with_hashes, n_columns=n_columns
    )
    buffers.empty(n_columns)

    places = ColumnPlaces(n_columns)
    n_null = []
    n_known = np.zeros(n_columns, np.int64)

    for i, column in enumerate(columns):
        n_null.append(_put(places, i, column.chunk))
        if column.known_hashes is not None:
            buffers.know(i, column.known_hashes)
            n_known[i] = len(column.known_hashes)

    count_columns(places.places, *_layout(counters), n_known)
    counted = _Counted.of(buffers, n_columns)

    found = []

    for i, column in enumerate(columns):
        hashes: Hashes | None = None
        if with_hashes:
            hashes = buffers.candidate_hashes(i) if buffers.n_new[i] else no_hashes()

        found.append(
            counted.column(
                i,
                values=column.chunk,
                n_rows=len(column.chunk),
                n_null=n_null[i],
                hashes=hashes,
            )
        )

    return found


class RunningCounts:
    """Counts batch after batch of the same columns of one shape.

    It gives to the bit what adding up the counts of each batch would. What Python does for each
    column of each batch is done once, and the hashes stay where the kernel looks them up.
    """

    def __init__(self, counters: Sequence[NumberCounter], *, with_hashes: bool) -> None:
        """Take memory, 16 KiB a column.

        Args:
            counters: At most `COLUMNS_TOGETHER`.
            with_hashes: Whether hashes are wanted.
        """
        self._counters = tuple(counters)
        self._with_hashes = with_hashes

        n_columns = len(counters)
        kernels, n_bins = counters[0].kernels, counters[0].n_bins

        self._buffers = CountBuffers(n_bins, with_hashes=with_hashes, n_columns=n_columns)

        n_known = np.zeros(n_columns, np.int64)
        self._count = kernels.count_columns.bind(
            *_layout(counters), n_known, *self._buffers.arguments
        )
        self._forget()

    def add(self, chunks: Sequence[pa.Array | None]) -> Counts:
        """Count a chunk of each column that has one.

        Returns:
            How many values of each are null or NaN.
        """
        n_columns = len(chunks)
        n_null = np.zeros(n_columns, np.int64)
        places = ColumnPlaces(n_columns)

        for i, chunk in enumerate(chunks):
            if chunk is not None:
                n_null[i] = _put(places, i, chunk)
                self._n_rows[i] += len(chunk)

        self._count(places.places)
        counted = _Counted.of(self._buffers, n_columns)
        self._buffers.empty_counts(n_columns)

        self._n_null += n_null
        self._counted.add(counted)
        n_missing: Counts = n_null + counted.tallies[:, 0]
        return n_missing

    def take(self) -> list[NumberCounts]:
        """What was counted since this was called last. The values themselves are gone."""
        taken = []

        for i in range(len(self._counters)):
            hashes = self._buffers.candidate_hashes(i) if self._with_hashes else None
            taken.append(
                self._counted.column(
                    i,
                    values=None,
                    n_rows=int(self._n_rows[i]),
                    n_null=int(self._n_null[i]),
                    hashes=hashes,
                )
            )

        self._forget()
        return taken

    def _forget(self) -> None:
        n_columns = len(self._counters)
        self._n_rows, self._n_null = np.zeros((2, n_columns), np.int64)
        self._counted = _Counted.of(self._buffers, n_columns)


def _layout(counters: Sequence[NumberCounter]) -> tuple[Counts, Floats]:
    """How the bins of columns are found, and their limits, as the kernel takes them."""
    searches = np.array([counter.search.row for counter in counters])
    limits = np.array([counter.limits for counter in counters], np.float64)
    return searches, limits


def _put(places: ColumnPlaces, i: int, chunk: pa.Array) -> int:
    """Name a chunk as the i-th column; how many of its values are null."""
    if places.put_chunk(i, chunk):
        return int(chunk.null_count)

    numbers = raw_numbers(chunk)
    places.put_values(i, numbers.values, numbers.validity, numbers.first_bit)
    return numbers.n_null


@dataclass(slots=True, kw_only=True)
class _Counted:
    """What the kernel has counted of some columns: a number, or a row of numbers, of each."""

    tallies: Counts
    counts: Counts
    sums: Floats
    least: Floats
    greatest: Floats
    totals: Floats
    shifted: Floats
    squares: Floats

    @classmethod
    def of(cls, buffers: CountBuffers, n_columns: int) -> Self:
        """Copy it from the buffers."""
        sums = buffers.bin_sums(n_columns)
        least, greatest = buffers.extremes(n_columns)

        with np.errstate(over="ignore", invalid="ignore"):
            totals = sums.sum(axis=1)

        return cls(
            tallies=buffers.tallies[:n_columns].copy(),
            counts=buffers.counts(n_columns),
            sums=sums,
            least=least,
            greatest=greatest,
            totals=totals,
            shifted=buffers.shifted(n_columns),
            squares=buffers.squares(n_columns),
        )

    def add(self, more: Self) -> None:
        """Add what was counted of more values of the same columns."""
        self.tallies += more.tallies
        self.counts += more.counts
        np.minimum(self.least, more.least, out=self.least)
        np.maximum(self.greatest, more.greatest, out=self.greatest)

        with np.errstate(over="ignore", invalid="ignore"):
            self.sums += more.sums
            self.totals += more.totals
            self.shifted += more.shifted
            self.squares += more.squares

    def column(
        self,
        i: int,
        *,
        values: pa.Array | None,
        n_rows: int,
        n_null: int,
        hashes: Hashes | None,
    ) -> NumberCounts:
        """The counts of the i-th column."""
        n_nan, n_high, n_low, n_outside = self.tallies[i].tolist()

        return NumberCounts(
            values=values,
            n_rows=n_rows,
            n_null=n_null,
            n_nan=n_nan,
            n_high=n_high,
            n_low=n_low,
            counts=self.counts[i],
            sums=self.sums[i],
            least=float(self.least[i]),
            greatest=float(self.greatest[i]),
            total=float(self.totals[i]),
            shifted=float(self.shifted[i]),
            squares=float(self.squares[i]),
            n_outside=n_outside,
            hashes=hashes,
        )


@functools.lru_cache(maxsize=4096)
def _shared_search(edges: bytes) -> BinSearch:
    """How the bins between some edges are found. Shards over the same bins lay it out once."""
    return BinSearch(np.frombuffer(edges, np.float64))


def count_categories(column: pa.ChunkedArray) -> Iterator[tuple[Any, int]]:
    """The values of a batch and their counts, without nulls.

    They come in any order, and a value may come more than once. The places of a dictionary's values
    are counted: that takes a third of Arrow's time for them, and a fifth of its time for texts.

    Args:
        column: Texts or truth values. A dictionary of them has no null among its values.
    """
    if pa.types.is_large_string(column.type) or column.type == pa.string_view():
        column = column.cast(pa.string())

    for chunk in column.chunks:
        if pa.types.is_dictionary(chunk.type) and len(chunk.dictionary) <= len(chunk):
            values, counts = _count_places(chunk)
        else:
            pairs = pc.value_counts(pc.drop_null(chunk))
            values, counts = pairs.field("values"), pairs.field("counts").to_pylist()

        yield from zip(values.to_pylist(), counts, strict=True)


def _count_places(chunk: pa.DictionaryArray) -> tuple[pa.Array, list[int]]:
    """The values of a dictionary that occur in a chunk, and how often each does."""
    n_values = len(chunk.dictionary)
    places = to_places(chunk.indices, n_values)
    counts = np.bincount(places, minlength=n_values)[:n_values]
    present = np.flatnonzero(counts)
    return chunk.dictionary.take(from_numpy(present)), counts[present].tolist()
