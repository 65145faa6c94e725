"""Columns of many small chunks, put together."""

from collections.abc import Iterator, Sequence

import pyarrow as pa

SMALL_ROWS = 8_192
"""Chunks of fewer rows are small. A call of a kernel costs as much as copying 20,000 numbers."""


def combine_small_chunks(table: pa.Table) -> pa.Table:
    """The same rows, with neighbouring small chunks of each column in one chunk.

    Large chunks stay where they are: they are not copied.
    """
    for i, column in enumerate(table.columns):
        if column.num_chunks > 1:
            combined = _combine(column)
            if combined.num_chunks < column.num_chunks:
                table = table.set_column(i, table.schema.field(i), combined)

    return table


def _combine(column: pa.ChunkedArray) -> pa.ChunkedArray:
    chunks: list[pa.Array] = []
    for run in _runs(column.chunks):
        chunks += _join(run) if len(run) > 1 else run
    return pa.chunked_array(chunks, column.type)


def _runs(chunks: Sequence[pa.Array]) -> Iterator[list[pa.Array]]:
    """Chunks that become one: neighbours that are small, until together they are not."""
    run: list[pa.Array] = []
    n_rows = 0

    for chunk in chunks:
        if run and (len(chunk) >= SMALL_ROWS or n_rows >= SMALL_ROWS):
            yield run
            run, n_rows = [], 0

        run.append(chunk)
        n_rows += len(chunk)

    if run:
        yield run


def _join(run: Sequence[pa.Array]) -> Sequence[pa.Array]:
    """One chunk, or more where the offsets of their texts would overflow."""
    table = pa.Table.from_arrays([pa.chunked_array(run)], ["run"])
    try:
        return table.combine_chunks().column(0).chunks  # type: ignore[no-any-return]
    except pa.ArrowException:
        # Dictionaries with a null among their values, or too many of them for their indices.
        return run
