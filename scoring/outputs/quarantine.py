"""Keeps rows that could not be scored: whole, with the reason and their position."""

from collections.abc import Iterable, Sequence

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
"""Before the row's own columns; the underscore keeps them apart."""


REASON_NAMES = tuple(name for name, _ in REASON_COLUMNS)
ORIGIN_COLUMNS = ("_source_file", "_source_row")
READ_ROWS = 131_072


def quarantine_path(folder: str, run_id: str, shard: int, attempt: int, index: int) -> str:
    """Below the state folder."""
    return f"quarantine/{folder}/{run_id}-{shard:05d}-{attempt}-{index}.parquet"


def read_origin(store: Store, path: str) -> tuple[str, npt.NDArray[np.int64]]:
    """The input file of quarantined rows, and their positions in it.

    Args:
        store: The state folder.
        path: Of a file that `write_quarantine` has written: its rows are of one input file.

    Raises:
        CorruptFileError: It cannot be decoded.
    """
    tables = list(read_tables(store, path, ORIGIN_COLUMNS, READ_ROWS))
    rows = pa.concat_tables(tables) if tables else pa.schema(REASON_COLUMNS).empty_table()
    return _origin(rows, store.locate_url(path))


def read_origin_here(store: Store, path: str) -> tuple[str, npt.NDArray[np.int64]]:
    """The same, decoded in this process: for workers."""
    import pyarrow.parquet as pq

    with (
        translated_errors(store.locate_url(path)),
        pq.ParquetFile(store.open_input(path)) as parquet,
    ):
        rows = parquet.read(list(ORIGIN_COLUMNS))
    return _origin(rows, store.locate_url(path))


def _origin(rows: pa.Table, where: str) -> tuple[str, npt.NDArray[np.int64]]:
    names, places = (rows.column(name) for name in ORIGIN_COLUMNS)
    is_whole = rows.num_rows and not names.null_count and not places.null_count
    if not is_whole or (names.type, places.type) != (pa.string(), pa.int64()):
        raise CorruptFileError(
            "Quarantined rows do not say where they are from.",
            where,
            expected="a text in _source_file and an integer in _source_row of each row",
            found=f"{rows.num_rows:,} rows of {', '.join(map(str, rows.schema.types))}",
            next_step="restore the file, or score the partition again with `nightscore run --force`",
        )
    return names[0].as_py(), places.to_numpy()


def write_quarantine(
    store: Store,
    path: str,
    tables: Iterable[tuple[pa.Table, npt.NDArray[np.int64]]],
    causes: Sequence[tuple[str, str | None, str]],
    source_file: str,
    model_version: str,
    run_id: str,
    *,
    is_replay: bool = False,
) -> list[FileRecord]:
    """Write the quarantined rows of one input file; none if there were none.

    Rows with text that is not UTF-8 get a file of their own, where all texts are bytes: readers refuse a whole file
    for one such text.

    Args:
        store: The state folder.
        path: Of the new file.
        tables: The rows, whole, with their positions in the source file.
        causes: (reason, column, message) of each row, in the same order.
        source_file: Path of the input file.
        model_version: That refused the rows.
        run_id: Of the run.
        is_replay: The rows come from a quarantine: its columns give way to the new ones.
    """
    writers: dict[str, PartWriter] = {}
    bytes_path = path.removesuffix(".parquet") + "-bytes.parquet"

    def write(where: str, table: pa.Table) -> None:
        if table.num_rows:
            if where not in writers:
                writers[where] = PartWriter(store, where, table.schema, keep_types=True)
            writers[where].write(table)

    start = 0
    try:
        for rows, positions in tables:
            why = causes[start : start + rows.num_rows]
            start += rows.num_rows
            reasons = _reasons(why, positions, source_file, model_version, run_id)
            own = rows.drop_columns(list(REASON_NAMES)) if is_replay else rows
            own, broken = _split(own)
            write(path, _joined(reasons, own, ~broken))
            write(bytes_path, _joined(reasons, as_bytes(own) if broken.any() else own, broken))
        return [writer.close().file for writer in writers.values()]
    except BaseException as error:
        for writer in writers.values():
            writer.__exit__(type(error), error, None)
        raise


def _reasons(
    why: Sequence[tuple[str, str | None, str]],
    positions: npt.NDArray[np.int64],
    source_file: str,
    model_version: str,
    run_id: str,
) -> pa.Table:
    """What is said of each row."""
    n = len(why)
    values = {
        "_source_file": [source_file] * n,
        "_source_row": positions.tolist(),
        "_reason": [reason for reason, _, _ in why],
        "_column": [column for _, column, _ in why],
        "_message": [message for _, _, message in why],
        "_model_version": [model_version] * n,
        "_run_id": [run_id] * n,
    }
    return pa.table(
        [pa.array(values[name], kind) for name, kind in REASON_COLUMNS], names=list(values)
    )


def _split(rows: pa.Table) -> tuple[pa.Table, npt.NDArray[np.bool_]]:
    """The rows, and where any column has text that is not UTF-8; no dictionary has such that no row refers to."""
    found = np.zeros(rows.num_rows, np.bool_)
    for i, column in enumerate(rows.columns):
        broken = broken_texts(column)
        if broken is None:
            continue
        found |= broken
        if not broken.any():
            rows = rows.set_column(i, rows.schema.field(i), without(column, broken))
    return rows, found


def _joined(reasons: pa.Table, rows: pa.Table, wanted: npt.NDArray[np.bool_]) -> pa.Table:
    """Reasons and rows side by side, of the rows that are wanted."""
    table = reasons
    for field, column in zip(rows.schema, rows.columns, strict=True):
        table = table.append_column(_unnumbered(field), column)
    table = table.replace_schema_metadata(None)
    return table if wanted.all() else table.filter(pa.array(wanted))


def _unnumbered(field: pa.Field) -> pa.Field:
    """The field without the number that Parquet gave it: the reasons' columns have none."""
    metadata = field.metadata or {}
    marks = {key: value for key, value in metadata.items() if not key.startswith(b"PARQUET:")}
    return field.with_metadata(marks or None)
