"""Streams the rows of a shard as validated batches, in bounded memory."""

import contextlib
import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nightscore.arrow.texts import as_text, broken_texts, stated_schema, without
from nightscore.errors import CorruptFileError
from nightscore.inputs.casts import Cast, agreed_cast, cast_column, feature_cast, is_text_of_bytes
from nightscore.inputs.footers import open_parquet
from nightscore.inputs.prefetch import BLOCK_BYTES, PrefetchedFile, group_ranges
from nightscore.schemas.contract import Contract, InputColumn
from nightscore.schemas.model import FeatureType
from nightscore.schemas.partition import InputFile, Piece, Shard
from nightscore.storage.errors import is_store_error, translated_errors
from nightscore.storage.store import Store

if TYPE_CHECKING:
    import pyarrow.parquet as pq

LOCAL_BUFFER_BYTES = 256 << 10
REMOTE_BUFFER_BYTES = 1 << 20
"""Bytes read at once from a column chunk: without a bound pyarrow holds whole chunks; a request costs latency."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Where a run of a batch's rows comes from."""

    path: str
    first_row: int
    n_rows: int


@dataclass(slots=True)
class Batch:
    """Rows in the order of their files."""

    features: pa.Table
    """The model's columns with the contract's types; null where a value would have changed."""
    kept: pa.Table
    """Keys and pass-through columns, likewise."""
    stretches: tuple[Stretch, ...]
    changed: dict[str, npt.NDArray[np.bool_]] = field(default_factory=dict)
    """Column to the rows whose value would have changed by the cast, or is text that is not UTF-8."""
    is_last: bool = False
    """Its last row is the partition's last."""

    @property
    def n_rows(self) -> int:
        return sum(stretch.n_rows for stretch in self.stretches)


def read_batches(
    store: Store, shard: Shard, contract: Contract, batch_rows: int, prefetch_bytes: int = 0
) -> Iterator[Batch]:
    """The shard's rows in batches of exactly `batch_rows`, the last one smaller.

    Small files are put together into one batch: a model's call has a cost of its own.

    Args:
        store: The input.
        shard: Whose rows.
        contract: Which columns, with which types.
        batch_rows: Rows a batch.
        prefetch_bytes: That may be held of a remote file before they are decoded; 0: nothing is fetched ahead.

    Raises:
        CorruptFileError: A page cannot be decoded, or a file ends early.
        InputChangedError: A file is not the one that was planned.
    """
    waiting: list[Batch] = []
    n_waiting, n_left = 0, shard.n_rows
    for piece in shard.pieces:
        for batch in _read_piece(store, piece, contract, batch_rows, prefetch_bytes):
            waiting.append(batch)
            n_waiting += batch.n_rows
            del batch  # what is given away is not held here while the next is decoded
            while n_waiting >= batch_rows or n_waiting == n_left > 0:
                whole, waiting = _join(waiting), []
                head, rest = _cut(whole, batch_rows) if n_waiting > batch_rows else (whole, None)
                if rest is not None:
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
    """All columns of chosen rows, with their positions; only the row groups that hold them are read.

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
                here = wanted[(wanted >= position) & (wanted < position + batch.num_rows)]
                if len(here):
                    yield pa.Table.from_batches([batch]).take(pa.array(here - position)), here
                position += batch.num_rows
            start = end


def _buffer_bytes(store: Store) -> int:
    return LOCAL_BUFFER_BYTES if store.is_local else REMOTE_BUFFER_BYTES


def _read_piece(
    store: Store, piece: Piece, contract: Contract, batch_rows: int, prefetch_bytes: int
) -> Iterator[Batch]:
    file = piece.file
    ahead = 0 if store.is_local else prefetch_bytes
    with _opened(store, file, sorted(contract.dictionaries), ahead) as (parquet, prefetched):
        schema = stated_schema(parquet.schema_arrow)
        names = [name for name in contract.needed if name in schema.names]
        casts = _casts(schema, contract)
        folders = dict(file.hive)
        skip, left, position = piece.skip_rows, piece.n_rows, piece.first_row
        try:
            for read in _decoded(parquet, prefetched, piece.row_groups, names, batch_rows):
                taken = read.slice(skip, left)
                skip = max(0, skip - read.num_rows)
                if taken.num_rows == 0:
                    if left == 0:
                        break
                    continue
                yield _validated(
                    taken, contract, casts, folders, Stretch(file.path, position, taken.num_rows)
                )
                position += taken.num_rows
                left -= taken.num_rows
                if left == 0:
                    break
        except MemoryError:
            raise
        except Exception as error:
            if is_store_error(error):
                with translated_errors(store.locate_url(file.path)):
                    raise
            if not isinstance(error, (pa.ArrowException, OSError, ValueError)):
                raise
            raise CorruptFileError(
                "A file cannot be decoded; nothing was published.",
                f"{store.locate_url(file.path)}, in rows {position:,} to {position + batch_rows - 1:,}",
                found=f"{type(error).__name__}: {str(error).splitlines()[0]}",
                next_step="write this file again, then run again",
            ) from error
    if left:
        raise CorruptFileError(
            "A file has fewer rows than its footer states; nothing was published.",
            store.locate_url(file.path),
            expected=f"{piece.n_rows:,} rows from row {piece.first_row:,}",
            found=f"{piece.n_rows - left:,} rows",
            next_step="write this file again, then run again",
        )


@contextlib.contextmanager
def _opened(
    store: Store, file: InputFile, coded: list[str], prefetch_bytes: int
) -> Iterator[tuple["pq.ParquetFile", PrefetchedFile | None]]:
    """The file, read ahead where that is wanted."""
    if not prefetch_bytes:
        with open_parquet(
            store, file, buffer_size=_buffer_bytes(store), read_dictionary=coded
        ) as parquet:
            yield parquet, None
        return
    fetch = functools.partial(store.read_range, file.path)
    with (
        PrefetchedFile(fetch, file.size_bytes, prefetch_bytes) as source,
        open_parquet(
            store, file, source, buffer_size=BLOCK_BYTES, read_dictionary=coded
        ) as parquet,
    ):
        yield parquet, source


def _decoded(
    parquet: "pq.ParquetFile",
    prefetched: PrefetchedFile | None,
    groups: Sequence[int],
    names: list[str],
    batch_rows: int,
) -> Iterator[pa.RecordBatch]:
    if prefetched is None:
        yield from parquet.iter_batches(batch_rows, list(groups), columns=names, use_threads=False)
        return
    prefetched.expect([group_ranges(parquet.metadata, group, names) for group in groups])
    for place, group in enumerate(groups):
        prefetched.begin(place)
        yield from parquet.iter_batches(batch_rows, [group], columns=names, use_threads=False)


@dataclass(frozen=True, slots=True)
class _Casts:
    """How each column of one file gets the contract's type; folders' columns are in neither."""

    features: dict[str, Cast]
    kept: dict[str, Cast]


def _casts(schema: pa.Schema, contract: Contract) -> _Casts:
    features: dict[str, Cast] = {}
    kept: dict[str, Cast] = {}
    for column in contract.features:
        found = _type_of(schema, column.name)
        if found is None:
            continue
        wanted: FeatureType = column.wanted or "any"  # type: ignore[assignment]
        cast = feature_cast(found, wanted)
        if isinstance(cast, str):
            raise CorruptFileError(
                "A file's schema is not the one of its footer.",
                problems=[cast],
                next_step="write this file again, then run again",
            )
        features[column.name] = agreed_cast(found, cast, column.type)
        if column.name in contract.dictionaries:
            features[column.name] = Cast(pa.dictionary(pa.int32(), column.type))
    for column in contract.passthrough:
        found = _type_of(schema, column.name)
        if found is not None:
            loses = (
                pa.types.is_timestamp(column.type)
                and pa.types.is_timestamp(found)
                and found.unit == "ns"
            )
            kept[column.name] = Cast(
                column.type, "exact" if loses and column.type.unit != "ns" else "none"
            )
    return _Casts(features, kept)


def _type_of(schema: pa.Schema, name: str) -> pa.DataType | None:
    index = schema.get_field_index(name)
    return schema.field(index).type if index >= 0 else None


def _validated(
    read: pa.RecordBatch,
    contract: Contract,
    casts: _Casts,
    folders: dict[str, str | None],
    stretch: Stretch,
) -> Batch:
    changed: dict[str, npt.NDArray[np.bool_]] = {}
    broken_by_column: dict[tuple[str, pa.DataType], npt.NDArray[np.bool_] | None] = {}

    def columns(wanted: Sequence[InputColumn], casts: dict[str, Cast]) -> pa.Table:
        found: dict[str, pa.ChunkedArray] = {}
        for column in wanted:
            if column.name not in casts:
                text = pa.scalar(folders.get(column.name), pa.string())
                found[column.name] = pa.chunked_array(
                    [pa.repeat(text, read.num_rows).cast(column.type)]
                )
                continue
            raw, broken = texts(column, casts[column.name])
            found[column.name], bad = cast_column(raw, casts[column.name])
            for rows in (broken, bad):
                if rows is not None:
                    changed[column.name] = changed.get(column.name, np.False_) | rows
        return pa.table(found)

    def texts(
        column: InputColumn, cast: Cast
    ) -> tuple[pa.ChunkedArray, npt.NDArray[np.bool_] | None]:
        """The column without text that is not UTF-8, and where there was such."""
        raw = pa.chunked_array([read.column(read.schema.get_field_index(column.name))])
        if is_text_of_bytes(raw.type, cast.type):
            raw = as_text(raw)
        key = (column.name, raw.type)  # a column may be a feature and a key
        if key not in broken_by_column:
            broken_by_column[key] = broken_texts(raw)
        broken = broken_by_column[key]
        return (raw, None) if broken is None else (without(raw, broken), broken)

    features = columns(contract.features, casts.features)
    return Batch(features, columns(contract.passthrough, casts.kept), (stretch,), changed)


def _join(batches: Sequence[Batch]) -> Batch:
    if len(batches) == 1:
        return batches[0]
    names = {name for batch in batches for name in batch.changed}
    changed = {
        name: np.concatenate([b.changed.get(name, np.zeros(b.n_rows, np.bool_)) for b in batches])
        for name in names
    }
    return Batch(
        pa.concat_tables([batch.features for batch in batches]),
        pa.concat_tables([batch.kept for batch in batches]),
        tuple(stretch for batch in batches for stretch in batch.stretches),
        changed,
    )


def _cut(batch: Batch, n_rows: int) -> tuple[Batch, Batch]:
    head, rest = [], []
    left = n_rows
    for stretch in batch.stretches:
        here = min(left, stretch.n_rows)
        if here:
            head.append(Stretch(stretch.path, stretch.first_row, here))
        if here < stretch.n_rows:
            rest.append(Stretch(stretch.path, stretch.first_row + here, stretch.n_rows - here))
        left -= here
    return (
        Batch(
            batch.features.slice(0, n_rows),
            batch.kept.slice(0, n_rows),
            tuple(head),
            {name: bad[:n_rows] for name, bad in batch.changed.items()},
        ),
        Batch(
            batch.features.slice(n_rows),
            batch.kept.slice(n_rows),
            tuple(rest),
            {name: bad[n_rows:] for name, bad in batch.changed.items()},
        ),
    )
