"""Rows of an open Parquet file, decoded so that little is held beside them."""

import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from nightscore.schemas.partition import Piece

if TYPE_CHECKING:
    import pyarrow.parquet as pq

BATCHES_AT_ONCE = 2
"""Batches of rows that a row group may have to be decoded whole. pyarrow's batches take as much:
the one before is held while the next one is decoded."""
COLUMNS_AT_ONCE = 256
"""Columns that one call decodes at most."""
VALUES_AT_ONCE = 1 << 18
"""Values that one call decodes, unless a column has more. It holds the pages of all its columns,
which take two to three times as much as their values. The files of a partition may also have 500
rows each, where each call is dearer than its rows."""


def streamed_groups(metadata: Any, piece: Piece, batch_rows: int) -> frozenset[int]:
    """The row groups of a piece that are decoded a batch at a time.

    Those are large ones, and the last one if only its first rows are needed. All others are
    decoded whole.
    """
    rows = {group: metadata.row_group(group).num_rows for group in piece.row_groups}
    streamed = {group for group, n in rows.items() if n > BATCHES_AT_ONCE * batch_rows}

    if sum(rows.values()) > piece.skip_rows + piece.n_rows:
        streamed.add(piece.row_groups[-1])

    return frozenset(streamed)


def decode_groups(
    parquet: "pq.ParquetFile",
    groups: Sequence[int],
    names: Sequence[str],
    batch_rows: int,
    streamed: frozenset[int],
) -> Iterator[pa.Table]:
    """All rows of these columns and row groups: in batches, or in tables of two at most.

    pyarrow's batches hold a page and a dictionary of each column. A row group that is decoded
    whole, by a few columns at a time, holds those of a few columns.

    Args:
        parquet: The file.
        groups: Row groups, ascending.
        names: Columns.
        batch_rows: Rows of a batch.
        streamed: Row groups that are decoded a batch at a time.
    """
    for is_streamed, some in itertools.groupby(groups, lambda group: group in streamed):
        if is_streamed:
            yield from _stream(parquet, list(some), names, batch_rows)
            continue

        for together in _joined(parquet.metadata, some, batch_rows):
            yield _decode_whole(parquet, together, names)


def _stream(
    parquet: "pq.ParquetFile", groups: list[int], names: Sequence[str], batch_rows: int
) -> Iterator[pa.Table]:
    for batch in parquet.iter_batches(batch_rows, groups, columns=list(names), use_threads=False):
        yield pa.Table.from_batches([batch])


def _joined(metadata: Any, groups: Iterator[int], batch_rows: int) -> Iterator[list[int]]:
    """Row groups by the call that decodes them: small ones together, up to a batch."""
    joined: list[int] = []
    n_joined = 0

    for group in groups:
        n_rows = metadata.row_group(group).num_rows
        if joined and n_joined + n_rows > batch_rows:
            yield joined
            joined, n_joined = [], 0

        joined.append(group)
        n_joined += n_rows

    if joined:
        yield joined


def _decode_whole(parquet: "pq.ParquetFile", groups: list[int], names: Sequence[str]) -> pa.Table:
    """All rows of these row groups, by a few columns at a time."""
    n_rows = sum(parquet.metadata.row_group(group).num_rows for group in groups)
    n_columns = min(COLUMNS_AT_ONCE, max(1, VALUES_AT_ONCE // max(1, n_rows)))

    tables = []
    for start in range(0, max(len(names), 1), n_columns):
        some = list(names[start : start + n_columns])
        tables.append(parquet.read_row_groups(groups, some, use_threads=False))

    return tables[0] if len(tables) == 1 else _side_by_side(tables)


def _side_by_side(tables: Sequence[pa.Table]) -> pa.Table:
    """One table of the columns of all."""
    columns = itertools.chain.from_iterable(table.columns for table in tables)
    fields = itertools.chain.from_iterable(table.schema for table in tables)
    return pa.Table.from_arrays(list(columns), schema=pa.schema(fields))
