"""The end of a Parquet file: where its footer is, and what can be said of it without a native parser."""

from nightscore.arrow.parsing.thrift import Items, Struct, ThriftError, read_struct
from nightscore.storage.store import Store

MAGIC, ENCRYPTED_MAGIC = b"PAR1", b"PARE"
TAIL_BYTES = 64 << 10
"""Read at once: most footers are smaller, and a second request costs latency."""
LEAST_BYTES = 12
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
    """A file's end is none of a Parquet file's."""


def read_tail(store: Store, path: str, size_bytes: int, n_bytes: int = TAIL_BYTES) -> bytes:
    """The footer with its length and the magic number after it: the last bytes of the file.

    Args:
        store: Where it is.
        path: Below the store.
        size_bytes: Of the file, as it was listed; one that has another size by now is asked for its size again.
        n_bytes: To read at once.

    Raises:
        NoParquetError: It does not end as Parquet does, or is encrypted.
        StorageError: It cannot be read.
    """
    tail = _tail_of(store, path, size_bytes, n_bytes)
    if tail is None:
        now = store.describe(path).size_bytes
        tail = _tail_of(store, path, now, n_bytes) if now != size_bytes else None
        if tail is None:
            end = store.read_range(path, max(0, now - len(MAGIC)), now) if now else b""
            raise NoParquetError(_what_is_wrong(end, now))
    return tail


def is_encrypted(tail: bytes) -> bool:
    """Whether a footer that can be read says that columns are encrypted, as far as that can be told."""
    if len(tail) > MAX_WALKED_BYTES:
        return False
    try:
        footer = read_struct(tail[:-8])
    except (ThriftError, RecursionError):
        return False
    return ENCRYPTION in footer or _has_encrypted_columns(footer)


def _tail_of(store: Store, path: str, size_bytes: int, n_bytes: int) -> bytes | None:
    """None: the file is none of this length, or no Parquet."""
    if size_bytes < LEAST_BYTES:
        return None
    n_bytes = min(n_bytes, size_bytes)
    tail = store.read_range(path, size_bytes - n_bytes, size_bytes)
    if len(tail) < n_bytes or tail[-4:] != MAGIC:
        return None
    n_footer = int.from_bytes(tail[-8:-4], "little") + 8
    if n_footer + len(MAGIC) > size_bytes:
        return None
    if n_footer > n_bytes:
        tail = store.read_range(path, size_bytes - n_footer, size_bytes - n_bytes) + tail
    return tail[-n_footer:] if len(tail) >= n_footer else None


def _what_is_wrong(end: bytes, size_bytes: int) -> str:
    if size_bytes < LEAST_BYTES:
        return f"too short to be Parquet ({LEAST_BYTES} bytes at least)"
    if end == ENCRYPTED_MAGIC:
        return ENCRYPTED
    if end == MAGIC:
        return "its footer would be longer than the file"
    return f"it does not end with {MAGIC.decode()}: it is no Parquet file, or was not written to its end"


def _has_encrypted_columns(footer: Struct) -> bool:
    groups = _structs_of(footer, ROW_GROUPS)
    chunks = [chunk for group in groups for chunk in _structs_of(group, COLUMNS)]
    return any(CRYPTO_METADATA in chunk for chunk in chunks)


def _structs_of(struct: Struct, number: int) -> list[Struct]:
    """The structs in a field that is a list of them; none if it is something else."""
    _, value = struct.get(number, (0, None))
    items = value.values if isinstance(value, Items) else []
    return [item for item in items if isinstance(item, dict)]
