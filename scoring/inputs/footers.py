"""Reads Parquet footers: schema, row groups and sizes, without a row.

A partition may have 100,000 files: of each is kept what a plan needs, some KB; what they have in common, once.
"""

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self, overload

import pyarrow as pa

from nightscore.arrow.parsing.client import call
from nightscore.arrow.parsing.row_groups import Layout, ParsedFooter, parse_footers
from nightscore.arrow.parsing.tails import (
    ENCRYPTED,
    TAIL_BYTES,
    NoParquetError,
    is_encrypted,
    read_tail,
)
from nightscore.errors import CorruptFileError, InputChangedError, LocationNotFoundError
from nightscore.inputs.files import content_problem
from nightscore.schemas.partition import InputFile
from nightscore.storage.errors import translated_errors
from nightscore.storage.store import Store

if TYPE_CHECKING:
    import pyarrow.parquet as pq

LOCAL_THREADS = 16
REMOTE_THREADS = 64
"""Footers are small ranged reads: latency, not bandwidth, is what many at once hide."""
NO_NULLS: frozenset[str] = frozenset()
BATCH_FILES = (32, 256)
"""Parsed in one call, of few and of many files: the next are fetched meanwhile; 256 footers are a MB or two."""
BATCHES = 8
"""Of a usual partition: more would each wait for the process apart to have its turn on a busy machine."""


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

    def __init__(
        self, places: Mapping[str, int], n_groups: int, numbers: "array[int]", first: int
    ) -> None:
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
    """The footers, in the order of the files. They are fetched here, and parsed in a process apart.

    Raises:
        CorruptFileError: Some files are no readable Parquet; all of them are named.
        InputChangedError: A file is gone since it was listed.
    """
    reading = _Reading(store)
    found: list[Footer | str] = []
    for batch, tails in _fetched(reading, files):
        found += reading.parse(batch, tails)
    problems = [item for item in found if isinstance(item, str)]
    if problems:
        raise CorruptFileError(
            f"{len(problems)} of {len(files)} files cannot be read as Parquet.",
            store.url,
            expected="complete Parquet files",
            problems=problems,
            next_step="write these files again, or move them away; a name that starts with _ or . is skipped, and "
            'input.files in a job file says which names count, such as "*.parquet"',
        )
    return [item for item in found if isinstance(item, Footer)]


def _fetched(
    reading: "_Reading", files: Sequence[InputFile]
) -> Iterator[tuple[Sequence[InputFile], list[bytes | str]]]:
    """Batches of files with their footers, or with why one has none; the next is fetched while one is parsed."""
    n_files = max(BATCH_FILES[0], min(BATCH_FILES[1], len(files) // BATCHES))
    batches = [files[i : i + n_files] for i in range(0, len(files), n_files)]
    if len(files) == 1:
        yield files, [reading.fetch(files[0])]
        return
    with ThreadPoolExecutor(LOCAL_THREADS if reading.store.is_local else REMOTE_THREADS) as threads:
        ahead = [[threads.submit(reading.fetch, file) for file in batch] for batch in batches[:1]]
        for i, batch in enumerate(batches):
            ahead += [
                [threads.submit(reading.fetch, file) for file in after]
                for after in batches[i + 1 : i + 2]
            ]
            yield batch, [future.result() for future in ahead.pop(0)]


def _gone(where: str, error: Exception) -> InputChangedError:
    return InputChangedError(
        "An input file is gone since it was listed; nothing was published.",
        where,
        found=_first_line(error),
        next_step="run again once the writer of the input is done",
    )


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else "no details"


def open_parquet(
    store: Store, file: InputFile, source: Any = None, **options: Any
) -> "pq.ParquetFile":
    """The open file, if it is still the one that was listed.

    Args:
        store: Where it is.
        file: As it was listed.
        source: What pyarrow reads from; None: the store's own file.
        options: Of `pyarrow.parquet.ParquetFile`.

    Raises:
        InputChangedError: Its size or version differs, or it is gone.
    """
    import pyarrow.parquet as pq

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


def read_columns(
    store: Store, file: InputFile, columns: Sequence[str], batch_rows: int
) -> Iterator[pa.Table]:
    """Columns of a file that is still the one that was listed, so many rows at a time. Runs in a process apart.

    Texts come as their bytes, since a file's may be no UTF-8.
    """
    with translated_errors(store.locate_url(file.path)), open_parquet(store, file) as parquet:
        for batch in parquet.iter_batches(batch_rows, columns=list(columns), use_threads=False):
            table = pa.Table.from_batches([batch])
            yield pa.table(
                [_bytes_of_texts(column) for column in table.columns], names=table.column_names
            )


def _bytes_of_texts(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The column with binary values in the place of texts; neither looked at nor copied."""
    kind = column.type
    if pa.types.is_dictionary(kind) and pa.types.is_string(kind.value_type):
        chunks = [
            pa.DictionaryArray.from_arrays(chunk.indices, chunk.dictionary.cast(pa.binary()))
            for chunk in column.chunks
        ]
        return pa.chunked_array(chunks, pa.dictionary(kind.index_type, pa.binary()))
    if pa.types.is_large_string(kind):
        return column.cast(pa.large_binary())
    return column.cast(pa.binary()) if pa.types.is_string(kind) else column


@dataclass(slots=True)
class _Numbers:
    """Of all files with one layout: those that fit into four bytes, and the others."""

    layout: Layout
    schema: pa.Schema
    """As people state it: with text where the file has it as bytes."""
    small: "array[int]" = field(default_factory=lambda: array("I"))
    large: "array[int]" = field(default_factory=lambda: array("Q"))

    def pack(self, file: InputFile, parsed: ParsedFooter) -> Footer:
        """One file's footer, its numbers beside those of the others."""
        shared = self.small if max(parsed.numbers, default=0) < 1 << 32 else self.large
        first = len(shared)
        shared.extend(parsed.numbers.tolist())
        groups = RowGroups(self.layout.places, parsed.n_groups, shared, first)
        nulls, uncounted = parsed.with_nulls or NO_NULLS, parsed.uncounted or NO_NULLS
        return Footer(file, self.schema, groups, parsed.ranges, nulls, uncounted)


class _Reading:
    """One reading of many footers: what they have in common is kept once."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._alike: dict[tuple[int, ...], list[_Numbers]] = {}
        self._tail_bytes = TAIL_BYTES

    def fetch(self, file: InputFile) -> bytes | str:
        """The file's footer as it stands there, or why it has none."""
        where = self.store.locate_url(file.path)
        try:
            if problem := content_problem(self.store, file):
                return problem
            tail = read_tail(self.store, file.path, file.size_bytes, self._tail_bytes)
        except (LocationNotFoundError, FileNotFoundError) as error:
            raise _gone(where, error) from error
        except NoParquetError as error:
            return _problem(file, str(error))
        if len(tail) > self._tail_bytes:
            self._tail_bytes = len(tail) + len(tail) // 8  # of files that are alike
        return tail

    def parse(self, files: Sequence[InputFile], tails: Sequence[bytes | str]) -> list[Footer | str]:
        """The footers, or what is wrong with each file."""
        pairs = [
            (file, tail) for file, tail in zip(files, tails, strict=True) if isinstance(tail, bytes)
        ]
        parsed = iter(self._parse_all(pairs))
        known: dict[int, _Numbers] = {}

        found: list[Footer | str] = []
        for file, tail in zip(files, tails, strict=True):
            item = tail if isinstance(tail, str) else next(parsed)
            if isinstance(item, str):
                found.append(item)
                continue
            numbers = known.get(id(item.layout)) or self._numbers_of(item.layout)
            known[id(item.layout)] = numbers
            found.append(numbers.pack(file, item))
        return found

    def _parse_all(self, pairs: Sequence[tuple[InputFile, bytes]]) -> list[ParsedFooter | str]:
        """Where the process dies of one of the files, each is parsed alone, so that it is known of which."""
        try:
            return self._parse_batch(pairs)
        except CorruptFileError:
            return [self._parse_alone(file, tail) for file, tail in pairs]

    def _parse_batch(self, pairs: Sequence[tuple[InputFile, bytes]]) -> list[ParsedFooter | str]:
        if not pairs:
            return []
        tails = [tail for _, tail in pairs]
        where = self.store.locate_url(pairs[0][0].path)
        parsed = call(parse_footers, tails, where=where, attempts=1)
        return [self._explained(*pair, item) for pair, item in zip(pairs, parsed, strict=True)]

    def _parse_alone(self, file: InputFile, tail: bytes) -> ParsedFooter | str:
        if is_encrypted(tail):  # of many such files, each would end a process
            return _problem(file, ENCRYPTED)
        try:
            return self._parse_batch([(file, tail)])[0]
        except CorruptFileError as error:
            return _problem(file, error.found)

    def _explained(
        self, file: InputFile, tail: bytes, item: ParsedFooter | str
    ) -> ParsedFooter | str:
        if isinstance(item, str):
            return _problem(file, ENCRYPTED if is_encrypted(tail) else item)
        return item

    def _numbers_of(self, layout: Layout) -> _Numbers:
        alike = self._alike.setdefault(layout.leaves, [])
        for known in alike:
            if known.layout.places == layout.places and known.layout.schema.equals(
                layout.schema, check_metadata=True
            ):
                return known
        # Imported here: the process apart imports this module, and has no NumPy.
        from nightscore.arrow.texts import stated_schema

        numbers = _Numbers(layout, stated_schema(layout.schema))
        alike.append(numbers)
        return numbers


def _problem(file: InputFile, what: str) -> str:
    return f"{file.path} ({file.size_bytes:,} bytes): {what}"
