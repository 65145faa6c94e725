"""Columns of many small chunks, put together."""

from collections.abc import Iterator

import pyarrow as pa

SMALL_ROWS = 8_192
"""Chunks of fewer rows are small. A call of a kernel costs as much as copying 20,000 numbers."""


def combine_small_chunks(table: pa.Table) -> pa.Table:
    """The same rows, with neighbouring small chunks of each column in one chunk.

    Large chunks stay where they are: they are not copied.
    """
    most = max(table.columns, key=_n_chunks, default=None)
    if most is None or most.num_chunks < 2:
        return table

    parts = []
    first = 0
    for n_rows in _stretches(most):
        parts.append(_combine(table.slice(first, n_rows)))
        first += n_rows

    return pa.concat_tables(parts)


def _n_chunks(column: pa.ChunkedArray) -> int:
    return int(column.num_chunks)


def _stretches(column: pa.ChunkedArray) -> Iterator[int]:
    """The rows of each large chunk, and of neighbours that are small, until they are not."""
    n_rows = 0

    for chunk in column.chunks:
        if n_rows and (len(chunk) >= SMALL_ROWS or n_rows >= SMALL_ROWS):
            yield n_rows
            n_rows = 0

        n_rows += len(chunk)

    yield n_rows


def _combine(table: pa.Table) -> pa.Table:
    """The table with one chunk a column, or more where the offsets of texts would overflow."""
    try:
        return table.combine_chunks()
    except pa.ArrowException:
        return _combine_each(table)


def _combine_each(table: pa.Table) -> pa.Table:
    """The same without the columns that cannot be combined.

    Those are dictionaries with a null among their values, or too many for their indices.
    """
    for i in range(table.num_columns):
        try:
            combined = table.select([i]).combine_chunks()
        except pa.ArrowException:
            continue
        table = table.set_column(i, table.schema.field(i), combined.column(0))

    return table
