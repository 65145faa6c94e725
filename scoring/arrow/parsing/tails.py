"""The end of a Parquet file: its footer, and what it says without a native parser."""

from nightscore.arrow.parsing.thrift import Items, Struct, ThriftError, read_struct
from nightscore.storage.store import Store

MAGIC, ENCRYPTED_MAGIC = b"PAR1", b"PARE"
TAIL_BYTES = 64 << 10
"""Read at once: most footers are smaller, and a second request costs latency."""

LEAST_BYTES = 12
"""Length of the shortest Parquet file."""

MAX_WALKED_BYTES = 4 << 20
"""A longer footer is not walked through in Python."""

# Fields of `FileMetaData`.
# Source: https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift
ROW_GROUPS, ENCRYPTION = 4, 8
COLUMNS = 1
CRYPTO_METADATA = 8
"""Field of a column chunk."""

ENCRYPTED = (
    "is encrypted, wholly or in part, and nightscore has no keys: have it written unencrypted"
)


class NoParquetError(ValueError):
    """A file does not end as Parquet files do."""


def read_tail(store: Store, path: str, size_bytes: int, n_bytes: int = TAIL_BYTES) -> bytes:
    """The last bytes of a file: the footer, its length, and the magic number.

    Args:
        store: Where the file is.
        path: Below the store.
        size_bytes: Size of the file when it was listed. If that has changed, it is asked again.
        n_bytes: How many bytes to read at once.

    Raises:
        NoParquetError: It does not end as Parquet does, or is encrypted.
        StorageError: It cannot be read.
    """
    tail = _read_footer(store, path, size_bytes, n_bytes)
    if tail is not None:
        return tail

    current_bytes = store.describe(path).size_bytes

    if current_bytes != size_bytes:
        tail = _read_footer(store, path, current_bytes, n_bytes)
        if tail is not None:
            return tail

    start = max(0, current_bytes - len(MAGIC))
    end = store.read_range(path, start, current_bytes) if current_bytes else b""

    raise NoParquetError(_explain(end, current_bytes))


def is_encrypted(tail: bytes) -> bool:
    """Whether a readable footer says that columns are encrypted. False if that is unknown."""
    if len(tail) > MAX_WALKED_BYTES:
        return False
    try:
        footer = read_struct(tail[:-8])
    except (ThriftError, RecursionError):
        return False
    return ENCRYPTION in footer or _has_encrypted_columns(footer)


def _read_footer(store: Store, path: str, size_bytes: int, n_bytes: int) -> bytes | None:
    """The end of the file. None: it does not have this size, or is not Parquet."""
    if size_bytes < LEAST_BYTES:
        return None

    n_bytes = min(n_bytes, size_bytes)
    tail = store.read_range(path, size_bytes - n_bytes, size_bytes)
    if len(tail) < n_bytes or tail[-4:] != MAGIC:
        return None

    n_footer_bytes = int.from_bytes(tail[-8:-4], "little") + 8
    if n_footer_bytes + len(MAGIC) > size_bytes:
        return None

    if n_footer_bytes > n_bytes:
        start, end = size_bytes - n_footer_bytes, size_bytes - n_bytes
        tail = store.read_range(path, start, end) + tail

    if len(tail) < n_footer_bytes:
        return None

    return tail[-n_footer_bytes:]


def _explain(end: bytes, size_bytes: int) -> str:
    if size_bytes < LEAST_BYTES:
        return f"too short to be Parquet ({LEAST_BYTES} bytes at least)"
    if end == ENCRYPTED_MAGIC:
        return ENCRYPTED
    if end == MAGIC:
        return "its footer would be longer than the file"
    return (
        f"it does not end with {MAGIC.decode()}: it is no Parquet file, or was not written to its "
        "end"
    )


def _has_encrypted_columns(footer: Struct) -> bool:
    for group in _structs_in(footer, ROW_GROUPS):
        chunks = _structs_in(group, COLUMNS)
        if any(CRYPTO_METADATA in chunk for chunk in chunks):
            return True
    return False


def _structs_in(struct: Struct, number: int) -> list[Struct]:
    """The structs in a field that is a list of them. Empty if it is something else."""
    _, value = struct.get(number, (0, None))
    if not isinstance(value, Items):
        return []
    return [item for item in value.values if isinstance(item, dict)]
