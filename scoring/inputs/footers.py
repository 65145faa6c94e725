"""Reads Parquet footers: schema, row groups and sizes, without a row.

A partition may have 100,000 files: of each is kept what a plan needs, some KB; what they have in common, once.
"""

import threading
from array import array
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Self, overload

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.partition import InputFile
from scoring.errors import CorruptFileError, InputChangedError, LocationNotFoundError, ScoringError
from scoring.inputs.casts import plain_type
from scoring.storage import Store, explained, is_store_error
from scoring.texts import stated_schema

LOCAL_THREADS = 16
REMOTE_THREADS = 64
"""Footers are small ranged reads: latency, not bandwidth, is what many at once hide."""
NO_NULLS: frozenset[str] = frozenset()
WIDE = (pa.int64(), pa.uint64())
TAIL_BYTES = 64 << 10
"""Of a remote file, read at once: most footers are smaller, and a second request costs latency."""


@dataclass(frozen=True, slots=True)
class RowGroup:
    """Sizes of one row group."""

    n_rows: int
    compressed: Mapping[str, int]
    """Bytes of each top-level column on the store."""
    uncompressed: Mapping[str, int]


class RowGroups(Sequence[RowGroup]):
    """The row groups of a file, a stretch of an array that it shares with others: dictionaries are 15 times as large,
    and an array a file leaves memory in pieces."""

    __slots__ = ("_first", "_n_groups", "_numbers", "_places")

    def __init__(self, places: Mapping[str, int], n_groups: int, numbers: "array[int]", first: int) -> None:
        """A stretch of numbers: rows of each row group, then compressed, then uncompressed bytes of all its columns.

        Args:
            places: Top-level column to its place in a row group.
            n_groups: Row groups of the file.
            numbers: Of many files.
            first: Where those of this file begin.
        """
        self._places, self._n_groups, self._numbers, self._first = places, n_groups, numbers, first

    @classmethod
    def of(cls, groups: Sequence[RowGroup]) -> Self:
        """The same, packed."""
        names = list(dict.fromkeys(name for group in groups for name in group.compressed))
        numbers = [group.n_rows for group in groups]
        numbers += [group.compressed.get(name, 0) for group in groups for name in names]
        numbers += [group.uncompressed.get(name, 0) for group in groups for name in names]
        return cls({name: i for i, name in enumerate(names)}, len(groups), array("Q", numbers), 0)

    @property
    def rows(self) -> Sequence[int]:
        """Of each row group."""
        return self._numbers[self._first : self._first + self._n_groups]

    def compressed_bytes(self, names: Iterable[str]) -> list[int]:
        """Of these columns, a row group each; a column that the file does not have has none."""
        return self._sums(0, names)

    def uncompressed_bytes(self, names: Iterable[str]) -> list[int]:
        """The same, decompressed."""
        return self._sums(self._n_groups, names)

    def _sums(self, group: int, names: Iterable[str]) -> list[int]:
        places = [place for name in names if (place := self._places.get(name)) is not None]
        starts = [self._start(group + i) for i in range(self._n_groups)]
        numbers = self._numbers
        return [sum([numbers[start + place] for place in places]) for start in starts]

    def _start(self, group: int) -> int:
        """Of a row group's compressed sizes; its uncompressed ones are those of the group `n_groups` further."""
        return self._first + self._n_groups + group * len(self._places)

    def __len__(self) -> int:
        return self._n_groups

    @overload
    def __getitem__(self, index: int) -> RowGroup: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[RowGroup, ...]: ...
    def __getitem__(self, index: int | slice) -> RowGroup | tuple[RowGroup, ...]:
        if isinstance(index, slice):
            return tuple(self[i] for i in range(*index.indices(len(self))))
        group = range(self._n_groups)[index]
        compressed, uncompressed = (
            {name: self._numbers[start + place] for name, place in self._places.items()}
            for start in (self._start(group), self._start(self._n_groups + group))
        )
        return RowGroup(self._numbers[self._first + group], compressed, uncompressed)


@dataclass(frozen=True, slots=True)
class Footer:
    """What one file says about itself."""

    file: InputFile
    schema: pa.Schema
    """The same object for all files that have the same."""
    row_groups: RowGroups
    ranges: Mapping[str, tuple[int, int]]
    """Least and greatest value of 64-bit integer columns, as far as the row groups state them."""
    with_nulls: frozenset[str] = NO_NULLS
    """Columns of integers or truth values that have nulls, as far as the row groups state it."""
    uncounted: frozenset[str] = NO_NULLS
    """Such columns that may have nulls, and of which not all row groups state how many."""

    @property
    def n_rows(self) -> int:
        return sum(self.row_groups.rows)


def read_footers(store: Store, files: Sequence[InputFile]) -> list[Footer]:
    """The footers, in the order of the files.

    Raises:
        CorruptFileError: Some files are no readable Parquet; all of them are named.
        InputChangedError: A file is gone since it was listed.
    """

    reading = _Reading(store)

    def attempt(file: InputFile) -> Footer | str:
        where = store.locate_url(file.path)
        try:
            return reading.read(file)
        except (LocationNotFoundError, FileNotFoundError) as error:
            raise _gone(where, error) from error
        except (ScoringError, MemoryError):
            raise
        except Exception as error:
            if is_store_error(error):
                with explained(where):
                    raise
            if not isinstance(error, (pa.ArrowException, OSError, ValueError, OverflowError)):
                raise
            return f"{file.path} ({file.size_bytes:,} bytes): {type(error).__name__}: {_first_line(error)}"

    if len(files) == 1:
        found = [attempt(files[0])]
    else:
        with ThreadPoolExecutor(LOCAL_THREADS if store.is_local else REMOTE_THREADS) as threads:
            found = list(threads.map(attempt, files))
    problems = [item for item in found if isinstance(item, str)]
    if problems:
        raise CorruptFileError(
            f"{len(problems)} of {len(files)} files cannot be read as Parquet.",
            store.url,
            expected="complete Parquet files",
            problems=problems,
            next_step="write these files again, or move them away; a name that starts with _ or . is skipped",
        )
    return [item for item in found if isinstance(item, Footer)]


def _gone(where: str, error: Exception) -> InputChangedError:
    return InputChangedError(
        "An input file is gone since it was listed; nothing was published.",
        where,
        found=_first_line(error),
        next_step="run again once the writer of the input is done",
    )


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else "no details"


def open_parquet(store: Store, file: InputFile, source: Any = None, **options: Any) -> pq.ParquetFile:
    """The open file, if it is still the one that was listed.

    Args:
        store: Where it is.
        file: As it was listed.
        source: What pyarrow reads from; None: the store's own file.
        options: Of `pyarrow.parquet.ParquetFile`.

    Raises:
        InputChangedError: Its size or version differs, or it is gone.
    """
    try:
        now = store.describe(file.path)
    except LocationNotFoundError as error:
        raise _gone(store.locate_url(file.path), error) from error
    if (now.size_bytes, now.version) != (file.size_bytes, file.version):
        raise InputChangedError(
            "An input file changed after it was listed; nothing was published.",
            store.locate_url(file.path),
            expected=f"{file.size_bytes:,} bytes, version {file.version}",
            found=f"{now.size_bytes:,} bytes, version {now.version}",
            next_step="run again once the writer of the input is done",
        )
    source = store.open_input(file.path) if source is None else source
    return pq.ParquetFile(source, pre_buffer=False, page_checksum_verification=True, **options)


@dataclass(frozen=True, slots=True)
class _Layout:
    """What files with the same columns have in common."""

    schema: pa.Schema
    places: Mapping[str, int]
    """Top-level column to its place among the sizes."""
    leaves: tuple[int, ...]
    """The place of each column chunk of a row group."""
    integers: tuple[tuple[int, str, bool], ...]
    """Column chunks of integers and truth values: number, name, whether of 64 bits."""
    optional: frozenset[str]
    """Those of them that may have nulls."""
    small: "array[int]" = field(default_factory=lambda: array("I"))
    large: "array[int]" = field(default_factory=lambda: array("Q"))
    """Numbers of all files: those that fit into four bytes, and the others."""


class _Reading:
    """One reading of many footers: what they have in common is kept once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._layouts: dict[tuple[str, ...], list[_Layout]] = {}
        self._tail_bytes = TAIL_BYTES
        self._lock = threading.Lock()

    def read(self, file: InputFile) -> Footer:
        """One footer; any error of Arrow's, of the store's, or ValueError."""
        if file.size_bytes < 12:
            raise ValueError("too short to be Parquet (12 bytes at least)")
        if not self._store.is_local and (parquet := self._from_tail(file)) is not None:
            return self._footer(file, parquet)
        with pq.ParquetFile(self._store.open_input(file.path)) as parquet:
            return self._footer(file, parquet)

    def _from_tail(self, file: InputFile) -> Any:
        """The footer out of the last bytes of a file that is as long as it was listed: one request.

        None if it cannot be had so: then the file is opened, which asks for its length first, and says what is wrong.
        """
        n_bytes = min(self._tail_bytes, file.size_bytes)
        tail = self._store.read_range(file.path, file.size_bytes - n_bytes, file.size_bytes)
        if len(tail) < n_bytes or tail[-4:] != b"PAR1":
            return None
        n_footer = int.from_bytes(tail[-8:-4], "little") + 8
        if n_footer > n_bytes:
            if n_footer > file.size_bytes:
                return None
            self._tail_bytes = max(self._tail_bytes, n_footer + n_footer // 8)  # of files that are alike
            tail = self._store.read_range(file.path, file.size_bytes - n_footer, file.size_bytes - n_bytes) + tail
        try:
            return pq.ParquetFile(pa.BufferReader(tail))
        except (pa.ArrowException, OSError):
            return None

    def _footer(self, file: InputFile, parquet: pq.ParquetFile) -> Footer:
        metadata = parquet.metadata
        layout = self._layout_of(stated_schema(parquet.schema_arrow.remove_metadata()), metadata)
        rows: list[int] = []
        compressed: list[int] = []
        uncompressed: list[int] = []
        ranges: dict[str, tuple[int, int]] = {}
        with_nulls: set[str] = set()
        uncounted: set[str] = set()
        width = len(layout.places)
        for i in range(metadata.num_row_groups):
            group = metadata.row_group(i)
            rows.append(group.num_rows)
            first = len(compressed)
            compressed += [0] * width
            uncompressed += [0] * width
            for j, place in enumerate(layout.leaves):
                column = group.column(j)
                compressed[first + place] += column.total_compressed_size
                uncompressed[first + place] += column.total_uncompressed_size
            for j, name, is_wide in layout.integers:
                stats = group.column(j).statistics
                if name in layout.optional and (stats is None or not stats.has_null_count):
                    uncounted.add(name)
                if stats is None:
                    continue
                if stats.has_null_count and stats.null_count:
                    with_nulls.add(name)
                if is_wide and stats.has_min_max:
                    low, high = ranges.get(name, (stats.min, stats.max))
                    ranges[name] = (min(low, stats.min), max(high, stats.max))
        if sum(rows) != metadata.num_rows:
            raise ValueError("the footer's row counts contradict each other")
        numbers = [*rows, *compressed, *uncompressed]
        shared = layout.small if max(numbers, default=0) < 1 << 32 else layout.large
        with self._lock:
            first = len(shared)
            shared.extend(numbers)
        groups = RowGroups(layout.places, len(rows), shared, first)
        nulls = frozenset(with_nulls) if with_nulls else NO_NULLS
        unsaid = frozenset(uncounted - with_nulls) if uncounted else NO_NULLS
        return Footer(file, layout.schema, groups, ranges, nulls, unsaid)

    def _layout_of(self, schema: pa.Schema, metadata: Any) -> _Layout:
        # `metadata.schema` would be shorter, and would keep the footer alive until the next collection of garbage.
        first = metadata.row_group(0) if metadata.num_row_groups else None
        paths = tuple(first.column(j).path_in_schema for j in range(first.num_columns)) if first else ()
        with self._lock:
            return self._find_layout(schema, paths)

    def _find_layout(self, schema: pa.Schema, paths: tuple[str, ...]) -> _Layout:
        alike = self._layouts.setdefault(paths, [])
        for known in alike:
            if known.schema.equals(schema, check_metadata=True):
                return known
        names = frozenset(schema.names)
        of_leaves = [path if path in names else path.split(".")[0] for path in paths]
        places = {name: i for i, name in enumerate(dict.fromkeys(of_leaves))}
        plain = {field.name: plain_type(field.type) for field in schema}
        whole = {name: kind for name, kind in plain.items() if pa.types.is_integer(kind) or pa.types.is_boolean(kind)}
        integers = {name: kind in WIDE for name, kind in whole.items()}
        found = _Layout(
            schema,
            places,
            tuple(places[name] for name in of_leaves),
            tuple((j, path, integers[path]) for j, path in enumerate(paths) if path in integers),
            frozenset(field.name for field in schema if field.name in whole and field.nullable),
        )
        alike.append(found)
        return found
