"""Writes predictions as Parquet parts, hashed while they are written."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import pyarrow as pa

from nightscore.arrow.parsing.decode import part_stats
from nightscore.arrow.parsing.files import read_facts
from nightscore.errors import CorruptFileError, LocationNotFoundError, ScoringError
from nightscore.schemas.manifest import FileRecord
from nightscore.storage.errors import translated_errors
from nightscore.storage.hashing import HashingFile
from nightscore.storage.store import Store

ROW_GROUP_ROWS = 131_072
"""Small batches would make tiny row groups, which readers pay for."""

ROW_GROUP_BYTES = 64 << 20
"""Wide rows are encoded earlier: what waits is memory."""


@dataclass(frozen=True, slots=True)
class WrittenPart:
    """A closed Parquet file."""

    file: FileRecord
    stats: str
    """Statistics as Delta's transaction log has them (JSON)."""


class PartWriter:
    """One Parquet file: a context manager; without `close` nothing appears on an object store."""

    def __init__(
        self,
        store: Store,
        path: str,
        schema: pa.Schema,
        *,
        keep_types: bool,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        """Open the file.

        Args:
            store: Where to.
            path: Of the new file, below the store.
            schema: Of the batches.
            keep_types: Store the Arrow schema, so that dictionaries come back as such; a Delta table has its own.
            metadata: Kept in the footer.
        """
        import pyarrow.parquet as pq

        self._store, self._path, self._where = store, path, store.locate_url(path)
        self._file = HashingFile(store.open_output(path))
        self._metadata: list[Any] = []
        repeated = [field.name for field in schema if pa.types.is_dictionary(field.type)]
        self._writer = pq.ParquetWriter(
            self._file,
            schema,
            compression="zstd",
            use_dictionary=repeated or False,
            write_page_checksum=True,
            store_schema=keep_types,
            metadata_collector=self._metadata,
        )
        if metadata:
            self._writer.add_key_value_metadata(dict(metadata))
        self._waiting: list[pa.Table] = []
        self._n_waiting = 0
        self._n_waiting_bytes = 0
        self.n_rows = 0

    def write(self, table: pa.Table) -> None:
        """Append rows; they are encoded once a row group is full."""
        self._waiting.append(table)
        self._n_waiting += table.num_rows
        self.n_rows += table.num_rows
        self._n_waiting_bytes += table.nbytes
        if self._n_waiting >= ROW_GROUP_ROWS or self._n_waiting_bytes >= ROW_GROUP_BYTES:
            self._flush()

    def close(self) -> WrittenPart:
        """Make the file whole and durable."""
        with translated_errors(self._where):
            self._flush()
            self._writer.close()
            self._file.close()
        record = FileRecord(
            path=self._path,
            size_bytes=self._file.size_bytes,
            rows=self.n_rows,
            sha256=self._file.sha256,
        )
        return WrittenPart(record, part_stats(self._metadata[0]))

    def _flush(self) -> None:
        if self._waiting:
            with translated_errors(self._where):
                table = pa.concat_tables(self._waiting).unify_dictionaries()
                self._writer.write_table(table, row_group_size=ROW_GROUP_ROWS)
            self._waiting, self._n_waiting, self._n_waiting_bytes = [], 0, 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._file.abort()
            with contextlib.suppress(ScoringError, OSError):
                self._store.delete(
                    [self._path]
                )  # on a disk; an object store has nothing before the file is whole


def find_parts(store: Store, files: Mapping[str, FileRecord]) -> tuple[WrittenPart, ...]:
    """Files that were written earlier, with their statistics.

    Args:
        store: Where they are.
        files: Their records by their paths now.

    Raises:
        LocationNotFoundError: Some are gone, have another size or cannot be read; all of them are named.
    """
    found, problems = [], []
    for path, record in files.items():
        try:
            size = store.describe(path).size_bytes
            if size != record.size_bytes:
                problems.append(f"{path}: {size:,} bytes, {record.size_bytes:,} were written")
                continue
            placed = record.model_copy(update={"path": path})
            found.append(WrittenPart(placed, read_facts(store, path, size).stats))
        except LocationNotFoundError:
            problems.append(f"{path}: is gone")
        except CorruptFileError as error:
            problems.append(f"{path}: {error.found}")
    if problems:
        raise LocationNotFoundError(
            "The results are not there any more in full; nothing was changed.",
            store.url,
            problems=problems,
            next_step="`nightscore clean --superseded-days` may have removed them; score the partition again instead",
        )
    return tuple(found)
