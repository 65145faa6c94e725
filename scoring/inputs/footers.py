"""Reads Parquet footers: schema, row groups and sizes, without a row.

A partition may have 100,000 files. Of each file a plan needs some KB; what the files have in
common is held once.
"""

import itertools
from array import array
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

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
from nightscore.arrow.texts import stated_schema
from nightscore.errors import CorruptFileError, LocationNotFoundError
from nightscore.inputs.files import content_problem
from nightscore.inputs.parquet_files import gone_error
from nightscore.inputs.row_group_sizes import RowGroups
from nightscore.schemas.partition import InputFile
from nightscore.storage.store import Store

LOCAL_THREADS = 16
REMOTE_THREADS = 64
"""Footers are small ranged reads: many at once hide latency, not bandwidth."""
LOCAL_READS = 16
"""Footers that a thread reads in one go from a disk: handing each over takes longer than reading
it."""
NO_NULLS: frozenset[str] = frozenset()
BATCH_FILES = (32, 256)
"""Files that are parsed in one call, of few and of many files. The next are fetched meanwhile; 256
footers are a MB or two."""
BATCHES = 8
"""Of a usual partition. With more, each would wait for the parsing process to have its turn on a
busy machine."""
FOUR_BYTES = 1 << 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Footer:
    """What one file says about itself."""

    file: InputFile
    schema: pa.Schema
    """The same object for all files that have the same."""
    row_groups: RowGroups
    ranges: Mapping[str, tuple[int, int]]
    """Least and greatest value of 64-bit integer columns, as far as the row groups state them."""
    with_nulls: frozenset[str] = NO_NULLS
    """Columns of integers or booleans that have nulls, as far as the row groups state it."""
    uncounted: frozenset[str] = NO_NULLS
    """Such columns that may have nulls, where some row group does not state how many."""

    @property
    def n_rows(self) -> int:
        """Rows of the file."""
        return sum(self.row_groups.rows)


def read_footers(store: Store, files: Sequence[InputFile]) -> list[Footer]:
    """The footers, in the order of the files. They are parsed in a process of its own.

    Raises:
        CorruptFileError: Some files are no readable Parquet; all of them are named.
        InputChangedError: A file is gone since it was listed.
    """
    reading = _Reading(store)
    results: list[Footer | str] = []
    for batch, tails in _fetch_batches(reading, files):
        results += reading.parse(batch, tails)

    footers: list[Footer] = []
    problems: list[str] = []
    for result in results:
        if isinstance(result, str):
            problems.append(result)
        else:
            footers.append(result)

    if problems:
        raise CorruptFileError(
            f"{len(problems)} of {len(files)} files cannot be read as Parquet.",
            store.url,
            expected="complete Parquet files",
            problems=problems,
            next_step="write these files again, or move them away; a name that starts with _ or . "
            "is skipped, and input.files in a job file says which names count, "
            'such as "*.parquet"',
        )

    return footers


def _fetch_batches(
    reading: "_Reading", files: Sequence[InputFile]
) -> Iterator[tuple[Sequence[InputFile], list[bytes | str]]]:
    """Batches of files with their footers, or with why a file has none.

    The next batch is fetched while one is parsed.
    """
    if len(files) == 1:
        yield files, [reading.fetch(files[0])]
        return

    n_files = max(BATCH_FILES[0], min(BATCH_FILES[1], len(files) // BATCHES))
    batches = [files[i : i + n_files] for i in range(0, len(files), n_files)]

    with ThreadPoolExecutor(LOCAL_THREADS if reading.store.is_local else REMOTE_THREADS) as threads:

        def submit(batch: Sequence[InputFile]) -> list[Future[list[bytes | str]]]:
            n_files = LOCAL_READS if reading.store.is_local else 1
            parts = [batch[i : i + n_files] for i in range(0, len(batch), n_files)]
            return [threads.submit(reading.fetch_all, part) for part in parts]

        ahead = [submit(batch) for batch in batches[:1]]
        for i, batch in enumerate(batches):
            ahead += [submit(following) for following in batches[i + 1 : i + 2]]
            parts = [future.result() for future in ahead.pop(0)]
            yield batch, list(itertools.chain.from_iterable(parts))


@dataclass(slots=True)
class _SharedSizes:
    """Sizes of all files with one layout: those that fit into four bytes, and the others."""

    layout: Layout
    schema: pa.Schema
    """As people state it: with text where the file has it as bytes."""
    small: "array[int]" = field(default_factory=lambda: array("I"))
    large: "array[int]" = field(default_factory=lambda: array("Q"))

    def pack(self, file: InputFile, parsed: ParsedFooter) -> Footer:
        """One file's footer, its sizes beside those of the others."""
        is_small = max(parsed.numbers, default=0) < FOUR_BYTES
        shared = self.small if is_small else self.large
        first = len(shared)
        shared.extend(parsed.numbers.tolist())

        return Footer(
            file=file,
            schema=self.schema,
            row_groups=RowGroups(self.layout.places, parsed.n_groups, shared, first),
            ranges=parsed.ranges,
            with_nulls=parsed.with_nulls or NO_NULLS,
            uncounted=parsed.uncounted or NO_NULLS,
        )


class _Reading:
    """One reading of many footers: what they have in common is held once."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._by_leaves: dict[tuple[int, ...], list[_SharedSizes]] = {}
        self._tail_bytes = TAIL_BYTES

    def fetch_all(self, files: Sequence[InputFile]) -> list[bytes | str]:
        """The footers of some files, one after another."""
        return [self.fetch(file) for file in files]

    def fetch(self, file: InputFile) -> bytes | str:
        """The file's footer in bytes, or why it has none."""
        where = self.store.locate_url(file.path)

        try:
            problem = content_problem(self.store, file)
            if problem:
                return problem

            tail = read_tail(self.store, file.path, file.size_bytes, self._tail_bytes)
        except (LocationNotFoundError, FileNotFoundError) as error:
            raise gone_error(where, error) from error
        except NoParquetError as error:
            return _problem(file, str(error))

        if len(tail) > self._tail_bytes:
            # The next files are probably alike: one request each should do.
            self._tail_bytes = len(tail) + len(tail) // 8

        return tail

    def parse(self, files: Sequence[InputFile], tails: Sequence[bytes | str]) -> list[Footer | str]:
        """The footers, or what is wrong with each file."""
        fetched = []
        for file, tail in zip(files, tails, strict=True):
            if isinstance(tail, bytes):
                fetched.append((file, tail))

        parsed_footers = iter(self._parse_all(fetched))
        by_layout: dict[int, _SharedSizes] = {}
        results: list[Footer | str] = []

        for file, tail in zip(files, tails, strict=True):
            parsed = tail if isinstance(tail, str) else next(parsed_footers)
            if isinstance(parsed, str):
                results.append(parsed)
                continue

            sizes = by_layout.get(id(parsed.layout)) or self._sizes_of(parsed.layout)
            by_layout[id(parsed.layout)] = sizes
            results.append(sizes.pack(file, parsed))

        return results

    def _parse_all(self, pairs: Sequence[tuple[InputFile, bytes]]) -> list[ParsedFooter | str]:
        """If a file ends the parsing process, each file is parsed alone to learn which one."""
        try:
            return self._parse_batch(pairs)
        except CorruptFileError:
            return [self._parse_alone(file, tail) for file, tail in pairs]

    def _parse_batch(self, pairs: Sequence[tuple[InputFile, bytes]]) -> list[ParsedFooter | str]:
        if not pairs:
            return []

        where = self.store.locate_url(pairs[0][0].path)
        tails = [tail for _, tail in pairs]
        footers = call(parse_footers, tails, where=where, attempts=1)

        results = []
        for (file, tail), footer in zip(pairs, footers, strict=True):
            results.append(_explain(file, tail, footer))
        return results

    def _parse_alone(self, file: InputFile, tail: bytes) -> ParsedFooter | str:
        if is_encrypted(tail):  # of many such files, each would end a process
            return _problem(file, ENCRYPTED)
        try:
            return self._parse_batch([(file, tail)])[0]
        except CorruptFileError as error:
            return _problem(file, error.found)

    def _sizes_of(self, layout: Layout) -> _SharedSizes:
        """The sizes of all files with this layout."""
        candidates = self._by_leaves.setdefault(layout.leaves, [])
        for known in candidates:
            if known.layout.places == layout.places and known.layout.schema.equals(
                layout.schema, check_metadata=True
            ):
                return known

        sizes = _SharedSizes(layout, stated_schema(layout.schema))
        candidates.append(sizes)

        return sizes


def _explain(file: InputFile, tail: bytes, parsed: ParsedFooter | str) -> ParsedFooter | str:
    """What was parsed; if it is a problem, with the file that has it."""
    if isinstance(parsed, str):
        return _problem(file, ENCRYPTED if is_encrypted(tail) else parsed)
    return parsed


def _problem(file: InputFile, what: str) -> str:
    return f"{file.path} ({file.size_bytes:,} bytes): {what}"
