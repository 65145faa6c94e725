"""Streams the rows of a shard as validated batches, in bounded memory."""

import contextlib
import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nightscore.errors import CorruptFileError
from nightscore.inputs.batch_casts import ContractCasts
from nightscore.inputs.batches import Batch, Block, FileColumns, Stretch
from nightscore.inputs.blocks import WaitingBlocks, cast_blocks
from nightscore.inputs.decoding import (
    BATCHES_AT_ONCE,
    COLUMNS_AT_ONCE,
    decode_groups,
    streamed_groups,
)
from nightscore.inputs.parquet_files import open_content, open_parquet
from nightscore.inputs.prefetch import BLOCK_BYTES, PrefetchedFile, group_ranges
from nightscore.inputs.shared_columns import SharedColumns
from nightscore.inputs.small_files import SmallFiles
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
    store: Store,
    shard: Shard,
    contract: Contract,
    batch_rows: int,
    prefetch_bytes: int = 0,
    others: Sequence[Contract] = (),
) -> Iterator[Batch]:
    """The shard's rows in batches of exactly `batch_rows`, the last one smaller.

    Small files are put together into one batch: a model's call has a cost of its own. Batches of
    thousands of columns have half as many rows at least. Row groups of that size are not copied
    together.

    Args:
        store: The input.
        shard: Whose rows.
        contract: Which columns, with which types.
        batch_rows: Rows in a batch.
        prefetch_bytes: How much of remote files may be held before it is decoded; 0: nothing is
            fetched ahead.
        others: Contracts that are to be met with the same rows. Their columns are decoded too, and
            batches have their rows as they were decoded, if one needs them: see `SharedCasts`. How
            rows are cut into batches does not depend on them.

    Raises:
        CorruptFileError: A page cannot be decoded, or a file ends early.
        InputChangedError: A file is not the one that was planned.
    """
    prefetch_bytes = 0 if store.is_local else prefetch_bytes
    files = [piece.file for piece in shard.pieces]
    waiting, n_left = WaitingBlocks(), shard.n_rows

    with SmallFiles(store, files, prefetch_bytes) as small_files:
        least_rows = batch_rows
        if len(contract.needed) > COLUMNS_AT_ONCE:
            least_rows = max(1, batch_rows // 2)
        columns = SharedColumns(contract, others)
        reading = _Reading(store, columns, batch_rows, prefetch_bytes, small_files)

        for piece in shard.pieces:
            for block in reading.read_piece(piece):
                waiting.add(block)
                # What is given away is not held here while the next block is decoded.
                del block

                while waiting.n_rows >= least_rows or waiting.n_rows == n_left > 0:
                    batch = reading.make_batch(waiting.take(batch_rows))
                    n_left -= batch.n_rows
                    batch.is_last = shard.is_last and n_left == 0
                    yield batch

                    del batch


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


@dataclass(slots=True)
class _Reading:
    """How the pieces of a shard are read."""

    store: Store
    columns: SharedColumns
    batch_rows: int
    prefetch_bytes: int
    small_files: SmallFiles
    casts: ContractCasts = field(init=False)
    last_file: FileColumns | None = None
    """Most files are like the one before."""

    def __post_init__(self) -> None:
        """No file is cast yet."""
        self.casts = ContractCasts(self.columns.contract)

    def read_piece(self, piece: Piece) -> Iterator[Block]:
        """The rows of a stretch of one file."""
        file = piece.file
        n_skipped, n_left, position = piece.skip_rows, piece.n_rows, piece.first_row

        try:
            for decoded in self._decode(piece):
                rows = decoded.slice(n_skipped, n_left)
                n_rows = rows.num_rows
                n_skipped = max(0, n_skipped - decoded.num_rows)
                stretch = Stretch(file.path, position, n_rows)
                block = Block(rows, stretch, self._columns_of(rows.schema, file))
                # As above: whoever takes the block is the only one that holds its rows.
                del decoded, rows

                if n_rows:
                    yield block
                del block

                position += n_rows
                n_left -= n_rows

                if n_left == 0:
                    break
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 (what is no fault of the file is raised again)
            self._raise_read_error(error, file.path, position)

        if n_left:
            raise CorruptFileError(
                "A file has fewer rows than its footer states; nothing was published.",
                self.store.locate_url(file.path),
                expected=f"{piece.n_rows:,} rows from row {piece.first_row:,}",
                found=f"{piece.n_rows - n_left:,} rows",
                next_step=WRITE_AGAIN,
            )

    def make_batch(self, blocks: Sequence[Block]) -> Batch:
        """The blocks' rows with the contract's types."""
        try:
            batch = cast_blocks(blocks, self.casts)

        except MemoryError:
            raise
        except Exception:
            # Which file is it?
            for block in blocks:
                self._cast_alone(block)

            raise

        if self.columns.are_cast_again:
            batch.blocks = tuple(blocks)
        return batch

    def _cast_alone(self, block: Block) -> None:
        try:
            cast_blocks([block], self.casts)
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 (as above)
            self._raise_read_error(error, block.stretch.path, block.stretch.first_row)

    def _columns_of(self, schema: pa.Schema, file: InputFile) -> FileColumns:
        """The columns of a file; the same object if the last file was alike."""
        schema = schema.remove_metadata()
        if self.last_file is None or not self.last_file.is_like(schema, file.hive):
            self.last_file = FileColumns(schema, file.hive)
        return self.last_file

    def _decode(self, piece: Piece) -> Iterator[pa.Table]:
        """The needed columns of a piece's row groups, so many rows at a time."""
        names, coded = self.columns.names, self.columns.coded
        content = self.small_files.read(piece.file)

        if content is not None:
            with open_content(content, read_dictionary=coded) as parquet:
                yield from _Source(parquet).decode(piece, names, self.batch_rows)
            return

        with _open(self.store, piece.file, coded, self.prefetch_bytes) as source:
            yield from source.decode(piece, names, self.batch_rows)

    def _raise_read_error(self, error: Exception, path: str, position: int) -> NoReturn:
        where = self.store.locate_url(path)

        if is_store_error(error):
            with translated_errors(where):
                raise error

        if not isinstance(error, (pa.ArrowException, OSError, ValueError)):
            raise error

        last_row = position + BATCHES_AT_ONCE * self.batch_rows - 1
        raise CorruptFileError(
            "A file cannot be decoded; nothing was published.",
            f"{where}, in rows {position:,} to {last_row:,}",
            found=f"{type(error).__name__}: {str(error).splitlines()[0]}",
            next_step=WRITE_AGAIN,
        ) from error


@dataclass(frozen=True, slots=True)
class _Source:
    """An open file, read ahead where that is wanted."""

    parquet: "pq.ParquetFile"
    prefetched: PrefetchedFile | None = None

    def decode(self, piece: Piece, names: list[str], batch_rows: int) -> Iterator[pa.Table]:
        """These columns of a piece's row groups, some rows at a time; see `decode_groups`."""
        parquet, groups = self.parquet, piece.row_groups
        metadata = parquet.metadata
        streamed = streamed_groups(metadata, piece, batch_rows)

        if self.prefetched is None:
            yield from decode_groups(parquet, groups, names, batch_rows, streamed)
            return

        self.prefetched.expect([group_ranges(metadata, group, names) for group in groups])

        for place, group in enumerate(groups):
            self.prefetched.begin(place)
            yield from decode_groups(parquet, [group], names, batch_rows, streamed)


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
