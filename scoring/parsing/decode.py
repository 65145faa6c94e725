"""Decodes Parquet. Runs in the process apart: it imports Arrow and nothing of NumPy.

The process that asks imports this module too, so that what only the other one needs is imported in the functions.
"""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

if TYPE_CHECKING:
    from scoring.storage import Store

NUMBERS = ("INT32", "INT64", "FLOAT", "DOUBLE")
"""Parquet's physical types of numbers; times and decimals have them as well."""
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


def tables_of(store: "Store", path: str, columns: Sequence[str], batch_rows: int) -> Iterator[pa.Table]:
    """The columns of a file on a store, so many rows at a time."""
    import pyarrow.parquet as pq

    from scoring.storage import explained  # what footers need not import

    with explained(store.locate_url(path)), pq.ParquetFile(store.open_input(path), pre_buffer=False) as parquet:
        for batch in parquet.iter_batches(batch_rows, columns=list(columns), use_threads=False):
            yield pa.Table.from_batches([batch])


def part_stats(metadata: Any) -> str:
    """numRecords, nullCount, minValues and maxValues of numeric columns, by Delta's protocol.

    Source: https://github.com/delta-io/delta/blob/master/PROTOCOL.md, "Per-file Statistics".
    """
    nulls: dict[str, int] = {}
    low: dict[str, float] = {}
    high: dict[str, float] = {}
    unknown: set[str] = set()
    for i in range(metadata.num_row_groups):
        group = metadata.row_group(i)
        for j in range(group.num_columns):
            column = group.column(j)
            name, stats = column.path_in_schema, column.statistics
            if stats is None or "." in name:
                continue
            if stats.has_null_count:
                nulls[name] = nulls.get(name, 0) + stats.null_count
            is_number = column.physical_type in NUMBERS  # of texts they may be no UTF-8
            if not is_number or not stats.has_min_max or not _is_plain(stats.min) or not _is_plain(stats.max):
                if stats.null_count != group.num_rows:
                    unknown.add(name)
                continue
            low[name] = min(low.get(name, stats.min), stats.min)
            high[name] = max(high.get(name, stats.max), stats.max)
    for name in unknown:
        low.pop(name, None)
        high.pop(name, None)
    return json.dumps({"numRecords": metadata.num_rows, "minValues": low, "maxValues": high, "nullCount": nulls})


def _is_plain(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
