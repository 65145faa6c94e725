"""Reads Parquet files of our own, and others', without a native parser in this process."""

from collections.abc import Iterator, Sequence

import pyarrow as pa

from nightscore.arrow.parsing import decode
from nightscore.arrow.parsing.client import CALL_BYTES, NEXT_STEP, call, stream
from nightscore.arrow.parsing.tails import ENCRYPTED, NoParquetError, is_encrypted, read_tail
from nightscore.errors import CorruptFileError
from nightscore.process import available_bytes
from nightscore.storage.store import Store


def read_facts(store: Store, path: str, size_bytes: int | None = None) -> decode.FileFacts:
    """What a file's footer says of it as a whole.

    Args:
        store: Where it is.
        path: Below the store.
        size_bytes: Of the file, where that is known.

    Raises:
        CorruptFileError: It is no Parquet that can be read.
        StorageError: It is gone, or the store failed.
    """
    where = store.locate_url(path)
    try:
        size = store.describe(path).size_bytes if size_bytes is None else size_bytes
        tail = read_tail(store, path, size)
    except NoParquetError as error:
        raise corrupt(where, str(error)) from error
    try:
        return call(decode.facts_of, tail, where=where)
    except CorruptFileError as error:
        raise (corrupt(where, ENCRYPTED) if is_encrypted(tail) else error) from error
    except (*decode.DAMAGE, MemoryError) as error:
        raise corrupt(where, ENCRYPTED if is_encrypted(tail) else _in_short(error)) from error


def read_table(content: bytes, where: str) -> pa.Table:
    """All of a small file.

    Raises:
        CorruptFileError: It is no Parquet that can be read.
    """
    try:
        table = call(decode.table_of, content, where=where)
        table.validate(full=True)
    except (*decode.DAMAGE, MemoryError) as error:
        raise corrupt(where, _in_short(error)) from error
    return table


def read_tables(
    store: Store, path: str, columns: Sequence[str], batch_rows: int
) -> Iterator[pa.Table]:
    """Columns of a file, so many rows at a time.

    Raises:
        CorruptFileError: It cannot be decoded.
        StorageError: It is gone, or the store failed.
    """
    yield from checked(
        stream(
            decode.tables_of,
            store,
            path,
            columns,
            batch_rows,
            where=store.locate_url(path),
            memory_bytes=stream_bytes(),
        ),
        store.locate_url(path),
    )


def checked(tables: Iterator[pa.Table], where: str) -> Iterator[pa.Table]:
    """The tables, each validated; what Arrow says against them names the file.

    Raises:
        CorruptFileError: They cannot be decoded.
    """
    try:
        for table in tables:
            table.validate(full=True)
            yield table
    except (*decode.DAMAGE, MemoryError) as error:
        raise corrupt(where, _in_short(error)) from error


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


def _in_short(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__
