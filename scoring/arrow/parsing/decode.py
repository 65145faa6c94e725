"""Decodes Parquet. Runs in the separate process: it imports Arrow, but not NumPy.

The process that asks imports this module too. What only the other one needs is imported inside the
functions.
"""

import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nightscore.arrow.parsing.bounds import bounds_of, high_text, is_bytes, low_text

if TYPE_CHECKING:
    import pyarrow as pa

    from nightscore.storage.store import Store


def damage() -> tuple[type[Exception], ...]:
    """What reading a damaged file may raise: errors of Arrow and its Python layer, no memory."""
    import pyarrow as pa

    return (
        *(pa.ArrowException, OSError, ArithmeticError, LookupError, TypeError, ValueError),
        MemoryError,
    )


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What a footer says about its file as a whole."""

    schema: "pa.Schema"
    """Without metadata."""
    metadata: dict[bytes, bytes]
    n_rows: int
    stats: str
    """Statistics as Delta's transaction log has them (JSON)."""


def open_footer(tail: bytes) -> "tuple[Any, pa.Schema]":
    """The metadata of pyarrow, and the schema, from the last bytes of a file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(pa.BufferReader(tail), pre_buffer=False) as parquet:
        return parquet.metadata, parquet.schema_arrow.remove_metadata()


def facts_of(tail: bytes) -> FileFacts:
    """What the last bytes of a file say about it."""
    metadata, schema = open_footer(tail)
    return FileFacts(schema, dict(metadata.metadata or {}), metadata.num_rows, part_stats(metadata))


def table_of(content: bytes) -> "pa.Table":
    """All rows of a small file, read in this thread."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    source = pa.BufferReader(content)
    with pq.ParquetFile(source, page_checksum_verification=True) as parquet:
        return parquet.read(use_threads=False)


def tables_of(
    store: "Store", path: str, columns: Sequence[str], batch_rows: int
) -> "Iterator[pa.Table]":
    """Columns of a file on a store, up to `batch_rows` rows at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    # What footers need not import.
    from nightscore.storage.errors import is_store_error, translated_errors

    with (
        translated_errors(store.locate_url(path)),
        pq.ParquetFile(
            store.open_input(path), pre_buffer=False, page_checksum_verification=True
        ) as parquet,
    ):
        try:
            for batch in parquet.iter_batches(batch_rows, columns=list(columns), use_threads=False):
                yield pa.Table.from_batches([batch])
        except OSError as error:
            if is_store_error(error):
                raise
            raise pa.ArrowInvalid(str(error)) from error


def part_stats(metadata: Any) -> str:
    """Statistics of a file by Delta's protocol: numRecords, nullCount, minValues and maxValues.

    Bounds are those of all columns or of none: delta-rs' own readers compare each column with its
    bounds in a file, and assume that a file without them has no such row. Columns of bytes have
    none, and need none. A column that is null throughout has no value to miss.

    Source: https://github.com/delta-io/delta/blob/master/PROTOCOL.md, "Per-file Statistics".
    """
    statistics = _PartStatistics(_repeated_names(metadata))

    for index in range(metadata.num_row_groups):
        group = metadata.row_group(index)
        for number in range(group.num_columns):
            statistics.add(group.column(number), group.num_rows)

    members = {"numRecords": str(metadata.num_rows)}

    if statistics.is_complete and statistics.bounds:
        bounds = statistics.bounds
        members["minValues"] = _object({name: low_text(low) for name, (low, _) in bounds.items()})
        members["maxValues"] = _object(
            {name: high_text(high) for name, (_, high) in bounds.items()}
        )

    members["nullCount"] = json.dumps(statistics.nulls, ensure_ascii=False)

    return _object(members)


class _PartStatistics:
    """Nulls and bounds of a file's columns, collected over its row groups."""

    def __init__(self, repeated_names: Collection[str]) -> None:
        self._repeated_names = repeated_names
        self.nulls: dict[str, int] = {}
        self.bounds: dict[str, tuple[Any, Any]] = {}
        self.is_complete = True

    def add(self, column: Any, n_rows: int) -> None:
        """Add a column chunk of pyarrow's metadata."""
        name, stats = column.path_in_schema, column.statistics

        if stats is None or "." in name or name in self._repeated_names:
            self.is_complete = False
            return

        n_nulls = stats.null_count if stats.has_null_count else None
        if n_nulls is not None:
            self.nulls[name] = self.nulls.get(name, 0) + n_nulls

        if n_nulls == n_rows or is_bytes(stats):
            return

        bounds = bounds_of(stats)

        if bounds is None:
            self.is_complete = False
            return

        low, high = self.bounds.get(name, bounds)
        self.bounds[name] = min(low, bounds[0]), max(high, bounds[1])


def _repeated_names(metadata: Any) -> set[str]:
    """Names that several columns have, as in quarantine: their statistics cannot be told apart."""
    if not metadata.num_row_groups:
        return set()
    first = metadata.row_group(0)
    names = [first.column(number).path_in_schema for number in range(first.num_columns)]
    return {name for name, n_columns in Counter(names).items() if n_columns > 1}


def _object(members: Mapping[str, str]) -> str:
    """A JSON object of members that are JSON already."""
    pairs = [f"{json.dumps(name, ensure_ascii=False)}: {text}" for name, text in members.items()]
    return "{" + ", ".join(pairs) + "}"
