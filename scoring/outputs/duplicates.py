"""Finds keys that stand twice among the rows that a run has written, in bounded memory."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nightscore.storage.errors import translated_errors
from nightscore.storage.store import Store

HASHES_AT_ONCE = 8_000_000
"""64 MB of hashes; more rows are looked at in several passes, each with its share of the hash values."""
READ_ROWS = 131_072
MAX_EXAMPLES = 5
MAX_COMPARED_ROWS = 200_000
"""Rows with a hash that stands twice are compared themselves, so that a collision is no duplicate; beyond so many
nobody needs the exact number."""


@dataclass(frozen=True, slots=True)
class Duplicates:
    """Rows whose keys another row has too."""

    n_rows: int
    examples: tuple[str, ...]


def find_duplicates(store: Store, paths: Sequence[str], keys: Sequence[str]) -> Duplicates:
    """Keys that stand twice; a missing value is equal to itself. Exact up to 200,000 rows that look alike.

    Runs in a worker.

    Args:
        store: Where the files are.
        paths: Parquet files.
        keys: Columns.
    """
    n_rows = sum(_count(store, path) for path in paths)
    n_passes = max(1, -(-n_rows // HASHES_AT_ONCE))
    suspects = np.concatenate([_twice(store, paths, keys, i, n_passes) for i in range(n_passes)])
    if not len(suspects):
        return Duplicates(0, ())
    return _compare(store, paths, keys, suspects)


def _twice(
    store: Store, paths: Sequence[str], keys: Sequence[str], i: int, n_passes: int
) -> npt.NDArray[np.uint64]:
    """Hashes that stand twice, of those whose rest is `i`."""
    parts = []
    for frame in _frames(store, paths, keys):
        hashes = frame.hash_rows(seed=0).to_numpy()
        parts.append(hashes[hashes % np.uint64(n_passes) == i] if n_passes > 1 else hashes)
    found = np.sort(np.concatenate(parts)) if parts else np.empty(0, np.uint64)
    return np.unique(found[1:][found[1:] == found[:-1]])


def _compare(
    store: Store, paths: Sequence[str], keys: Sequence[str], suspects: npt.NDArray[np.uint64]
) -> Duplicates:
    import polars as pl

    alike, n_alike = [], 0
    for frame in _frames(store, paths, keys):
        rows = frame.filter(pl.Series(np.isin(frame.hash_rows(seed=0).to_numpy(), suspects)))
        n_alike += rows.height
        if n_alike <= MAX_COMPARED_ROWS:
            alike.append(rows)
    counts = pl.concat(alike).group_by(list(keys)).len(name="__rows").filter(pl.col("__rows") > 1)
    n_rows = n_alike if n_alike > MAX_COMPARED_ROWS else int(counts["__rows"].sum())
    first = counts.sort(["__rows", *keys], descending=[True, *([False] * len(keys))]).head(
        MAX_EXAMPLES
    )
    examples = tuple(
        ", ".join(f"{name}={row[name]}" for name in keys) + f" ({row['__rows']} times)"
        for row in first.iter_rows(named=True)
    )
    return Duplicates(n_rows, examples)


def _frames(store: Store, paths: Sequence[str], keys: Sequence[str]) -> Iterator[Any]:
    import polars as pl
    import pyarrow.parquet as pq

    for path in paths:
        with (
            translated_errors(store.locate_url(path)),
            pq.ParquetFile(store.open_input(path), pre_buffer=False) as parquet,
        ):
            for batch in parquet.iter_batches(READ_ROWS, columns=list(keys), use_threads=False):
                table = pa.Table.from_batches([batch])
                yield pl.DataFrame({name: _plain(table.column(name)) for name in keys})


def _plain(column: pa.ChunkedArray) -> Any:
    """Without dictionary: codes differ from file to file. In types that Polars knows, equal where the values are."""
    import polars as pl

    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        column = column.cast(
            pa.timestamp(kind.unit, "UTC")
        )  # the same moments: of offsets Polars knows none
    elif pa.types.is_decimal256(kind):
        column = column.cast(pa.string())
    return pl.Series(values=column)


def _count(store: Store, path: str) -> int:
    import pyarrow.parquet as pq

    with (
        translated_errors(store.locate_url(path)),
        pq.ParquetFile(store.open_input(path)) as parquet,
    ):
        return int(parquet.metadata.num_rows)
