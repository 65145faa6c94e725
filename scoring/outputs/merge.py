"""Puts rows that were scored later into the order of a partition's other rows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nightscore.outputs.writer import PartWriter, WrittenPart
from nightscore.storage.errors import translated_errors
from nightscore.storage.store import Store

READ_ROWS = 65_536
"""Rows decoded at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Merge:
    """Files to be merged into one."""

    store: Store
    old: tuple[str, ...]
    """Files of the rows that stay as they are, in order."""
    new: tuple[str, ...]
    """Files of the rows to be put among them, in order. They fit in memory."""
    places: npt.NDArray[np.int64]
    """What the new rows are sorted by. Shape (n_new,)."""
    before: npt.NDArray[np.int64]
    """How many old rows stand before each new one. Shape (n_new,)."""
    path: str
    schema: pa.Schema
    keep_types: bool
    metadata: dict[str, str]


def merge_rows(merge: Merge) -> WrittenPart:
    """Write one file with all rows. Runs in a worker."""
    order = np.argsort(merge.places, kind="stable")
    new_rows = _read_new(merge).take(pa.array(order))
    n_before = merge.before[order]

    n_old_read, n_new_written = 0, 0

    with PartWriter(
        merge.store, merge.path, merge.schema, keep_types=merge.keep_types, metadata=merge.metadata
    ) as writer:
        for old_rows in read_tables(merge.store, merge.old, merge.schema):
            n_old = old_rows.num_rows
            end = int(np.searchsorted(n_before, n_old_read + n_old, side="left"))
            inserted = new_rows.slice(n_new_written, end - n_new_written)
            positions = n_before[n_new_written:end] - n_old_read

            writer.write(_insert(old_rows, inserted, positions))
            n_old_read += n_old
            n_new_written = end

        writer.write(new_rows.slice(n_new_written))
        return writer.close()


def read_tables(store: Store, paths: Sequence[str], schema: pa.Schema) -> Iterator[pa.Table]:
    """The rows of parts in order, `READ_ROWS` at a time, with the output's columns and types."""
    import pyarrow.parquet as pq

    for path in paths:
        with translated_errors(store.locate_url(path)):
            file = store.open_input(path)
            with pq.ParquetFile(file, pre_buffer=False, buffer_size=1 << 20) as parquet:
                for batch in parquet.iter_batches(READ_ROWS, use_threads=False):
                    columns = [_as_type(batch.column(field.name), field.type) for field in schema]
                    yield pa.table(columns, schema=schema)


def _read_new(merge: Merge) -> pa.Table:
    batches = list(read_tables(merge.store, merge.new, merge.schema))
    return pa.concat_tables([merge.schema.empty_table(), *batches])


def _insert(rows: pa.Table, inserted: pa.Table, positions: npt.NDArray[np.int64]) -> pa.Table:
    """The rows with others inserted, each before the row at its position."""
    if not inserted.num_rows:
        return rows
    inserted_numbers = rows.num_rows + np.arange(inserted.num_rows)
    order = np.insert(np.arange(rows.num_rows), positions, inserted_numbers)
    return pa.concat_tables([rows, inserted]).take(pa.array(order))


def _as_type(column: pa.Array, arrow_type: pa.DataType) -> pa.Array:
    """The column in the output's type. A table's files hold the values of dictionaries."""
    if column.type == arrow_type:
        return column
    if pa.types.is_dictionary(arrow_type) and not pa.types.is_dictionary(column.type):
        column = pc.dictionary_encode(column)
    return column.cast(arrow_type)
