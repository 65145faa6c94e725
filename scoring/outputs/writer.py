"""Writes predictions as Parquet parts, hashed while they are written."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from nightscore.arrow.parsing.decode import part_stats
from nightscore.arrow.parsing.files import read_facts
from nightscore.errors import CorruptFileError, LocationNotFoundError, ScoringError
from nightscore.schemas.manifest import FileRecord
from nightscore.storage.errors import translated_errors
from nightscore.storage.hashing import HashingFile
from nightscore.storage.store import Store

if TYPE_CHECKING:  # a partition that is unchanged needs no Arrow
    import pyarrow as pa

ROW_GROUP_ROWS = 131_072
"""Small batches would make tiny row groups, which are slow to read."""

ROW_GROUP_BYTES = 64 << 20
"""Wide rows are encoded earlier: buffered rows take memory."""


@dataclass(frozen=True, slots=True)
class WrittenPart:
    """A closed Parquet file."""

    file: FileRecord
    stats: str
    """Statistics as Delta's transaction log has them (JSON)."""


class PartWriter:
    """One Parquet file, as a context manager. Without `close` an object store gets nothing."""

    def __init__(
        self,
        store: Store,
        path: str,
        schema: "pa.Schema",
        *,
        keep_types: bool,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        """Open the file.

        Args:
            store: Where to write.
            path: The new file, below the store.
            schema: Schema of the batches.
            keep_types: Store the Arrow schema, so that dictionaries are read as such. A Delta table
                has its own schema.
            metadata: Stored in the footer.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._store, self._path, self._where = store, path, store.locate_url(path)
        self._file = HashingFile(store.open_output(path))
        self._metadata: list[Any] = []

        encoded = [field.name for field in schema if pa.types.is_dictionary(field.type)]

        self._writer = pq.ParquetWriter(
            self._file,
            schema,
            compression="zstd",
            use_dictionary=encoded or False,
            write_page_checksum=True,
            store_schema=keep_types,
            metadata_collector=self._metadata,
        )

        if metadata:
            self._writer.add_key_value_metadata(dict(metadata))

        self._buffered: list[pa.Table] = []
        self._n_buffered_rows = 0
        self._n_buffered_bytes = 0
        self.n_rows = 0

    def write(self, table: "pa.Table") -> None:
        """Append rows. They are encoded once a row group is full."""
        self._buffered.append(table)
        self._n_buffered_rows += table.num_rows
        self._n_buffered_bytes += table.nbytes
        self.n_rows += table.num_rows

        has_rows = self._n_buffered_rows >= ROW_GROUP_ROWS
        if has_rows or self._n_buffered_bytes >= ROW_GROUP_BYTES:
            self._flush()

    def close(self) -> WrittenPart:
        """Complete the file, and make it durable."""
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
        if not self._buffered:
            return
        with translated_errors(self._where):
            import pyarrow as pa

            table = pa.concat_tables(self._buffered).unify_dictionaries()
            self._writer.write_table(table, row_group_size=ROW_GROUP_ROWS)
        self._buffered, self._n_buffered_rows, self._n_buffered_bytes = [], 0, 0

    def __enter__(self) -> Self:
        """The writer itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Discard the file after an error."""
        if kind is None:
            return
        self._file.abort()
        discard(self._store, self._path)


def discard(store: Store, path: str) -> None:
    """Remove a file that was not completed.

    On a disk it is visible already. An object store has nothing before the file is complete.
    """
    with contextlib.suppress(ScoringError, OSError):
        store.delete([path])


def find_parts(store: Store, files: Mapping[str, FileRecord]) -> tuple[WrittenPart, ...]:
    """Files that were written earlier, with their statistics.

    Args:
        store: Where they are.
        files: Their records, by their current paths.

    Raises:
        LocationNotFoundError: Some are gone, have another size or cannot be read. All of them are
            named.
    """
    parts: list[WrittenPart] = []
    problems: list[str] = []

    for path, record in files.items():
        try:
            size_bytes = store.describe(path).size_bytes
            if size_bytes != record.size_bytes:
                written = f"{record.size_bytes:,} were written"
                problems.append(f"{path}: {size_bytes:,} bytes, {written}")
                continue

            stats = read_facts(store, path, size_bytes).stats
        except LocationNotFoundError:
            problems.append(f"{path}: is gone")
        except CorruptFileError as error:
            problems.append(f"{path}: {error.found}")
        else:
            parts.append(WrittenPart(record.model_copy(update={"path": path}), stats))

    if problems:
        raise LocationNotFoundError(
            "Some files of the results are missing or damaged; nothing was changed.",
            store.url,
            problems=problems,
            next_step="`nightscore clean --superseded-days` may have removed them; score the "
            "partition again instead",
        )

    return tuple(parts)
