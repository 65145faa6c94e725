"""Samples of scored rows: features and score of the rows whose keys have the least hashes.

A sample of n rows of a partition is the n rows with the least hashes of their keys, and of equal
hashes those with the least hashes of their content. So it does not depend on how the partition was
cut into shards and batches: the sample of all rows is the sample of the parts' samples.

    <output.uri>.nightscore/samples/ds=2026-11-24/<run_id>-00000-0.parquet    of each shard
    <output.uri>.nightscore/samples/baselines/<sha256>.parquet    labelled rows, by their baseline

They are rows of people. They stand beside the quarantine, with the output's rights, and only a job
that asks for them (`estimate.sample_rows`) has them.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nightscore.arrow.arrays import from_numpy
from nightscore.arrow.parsing.files import read_table
from nightscore.arrow.row_hashes import Column, is_hashable, row_hashes
from nightscore.arrow.xxh64 import Hashes
from nightscore.outputs.writer import PartWriter
from nightscore.schemas.manifest import FileRecord
from nightscore.storage.store import Store

KEY_HASH = "_nightscore_key_hash"
SCORE = "_nightscore_score"
LABEL = "_nightscore_label"
OWN_COLUMNS = (KEY_HASH, SCORE, LABEL)
"""Beside the features."""
SAMPLES = "samples"
"""Their folder, below the state folder."""


def sample_path(folder: str, run_id: str, shard: int, attempt: int) -> str:
    """A path below the state folder."""
    return f"{SAMPLES}/{folder}/{run_id}-{shard:05d}-{attempt}.parquet"


def baseline_sample_path(digest: str) -> str:
    """Where the sample of a baseline is, below the state folder.

    Args:
        digest: The baseline's, as `sha256:...`.
    """
    return f"{SAMPLES}/baselines/{digest.removeprefix('sha256:')}.parquet"


def make_rows(
    hashes: Hashes, features: pa.Table, score: Column, label: Column | None = None
) -> pa.Table:
    """Rows as samples hold them, in the order given. Features without a hash are left out.

    Args:
        hashes: Of the keys, shape (n,).
        features: As the model was given them.
        score: The prediction.
        label: The true outcome; None: it is not known.
    """
    columns: dict[str, Column] = {KEY_HASH: from_numpy(hashes), SCORE: score.cast(pa.float64())}
    if label is not None:
        columns[LABEL] = label.cast(pa.float64())

    for name in features.column_names:
        if is_hashable(features.schema.field(name).type):
            columns[name] = _plain(features.column(name))

    return pa.table(columns)


def least_places(hashes: Hashes, n_rows: int, limit: np.uint64 | None) -> npt.NDArray[np.int64]:
    """Where the least hashes are, and all that are equal to the greatest of them.

    Args:
        hashes: Shape (n,).
        n_rows: How many are wanted.
        limit: None above this are.
    """
    places = np.arange(len(hashes)) if limit is None else np.flatnonzero(hashes <= limit)
    if len(places) <= n_rows:
        return places

    below = hashes[places]
    greatest = np.partition(below, n_rows - 1)[n_rows - 1]

    least: npt.NDArray[np.int64] = places[below <= greatest]
    return least


def least_rows(tables: Iterable[pa.Table], n_rows: int) -> pa.Table | None:
    """The `n_rows` rows with the least hashes of all these, ascending; None: there are no tables.

    It is associative and commutative, so that samples of parts can be merged in any order.
    """
    parts = list(tables)
    if not parts:
        return None

    rows = pa.concat_tables(parts)
    hashes = rows.column(KEY_HASH).to_numpy()
    places = least_places(hashes, n_rows, None)
    rows, hashes = rows.take(from_numpy(places)), hashes[places]

    order = np.argsort(hashes, kind="stable")
    ordered = hashes[order]
    if (ordered[1:] == ordered[:-1]).any():
        content = row_hashes([rows.column(name) for name in sorted(rows.column_names)])
        order = np.lexsort((content, hashes))

    return rows.take(from_numpy(order[:n_rows]))


def write_sample(store: Store, path: str, rows: pa.Table) -> FileRecord:
    """Write a sample.

    Args:
        store: The state folder.
        path: The new file.
        rows: As `least_rows` gives them.
    """
    with PartWriter(store, path, rows.schema, keep_types=True) as writer:
        writer.write(rows)
        return writer.close().file


def read_samples(store: Store, paths: Sequence[str], n_rows: int) -> pa.Table | None:
    """The sample of all these files' rows; None: there are no files.

    Raises:
        LocationNotFoundError: A file is gone: `clean --samples-days` has removed it.
        CorruptFileError: A file cannot be decoded.
        StorageError: The store failed.
    """
    tables = []
    for path in paths:
        tables.append(read_table(store.read_bytes(path), store.locate_url(path)))

    return least_rows(tables, n_rows)


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Without a dictionary: those of two batches differ."""
    if pa.types.is_dictionary(column.type):
        return column.cast(column.type.value_type)
    return column
