"""Decodes Parquet. Runs in the process apart: it imports Arrow and nothing of NumPy.

The process that asks imports this module too, so that what only the other one needs is imported in the functions.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from nightscore.arrow.parsing.bounds import bounds_of, high_text, is_bytes, low_text

if TYPE_CHECKING:
    from nightscore.storage.store import Store

DAMAGE = (pa.ArrowException, OSError, ArithmeticError, LookupError, TypeError, ValueError)
"""What reading a damaged file may raise: Arrow's own errors, and those of its layer in Python."""


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What a file's footer says of it as a whole."""

    schema: pa.Schema
    """Without metadata."""
    metadata: dict[bytes, bytes]
    n_rows: int
    stats: str
    """Statistics as Delta's transaction log has them (JSON)."""


def open_footer(tail: bytes) -> tuple[Any, pa.Schema]:
    """pyarrow's metadata and the schema, of the last bytes of a file."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(pa.BufferReader(tail), pre_buffer=False) as parquet:
        return parquet.metadata, parquet.schema_arrow.remove_metadata()


def facts_of(tail: bytes) -> FileFacts:
    """Of the last bytes of a file."""
    metadata, schema = open_footer(tail)
    return FileFacts(schema, dict(metadata.metadata or {}), metadata.num_rows, part_stats(metadata))


def table_of(content: bytes) -> pa.Table:
    """All of a small file, in this thread."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(pa.BufferReader(content)) as parquet:
        return parquet.read(use_threads=False)


def tables_of(
    store: "Store", path: str, columns: Sequence[str], batch_rows: int
) -> Iterator[pa.Table]:
    """The columns of a file on a store, so many rows at a time."""
    import pyarrow.parquet as pq

    from nightscore.storage.errors import translated_errors  # what footers need not import

    with (
        translated_errors(store.locate_url(path)),
        pq.ParquetFile(store.open_input(path), pre_buffer=False) as parquet,
    ):
        for batch in parquet.iter_batches(batch_rows, columns=list(columns), use_threads=False):
            yield pa.Table.from_batches([batch])


def part_stats(metadata: Any) -> str:
    """numRecords, nullCount, minValues and maxValues by Delta's protocol.

    Bounds are those of all columns or of none: delta-rs' own readers compare each column with its bounds in a
    file, and take a file without them to have no such row. Columns of bytes have none, and need none; one that is
    null throughout has no value to miss.

    Source: https://github.com/delta-io/delta/blob/master/PROTOCOL.md, "Per-file Statistics".
    """
    nulls: dict[str, int] = {}
    bounds: dict[str, tuple[Any, Any]] = {}
    is_complete = True
    repeated = _repeated_names(metadata)
    for i in range(metadata.num_row_groups):
        group = metadata.row_group(i)
        for j in range(group.num_columns):
            column = group.column(j)
            name, stats = column.path_in_schema, column.statistics
            if stats is None or "." in name or name in repeated:
                is_complete = False
                continue
            if stats.has_null_count:
                nulls[name] = nulls.get(name, 0) + stats.null_count
            if is_bytes(stats) or (stats.has_null_count and stats.null_count == group.num_rows):
                continue
            found = bounds_of(stats)
            if found is None:
                is_complete = False
                continue
            low, high = bounds.get(name, found)
            bounds[name] = min(low, found[0]), max(high, found[1])

    low_texts = {name: low_text(low) for name, (low, _) in bounds.items()} if is_complete else {}
    high_texts = (
        {name: high_text(high) for name, (_, high) in bounds.items()} if is_complete else {}
    )
    members = {"numRecords": str(metadata.num_rows)}
    if low_texts:
        members |= {"minValues": _object(low_texts), "maxValues": _object(high_texts)}
    return _object(members | {"nullCount": json.dumps(nulls, ensure_ascii=False)})


def _repeated_names(metadata: Any) -> set[str]:
    """Columns whose name another one has too, as in quarantine: their statistics cannot be told apart."""
    first = metadata.row_group(0) if metadata.num_row_groups else None
    names = (
        Counter(first.column(j).path_in_schema for j in range(first.num_columns))
        if first
        else Counter()
    )
    return {name for name, n_columns in names.items() if n_columns > 1}


def _object(members: Mapping[str, str]) -> str:
    """A JSON object of members that are JSON already."""
    return (
        "{"
        + ", ".join(
            f"{json.dumps(name, ensure_ascii=False)}: {text}" for name, text in members.items()
        )
        + "}"
    )
