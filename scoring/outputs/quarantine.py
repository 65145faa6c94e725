"""Stores rows that could not be scored: whole, with the reason and their position."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nightscore.arrow.parsing.files import read_tables
from nightscore.arrow.texts import as_bytes, broken_texts, without
from nightscore.errors import CorruptFileError
from nightscore.outputs.writer import PartWriter
from nightscore.schemas.manifest import FileRecord
from nightscore.storage.errors import translated_errors
from nightscore.storage.store import Store

REASON_COLUMNS = (
    ("_source_file", pa.string()),
    ("_source_row", pa.int64()),
    ("_reason", pa.string()),
    ("_column", pa.string()),
    ("_message", pa.string()),
    ("_model_version", pa.string()),
    ("_run_id", pa.string()),
)
"""Before the row's own columns. The underscore keeps them apart."""

REASON_NAMES = tuple(name for name, _ in REASON_COLUMNS)
ORIGIN_COLUMNS = ("_source_file", "_source_row")

READ_ROWS = 131_072
"""Rows decoded at a time."""

Cause = tuple[str, str | None, str]
"""Why a row was not scored: reason, column, message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowSource:
    """What the quarantined rows of one file share."""

    source_file: str
    """Path of the input file."""
    model_version: str
    """The version that refused the rows."""
    run_id: str
    from_quarantine: bool = False
    """The rows come from a quarantine: its columns are replaced by the new ones."""


def quarantine_path(folder: str, run_id: str, shard: int, attempt: int, index: int) -> str:
    """A path below the state folder."""
    return f"quarantine/{folder}/{run_id}-{shard:05d}-{attempt}-{index}.parquet"


def read_origin(store: Store, path: str) -> tuple[str, npt.NDArray[np.int64]]:
    """The input file of quarantined rows, and their positions in it.

    Args:
        store: The state folder.
        path: A file that `write_quarantine` has written. Its rows are from one input file.

    Raises:
        CorruptFileError: It cannot be decoded.
    """
    tables = list(read_tables(store, path, ORIGIN_COLUMNS, READ_ROWS))
    rows = pa.concat_tables(tables) if tables else pa.schema(REASON_COLUMNS).empty_table()

    return _parse_origin(rows, store.locate_url(path))


def read_origin_here(store: Store, path: str) -> tuple[str, npt.NDArray[np.int64]]:
    """The same, decoded in this process: for workers."""
    import pyarrow.parquet as pq

    with (
        translated_errors(store.locate_url(path)),
        pq.ParquetFile(store.open_input(path)) as parquet,
    ):
        rows = parquet.read(list(ORIGIN_COLUMNS))
    return _parse_origin(rows, store.locate_url(path))


def write_quarantine(
    store: Store,
    path: str,
    tables: Iterable[tuple[pa.Table, npt.NDArray[np.int64]]],
    causes: Sequence[Cause],
    source: RowSource,
) -> list[FileRecord]:
    """Write the quarantined rows of one input file; none if there were none.

    Rows with text that is not UTF-8 get a file of their own, in which all texts are bytes: readers
    refuse a whole file because of one such text.

    Args:
        store: The state folder.
        path: The new file.
        tables: The rows, whole, with their positions in the source file.
        causes: Why each row was not scored, in the same order.
        source: What the rows share.
    """
    writers: dict[str, PartWriter] = {}
    bytes_path = path.removesuffix(".parquet") + "-bytes.parquet"

    def write(target: str, table: pa.Table) -> None:
        if not table.num_rows:
            return
        if target not in writers:
            writers[target] = PartWriter(store, target, table.schema, keep_types=True)
        writers[target].write(table)

    start = 0

    try:
        for rows, positions in tables:
            reasons = _reasons(causes[start : start + rows.num_rows], positions, source)
            start += rows.num_rows

            own_rows = rows.drop_columns(list(REASON_NAMES)) if source.from_quarantine else rows
            own_rows, is_broken = _find_broken_rows(own_rows)
            write(path, _join(reasons, own_rows, ~is_broken))

            if is_broken.any():
                own_rows = as_bytes(own_rows)

            write(bytes_path, _join(reasons, own_rows, is_broken))

        return [writer.close().file for writer in writers.values()]
    except BaseException as error:
        for writer in writers.values():
            writer.__exit__(type(error), error, None)
        raise


def _parse_origin(rows: pa.Table, where: str) -> tuple[str, npt.NDArray[np.int64]]:
    names, positions = (rows.column(name) for name in ORIGIN_COLUMNS)
    is_complete = rows.num_rows and not names.null_count and not positions.null_count
    if not is_complete or (names.type, positions.type) != (pa.string(), pa.int64()):
        raise CorruptFileError(
            "Quarantined rows do not say where they are from.",
            where,
            expected="a text in _source_file and an integer in _source_row of each row",
            found=f"{rows.num_rows:,} rows of {', '.join(map(str, rows.schema.types))}",
            next_step="restore the file, or score the partition again with `nightscore run "
            "--force`",
        )

    return names[0].as_py(), positions.to_numpy()


def _reasons(
    causes: Sequence[Cause], positions: npt.NDArray[np.int64], source: RowSource
) -> pa.Table:
    """The reason columns of each row."""
    n_rows = len(causes)

    values = {
        "_source_file": [source.source_file] * n_rows,
        "_source_row": positions.tolist(),
        "_reason": [reason for reason, _, _ in causes],
        "_column": [column for _, column, _ in causes],
        "_message": [message for _, _, message in causes],
        "_model_version": [source.model_version] * n_rows,
        "_run_id": [source.run_id] * n_rows,
    }

    arrays = [pa.array(values[name], arrow_type) for name, arrow_type in REASON_COLUMNS]

    return pa.table(arrays, names=list(values))


def _find_broken_rows(rows: pa.Table) -> tuple[pa.Table, npt.NDArray[np.bool_]]:
    """The rows, and where any column has text that is not UTF-8.

    No dictionary keeps such a text to which no row refers.
    """
    is_broken = np.zeros(rows.num_rows, np.bool_)

    for index, column in enumerate(rows.columns):
        is_broken_here = broken_texts(column)
        if is_broken_here is None:
            continue

        is_broken |= is_broken_here

        if not is_broken_here.any():
            clean = without(column, is_broken_here)
            rows = rows.set_column(index, rows.schema.field(index), clean)

    return rows, is_broken


def _join(reasons: pa.Table, rows: pa.Table, wanted: npt.NDArray[np.bool_]) -> pa.Table:
    """Reasons and rows side by side, for the wanted rows."""
    table = reasons
    for field, column in zip(rows.schema, rows.columns, strict=True):
        table = table.append_column(_without_parquet_id(field), column)
    table = table.replace_schema_metadata(None)
    return table if wanted.all() else table.filter(pa.array(wanted))


def _without_parquet_id(field: pa.Field) -> pa.Field:
    """The field without the number that Parquet gave it: the reasons' columns have none."""
    metadata = field.metadata or {}
    others = {key: value for key, value in metadata.items() if not key.startswith(b"PARQUET:")}
    return field.with_metadata(others or None)
