"""Finds keys that occur more than once among the rows that a run has written, in bounded memory."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nightscore.storage.errors import translated_errors
from nightscore.storage.store import Store

HASHES_AT_ONCE = 8_000_000
"""64 MB of hashes. More rows take several passes, each with its share of the hash values."""

READ_ROWS = 131_072
"""Rows decoded at a time."""

MAX_EXAMPLES = 5

MAX_COMPARED_ROWS = 200_000
"""Rows whose hash occurs twice are compared themselves, so that a collision is no duplicate. Beyond
this many, nobody needs the exact number."""


@dataclass(frozen=True, slots=True)
class Duplicates:
    """Rows whose keys another row has too."""

    n_rows: int
    examples: tuple[str, ...]


def find_duplicates(store: Store, paths: Sequence[str], keys: Sequence[str]) -> Duplicates:
    """Keys that occur more than once. A missing value equals another one.

    Exact up to 200,000 rows that look alike. Runs in a worker.

    Args:
        store: Where the files are.
        paths: Parquet files.
        keys: Columns.
    """
    n_rows = sum(_count_rows(store, path) for path in paths)
    n_passes = max(1, -(-n_rows // HASHES_AT_ONCE))

    repeated = [
        _find_repeated_hashes(store, paths, keys, remainder, n_passes)
        for remainder in range(n_passes)
    ]

    suspects = np.concatenate(repeated)
    if not len(suspects):
        return Duplicates(0, ())

    return _compare_rows(store, paths, keys, suspects)


def _find_repeated_hashes(
    store: Store, paths: Sequence[str], keys: Sequence[str], remainder: int, n_passes: int
) -> npt.NDArray[np.uint64]:
    """Hashes that occur more than once, of those with this remainder."""
    parts = []

    for frame in _read_frames(store, paths, keys):
        hashes = frame.hash_rows(seed=0).to_numpy()
        if n_passes > 1:
            hashes = hashes[hashes % np.uint64(n_passes) == remainder]
        parts.append(hashes)

    if not parts:
        return np.empty(0, np.uint64)

    ordered = np.sort(np.concatenate(parts))

    return np.unique(ordered[1:][ordered[1:] == ordered[:-1]])


def _compare_rows(
    store: Store, paths: Sequence[str], keys: Sequence[str], suspects: npt.NDArray[np.uint64]
) -> Duplicates:
    import polars as pl

    alike, n_alike = [], 0

    for frame in _read_frames(store, paths, keys):
        is_suspect = np.isin(frame.hash_rows(seed=0).to_numpy(), suspects)
        rows = frame.filter(pl.Series(is_suspect))
        n_alike += rows.height
        if n_alike <= MAX_COMPARED_ROWS:
            alike.append(rows)

    counts = pl.concat(alike).group_by(list(keys)).len(name="__rows").filter(pl.col("__rows") > 1)
    n_rows = n_alike

    if n_alike <= MAX_COMPARED_ROWS:
        n_rows = int(counts["__rows"].sum())

    descending = [True, *([False] * len(keys))]
    most_frequent = counts.sort(["__rows", *keys], descending=descending).head(MAX_EXAMPLES)
    examples = tuple(_describe_key(row, keys) for row in most_frequent.iter_rows(named=True))

    return Duplicates(n_rows, examples)


def _describe_key(row: dict[str, Any], keys: Sequence[str]) -> str:
    values = ", ".join(f"{name}={row[name]}" for name in keys)
    return f"{values} ({row['__rows']} times)"


def _read_frames(store: Store, paths: Sequence[str], keys: Sequence[str]) -> Iterator[Any]:
    import polars as pl
    import pyarrow.parquet as pq

    for path in paths:
        with (
            translated_errors(store.locate_url(path)),
            pq.ParquetFile(store.open_input(path), pre_buffer=False) as parquet,
        ):
            for batch in parquet.iter_batches(READ_ROWS, columns=list(keys), use_threads=False):
                table = pa.Table.from_batches([batch])
                yield pl.DataFrame({name: _to_series(table.column(name)) for name in keys})


def _to_series(column: pa.ChunkedArray) -> Any:
    """The column in a type that Polars knows, equal where the values are.

    Without dictionaries: their codes differ from file to file.
    """
    import polars as pl

    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)

    arrow_type = column.type

    if pa.types.is_timestamp(arrow_type) and arrow_type.tz is not None:
        # The same moments: Polars knows no time zones that are offsets.
        column = column.cast(pa.timestamp(arrow_type.unit, "UTC"))
    elif pa.types.is_decimal256(arrow_type):
        column = column.cast(pa.string())

    return pl.Series(values=column)


def _count_rows(store: Store, path: str) -> int:
    import pyarrow.parquet as pq

    with (
        translated_errors(store.locate_url(path)),
        pq.ParquetFile(store.open_input(path)) as parquet,
    ):
        return int(parquet.metadata.num_rows)
