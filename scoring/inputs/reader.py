"""Streams the rows of a shard as validated batches, in bounded memory."""

import contextlib
import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nightscore.arrow.texts import stated_schema
from nightscore.errors import CorruptFileError
from nightscore.inputs.batch_casts import FileCasts
from nightscore.inputs.batches import Batch, Stretch, cut_batch, join_batches
from nightscore.inputs.parquet_files import open_parquet
from nightscore.inputs.prefetch import BLOCK_BYTES, PrefetchedFile, group_ranges
from nightscore.schemas.contract import Contract
from nightscore.schemas.partition import InputFile, Piece, Shard
from nightscore.storage.errors import is_store_error, translated_errors
from nightscore.storage.store import Store

if TYPE_CHECKING:
    import pyarrow.parquet as pq

LOCAL_BUFFER_BYTES = 256 << 10
REMOTE_BUFFER_BYTES = 1 << 20
"""Bytes read at once from a column chunk. Without a bound pyarrow holds whole chunks; a remote
request costs latency."""
WRITE_AGAIN = "write this file again, then run again"


def read_batches(
    store: Store, shard: Shard, contract: Contract, batch_rows: int, prefetch_bytes: int = 0
) -> Iterator[Batch]:
    """The shard's rows in batches of exactly `batch_rows`, the last one smaller.

    Small files are put together into one batch: a model's call has a cost of its own.

    Args:
        store: The input.
        shard: Whose rows.
        contract: Which columns, with which types.
        batch_rows: Rows in a batch.
        prefetch_bytes: How much of a remote file may be held before it is decoded; 0: nothing is
            fetched ahead.

    Raises:
        CorruptFileError: A page cannot be decoded, or a file ends early.
        InputChangedError: A file is not the one that was planned.
    """
    reading = _Reading(store, contract, batch_rows, 0 if store.is_local else prefetch_bytes)
    waiting: list[Batch] = []
    n_waiting, n_left = 0, shard.n_rows

    for piece in shard.pieces:
        for batch in reading.read_piece(piece):
            waiting.append(batch)
            n_waiting += batch.n_rows
            # What is given away is not held here while the next batch is decoded.
            del batch

            while n_waiting >= batch_rows or n_waiting == n_left > 0:
                whole, waiting = join_batches(waiting), []
                head, rest = whole, None

                if n_waiting > batch_rows:
                    head, rest = cut_batch(whole, batch_rows)
                    waiting.append(rest)

                n_waiting -= head.n_rows
                n_left -= head.n_rows
                head.is_last = shard.is_last and n_left == 0
                del whole, rest
                yield head

                del head


def read_rows(
    store: Store, file: InputFile, rows: npt.NDArray[np.int64], batch_rows: int
) -> Iterator[tuple[pa.Table, npt.NDArray[np.int64]]]:
    """All columns of chosen rows, with their positions. Row groups without such rows are not read.

    Args:
        store: The input.
        file: One file.
        rows: Positions in the file, ascending.
        batch_rows: Rows decoded at once.
    """
    with open_parquet(store, file, buffer_size=_buffer_bytes(store)) as parquet:
        start = 0
        for group in range(parquet.metadata.num_row_groups):
            end = start + parquet.metadata.row_group(group).num_rows
            wanted = rows[(rows >= start) & (rows < end)]
            position = start

            for batch in parquet.iter_batches(batch_rows, [group]) if len(wanted) else ():
                is_here = (wanted >= position) & (wanted < position + batch.num_rows)
                chosen = wanted[is_here]
                if len(chosen):
                    table = pa.Table.from_batches([batch])
                    yield table.take(pa.array(chosen - position)), chosen

                position += batch.num_rows

            start = end


def _buffer_bytes(store: Store) -> int:
    if store.is_local:
        return LOCAL_BUFFER_BYTES
    return REMOTE_BUFFER_BYTES


@dataclass(frozen=True, slots=True)
class _Reading:
    """How the pieces of a shard are read."""

    store: Store
    contract: Contract
    batch_rows: int
    prefetch_bytes: int

    def read_piece(self, piece: Piece) -> Iterator[Batch]:
        """The rows of a stretch of one file."""
        file = piece.file
        n_skipped, n_left, position = piece.skip_rows, piece.n_rows, piece.first_row

        with _open(
            self.store, file, sorted(self.contract.dictionaries), self.prefetch_bytes
        ) as source:
            schema = stated_schema(source.parquet.schema_arrow)
            names = [name for name in self.contract.needed if name in schema.names]

            casts = FileCasts.for_file(schema, self.contract, dict(file.hive))
            try:
                for decoded in source.decode(piece.row_groups, names, self.batch_rows):
                    rows = decoded.slice(n_skipped, n_left)
                    n_skipped = max(0, n_skipped - decoded.num_rows)

                    if rows.num_rows:
                        yield casts.cast(rows, Stretch(file.path, position, rows.num_rows))

                    position += rows.num_rows
                    n_left -= rows.num_rows

                    if n_left == 0:
                        break
            except MemoryError:
                raise
            except Exception as error:  # noqa: BLE001 (what is no fault of the file is raised again)
                self._raise_read_error(error, file, position)

        if n_left:
            raise CorruptFileError(
                "A file has fewer rows than its footer states; nothing was published.",
                self.store.locate_url(file.path),
                expected=f"{piece.n_rows:,} rows from row {piece.first_row:,}",
                found=f"{piece.n_rows - n_left:,} rows",
                next_step=WRITE_AGAIN,
            )

    def _raise_read_error(self, error: Exception, file: InputFile, position: int) -> NoReturn:
        where = self.store.locate_url(file.path)

        if is_store_error(error):
            with translated_errors(where):
                raise error

        if not isinstance(error, (pa.ArrowException, OSError, ValueError)):
            raise error

        raise CorruptFileError(
            "A file cannot be decoded; nothing was published.",
            f"{where}, in rows {position:,} to {position + self.batch_rows - 1:,}",
            found=f"{type(error).__name__}: {str(error).splitlines()[0]}",
            next_step=WRITE_AGAIN,
        ) from error


@dataclass(frozen=True, slots=True)
class _Source:
    """An open file, read ahead where that is wanted."""

    parquet: "pq.ParquetFile"
    prefetched: PrefetchedFile | None = None

    def decode(
        self, groups: Sequence[int], names: list[str], batch_rows: int
    ) -> Iterator[pa.RecordBatch]:
        """These columns of these row groups, so many rows at a time."""
        read = functools.partial(
            self.parquet.iter_batches, batch_rows, columns=names, use_threads=False
        )

        if self.prefetched is None:
            yield from read(row_groups=list(groups))
            return

        metadata = self.parquet.metadata
        self.prefetched.expect([group_ranges(metadata, group, names) for group in groups])

        for place, group in enumerate(groups):
            self.prefetched.begin(place)
            yield from read(row_groups=[group])


@contextlib.contextmanager
def _open(
    store: Store, file: InputFile, coded: list[str], prefetch_bytes: int
) -> Iterator[_Source]:
    """The file; texts of the columns `coded` stay dictionary codes."""
    if not prefetch_bytes:
        buffer_bytes = _buffer_bytes(store)
        with open_parquet(store, file, buffer_size=buffer_bytes, read_dictionary=coded) as parquet:
            yield _Source(parquet)
        return

    fetch = functools.partial(store.read_range, file.path)
    with (
        PrefetchedFile(fetch, file.size_bytes, prefetch_bytes) as prefetched,
        open_parquet(
            store, file, prefetched, buffer_size=BLOCK_BYTES, read_dictionary=coded
        ) as parquet,
    ):
        yield _Source(parquet, prefetched)
