"""Opens an input file that is still the one that was listed."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from nightscore.errors import InputChangedError, LocationNotFoundError
from nightscore.schemas.partition import InputFile
from nightscore.storage.errors import translated_errors
from nightscore.storage.store import Store

if TYPE_CHECKING:
    import pyarrow.parquet as pq

RUN_AGAIN = "run again once the writer of the input is done"


def open_parquet(
    store: Store, file: InputFile, source: Any = None, **options: Any
) -> "pq.ParquetFile":
    """The open file.

    Args:
        store: Where it is.
        file: As it was listed.
        source: What pyarrow reads from; None: the store's own file.
        options: Of `pyarrow.parquet.ParquetFile`.

    Raises:
        InputChangedError: Its size or version differs, or it is gone.
    """
    import pyarrow.parquet as pq

    _check_unchanged(store, file)
    source = store.open_input(file.path) if source is None else source
    return pq.ParquetFile(source, pre_buffer=False, page_checksum_verification=True, **options)


def read_whole(store: Store, file: InputFile) -> bytes:
    """All bytes of a file.

    Raises:
        InputChangedError: Its size or version differs, or it is gone.
    """
    _check_unchanged(store, file)
    try:
        return store.read_range(file.path, 0, file.size_bytes)
    except LocationNotFoundError as error:
        raise gone_error(store.locate_url(file.path), error) from error


def open_content(content: bytes, **options: Any) -> "pq.ParquetFile":
    """The open file of which these are all bytes.

    Args:
        content: As `read_whole` gives it.
        options: Of `pyarrow.parquet.ParquetFile`.
    """
    import pyarrow.parquet as pq

    source = pa.BufferReader(content)
    return pq.ParquetFile(source, pre_buffer=False, page_checksum_verification=True, **options)


def read_columns(
    store: Store, file: InputFile, columns: Sequence[str], batch_rows: int
) -> Iterator[pa.Table]:
    """Columns of a file, so many rows at a time. Runs in the process that parses Parquet.

    Texts come as their bytes, since they may not be UTF-8.
    """
    with translated_errors(store.locate_url(file.path)), open_parquet(store, file) as parquet:
        for batch in parquet.iter_batches(batch_rows, columns=list(columns), use_threads=False):
            table = pa.Table.from_batches([batch])
            as_bytes = [_texts_as_bytes(column) for column in table.columns]
            yield pa.table(as_bytes, names=table.column_names)


def gone_error(where: str, error: Exception) -> InputChangedError:
    """For a file that is gone since it was listed."""
    return InputChangedError(
        "An input file is gone since it was listed; nothing was published.",
        where,
        found=str(error).splitlines()[0] if str(error) else "no details",
        next_step=RUN_AGAIN,
    )


def _check_unchanged(store: Store, file: InputFile) -> None:
    try:
        now = store.describe(file.path)
    except LocationNotFoundError as error:
        raise gone_error(store.locate_url(file.path), error) from error

    if (now.size_bytes, now.version) != (file.size_bytes, file.version):
        raise InputChangedError(
            "An input file changed after it was listed; nothing was published.",
            store.locate_url(file.path),
            expected=f"{file.size_bytes:,} bytes, version {file.version}",
            found=f"{now.size_bytes:,} bytes, version {now.version}",
            next_step=RUN_AGAIN,
        )


def _texts_as_bytes(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The column with binary values in place of texts; neither looked at nor copied."""
    arrow_type = column.type
    if pa.types.is_dictionary(arrow_type) and pa.types.is_string(arrow_type.value_type):
        chunks = [
            pa.DictionaryArray.from_arrays(chunk.indices, chunk.dictionary.cast(pa.binary()))
            for chunk in column.chunks
        ]
        return pa.chunked_array(chunks, pa.dictionary(arrow_type.index_type, pa.binary()))

    if pa.types.is_large_string(arrow_type):
        return column.cast(pa.large_binary())
    if pa.types.is_string(arrow_type):
        return column.cast(pa.binary())

    return column
