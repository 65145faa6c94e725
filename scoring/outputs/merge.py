"""Puts rows that were scored later into the order of a partition's other rows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from scoring.outputs.writer import PartWriter, WrittenPart
from scoring.storage import Store, explained

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
    batches = list(_tables(merge, merge.new))
    new = pa.concat_tables([merge.schema.empty_table(), *batches]).take(pa.array(order))
    before, start, done = merge.before[order], 0, 0
    with PartWriter(
        merge.store, merge.path, merge.schema, keep_types=merge.keep_types, metadata=merge.metadata
    ) as writer:
        for table in _tables(merge, merge.old):
            end = int(np.searchsorted(before, start + table.num_rows, side="left"))
            here = new.slice(done, end - done)
            if here.num_rows:
                places = np.insert(
                    np.arange(table.num_rows), before[done:end] - start, table.num_rows + np.arange(here.num_rows)
                )
                table = pa.concat_tables([table, here]).take(pa.array(places))
            writer.write(table)
            start, done = start + len(table) - here.num_rows, end
        writer.write(new.slice(done))
        return writer.close()


def _tables(merge: Merge, paths: Sequence[str]) -> Iterator[pa.Table]:
    for path in paths:
        where = merge.store.locate_url(path)
        with explained(where), pq.ParquetFile(merge.store.open_input(path), pre_buffer=False) as file:
            for batch in file.iter_batches(READ_ROWS, use_threads=False):
                columns = [_as(batch.column(field.name), field.type) for field in merge.schema]
                yield pa.table(columns, schema=merge.schema)


def _as(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """A table's files hold dictionaries as what they stand for."""
    if column.type == kind:
        return column
    if pa.types.is_dictionary(kind) and not pa.types.is_dictionary(column.type):
        column = pc.dictionary_encode(column)
    return column.cast(kind)
