"""Reads Parquet footers: schema, row groups and sizes, without a row."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.partition import InputFile
from scoring.errors import CorruptFileError, InputChangedError, LocationNotFoundError, ScoringError
from scoring.storage import Store, explained, is_store_error

FOOTER_THREADS = 16
"""Footers are small ranged reads: latency, not bandwidth, is what many at once hide."""


@dataclass(frozen=True, slots=True)
class RowGroup:
    """Sizes of one row group."""

    n_rows: int
    compressed: dict[str, int]
    """Bytes of each top-level column on the store."""
    uncompressed: dict[str, int]


@dataclass(frozen=True, slots=True)
class Footer:
    """What one file says about itself."""

    file: InputFile
    schema: pa.Schema
    row_groups: tuple[RowGroup, ...]
    ranges: dict[str, tuple[int, int]]
    """Least and greatest value of 64-bit integer columns, as far as the row groups state them."""
    with_nulls: frozenset[str] = frozenset()
    """Integer columns that have nulls, as far as the row groups state it."""

    @property
    def n_rows(self) -> int:
        return sum(group.n_rows for group in self.row_groups)


def read_footers(store: Store, files: Sequence[InputFile]) -> list[Footer]:
    """The footers, in the order of the files.

    Raises:
        CorruptFileError: Some files are no readable Parquet; all of them are named.
        InputChangedError: A file is gone since it was listed.
    """

    def attempt(file: InputFile) -> Footer | str:
        where = store.locate_url(file.path)
        try:
            return _read(store, file)
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

    with ThreadPoolExecutor(FOOTER_THREADS) as threads:
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


def open_parquet(store: Store, file: InputFile, **options: Any) -> pq.ParquetFile:
    """The open file, if it is still the one that was listed.

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
    return pq.ParquetFile(store.open_input(file.path), pre_buffer=False, page_checksum_verification=True, **options)


def _read(store: Store, file: InputFile) -> Footer:
    if file.size_bytes < 12:
        raise ValueError("too short to be Parquet (12 bytes at least)")
    with pq.ParquetFile(store.open_input(file.path)) as parquet:
        metadata = parquet.metadata
        schema = parquet.schema_arrow.remove_metadata()
        names = frozenset(schema.names)
        groups = tuple(_row_group(metadata.row_group(i), names) for i in range(metadata.num_row_groups))
        if sum(group.n_rows for group in groups) != metadata.num_rows:
            raise ValueError("the footer's row counts contradict each other")
        return Footer(file, schema, groups, *_statistics(metadata, schema))


def _row_group(group: Any, names: frozenset[str]) -> RowGroup:
    compressed: dict[str, int] = {}
    uncompressed: dict[str, int] = {}
    for j in range(group.num_columns):
        column = group.column(j)
        path = column.path_in_schema
        name = path if path in names else path.split(".")[0]
        compressed[name] = compressed.get(name, 0) + column.total_compressed_size
        uncompressed[name] = uncompressed.get(name, 0) + column.total_uncompressed_size
    return RowGroup(group.num_rows, compressed, uncompressed)


def _statistics(metadata: Any, schema: pa.Schema) -> tuple[dict[str, tuple[int, int]], frozenset[str]]:
    integers = {field.name for field in schema if pa.types.is_integer(field.type)}
    wide = {field.name for field in schema if field.type in (pa.int64(), pa.uint64())}
    ranges: dict[str, tuple[int, int]] = {}
    with_nulls: set[str] = set()
    for i in range(metadata.num_row_groups if integers else 0):
        group = metadata.row_group(i)
        for j in range(group.num_columns):
            column = group.column(j)
            name = column.path_in_schema
            stats = column.statistics if name in integers else None
            if stats is None:
                continue
            if stats.has_null_count and stats.null_count:
                with_nulls.add(name)
            if name in wide and stats.has_min_max:
                low, high = ranges.get(name, (stats.min, stats.max))
                ranges[name] = (min(low, stats.min), max(high, stats.max))
    return ranges, frozenset(with_nulls)
