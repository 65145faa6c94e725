"""Reads Parquet files, our own and others', without a native parser in this process."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from nightscore.arrow.parsing import decode
from nightscore.arrow.parsing.client import CALL_BYTES, NEXT_STEP, call, stream
from nightscore.arrow.parsing.tails import ENCRYPTED, NoParquetError, is_encrypted, read_tail
from nightscore.errors import CorruptFileError
from nightscore.process import available_bytes
from nightscore.storage.store import Store

if TYPE_CHECKING:  # a partition that is unchanged needs no Arrow
    import pyarrow as pa


def read_facts(store: Store, path: str, size_bytes: int | None = None) -> decode.FileFacts:
    """What a footer says about its file as a whole.

    Args:
        store: Where the file is.
        path: Below the store.
        size_bytes: Size of the file, if known.

    Raises:
        CorruptFileError: It is not Parquet, or damaged.
        StorageError: It is gone, or the store failed.
    """
    where = store.locate_url(path)

    if size_bytes is None:
        size_bytes = store.describe(path).size_bytes

    try:
        tail = read_tail(store, path, size_bytes)
    except NoParquetError as error:
        raise corrupt(where, str(error)) from error

    try:
        return call(decode.facts_of, tail, where=where)
    except CorruptFileError as error:
        if is_encrypted(tail):
            raise corrupt(where, ENCRYPTED) from error
        raise
    except decode.damage() as error:
        reason = ENCRYPTED if is_encrypted(tail) else _summarize(error)
        raise corrupt(where, reason) from error


def read_table(content: bytes, where: str) -> "pa.Table":
    """All rows of a small file.

    Args:
        content: The file's bytes.
        where: The file, for the error.

    Raises:
        CorruptFileError: It is not Parquet, or damaged.
    """
    try:
        table = call(decode.table_of, content, where=where)
        table.validate(full=True)
    except decode.damage() as error:
        raise corrupt(where, _summarize(error)) from error

    return table


def read_tables(
    store: Store, path: str, columns: Sequence[str], batch_rows: int
) -> "Iterator[pa.Table]":
    """Columns of a file, up to `batch_rows` rows at a time.

    Raises:
        CorruptFileError: It cannot be decoded.
        StorageError: It is gone, or the store failed.
    """
    where = store.locate_url(path)

    tables = stream(
        decode.tables_of,
        store,
        path,
        columns,
        batch_rows,
        where=where,
        memory_bytes=stream_bytes(),
    )

    yield from checked(tables, where)


def checked(tables: "Iterator[pa.Table]", where: str) -> "Iterator[pa.Table]":
    """The tables, each validated. Errors of Arrow name the file.

    Raises:
        CorruptFileError: They cannot be decoded.
    """
    try:
        for table in tables:
            table.validate(full=True)
            yield table
    except decode.damage() as error:
        raise corrupt(where, _summarize(error)) from error


def stream_bytes() -> int:
    """Address space that decoding may take: columns are larger than footers."""
    return max(2 * CALL_BYTES, available_bytes() // 2)


def corrupt(where: str, found: str) -> CorruptFileError:
    """The error of one file."""
    return CorruptFileError(
        "A file cannot be read as Parquet.",
        where,
        expected="a complete Parquet file",
        found=found,
        next_step=NEXT_STEP,
    )


def _summarize(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__
