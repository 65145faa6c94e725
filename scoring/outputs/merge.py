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


@dataclass(frozen=True, slots=True)
class Merge:
    """Files to be put together into one."""

    store: Store
    old: tuple[str, ...]
    """Files of the rows that stay as they are, in order."""
    new: tuple[str, ...]
    """Files of the rows to be put among them, in order; few enough to be held in memory."""
    places: npt.NDArray[np.int64]
    """What the new rows are sorted by."""
    before: npt.NDArray[np.int64]
    """Of each new row, how many old ones stand before it."""
    path: str
    schema: pa.Schema
    keep_types: bool
    metadata: dict[str, str]


def merge_rows(merge: Merge) -> WrittenPart:
    """Write one file with all rows. Runs in a worker."""
    order = np.argsort(merge.places, kind="stable")
    batches = list(read_tables(merge.store, merge.new, merge.schema))
    new = pa.concat_tables([merge.schema.empty_table(), *batches]).take(pa.array(order))
    before, start, done = merge.before[order], 0, 0
    with PartWriter(
        merge.store, merge.path, merge.schema, keep_types=merge.keep_types, metadata=merge.metadata
    ) as writer:
        for table in read_tables(merge.store, merge.old, merge.schema):
            end = int(np.searchsorted(before, start + table.num_rows, side="left"))
            here = new.slice(done, end - done)
            if here.num_rows:
                places = np.insert(
                    np.arange(table.num_rows),
                    before[done:end] - start,
                    table.num_rows + np.arange(here.num_rows),
                )
                table = pa.concat_tables([table, here]).take(pa.array(places))
            writer.write(table)
            start, done = start + len(table) - here.num_rows, end
        writer.write(new.slice(done))
        return writer.close()


def read_tables(store: Store, paths: Sequence[str], schema: pa.Schema) -> Iterator[pa.Table]:
    """The rows of parts in order, a bounded number at a time, with the columns and types of the output."""
    import pyarrow.parquet as pq

    for path in paths:
        with translated_errors(store.locate_url(path)):
            file = store.open_input(path)
            with pq.ParquetFile(file, pre_buffer=False, buffer_size=1 << 20) as parquet:
                for batch in parquet.iter_batches(READ_ROWS, use_threads=False):
                    yield pa.table(
                        [_as(batch.column(field.name), field.type) for field in schema],
                        schema=schema,
                    )


def _as(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """A table's files hold dictionaries as what they stand for."""
    if column.type == kind:
        return column
    if pa.types.is_dictionary(kind) and not pa.types.is_dictionary(column.type):
        column = pc.dictionary_encode(column)
    return column.cast(kind)
