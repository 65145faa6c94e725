"""Puts Parquet files one after another into one, without decoding what is in them."""

import contextlib
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import pyarrow as pa

from nightscore.arrow.parsing.decode import part_stats
from nightscore.arrow.parsing.thrift import (
    BINARY,
    LIST,
    STRUCT,
    Items,
    Struct,
    ThriftError,
    read_struct,
    write_struct,
)
from nightscore.errors import ScoringError, StorageError
from nightscore.outputs.writer import ROW_GROUP_ROWS, WrittenPart
from nightscore.schemas.manifest import FileRecord
from nightscore.storage.errors import translated_errors
from nightscore.storage.hashing import HashingFile
from nightscore.storage.store import Store

MAGIC = b"PAR1"
"""At both ends of a file."""
TAIL_BYTES = 64 << 10
"""Read at once for a footer: most are shorter."""
BLOCK_BYTES = 8 << 20
LEAST_ROWS = ROW_GROUP_ROWS // 4
"""On average a row group: readers pay for smaller ones."""

# Fields of `FileMetaData` and what is in it.
# Source: https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift
VERSION, SCHEMA, NUM_ROWS, ROW_GROUPS, KEY_VALUES, _, COLUMN_ORDERS = range(1, 8)
COLUMNS, GROUP_OFFSET, ORDINAL = 1, 5, 7
CHUNK_OFFSETS = (2, 4, 6)
"""Of a column chunk: of its metadata (or 0), of its offset index and of its column index."""
CHUNK_METADATA = 3
PAGE_OFFSETS = (9, 10, 11, 14)
"""Of its first data page, its index page, its dictionary page and its Bloom filter."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """A file to be put into another."""

    path: str
    n_body_bytes: int
    """Between the magic number and the footer."""
    footer: Struct


def splice(
    store: Store, parts: Sequence[WrittenPart], path: str, metadata: Mapping[str, str]
) -> WrittenPart | None:
    """One file with the row groups of all, byte for byte; they are read a block at a time.

    Args:
        store: Of all files.
        parts: In order.
        path: Of the new file.
        metadata: Added to the footer's.

    Returns:
        The file; None, and nothing was written, if the files are not alike or their row groups so small that the rows
        are better written anew.
    """
    pieces = []
    for part in parts:
        piece = _read_piece(store, part.file)
        if piece is None:
            return None
        pieces.append(piece)
    n_rows = sum(part.file.rows for part in parts)
    footer = _joined(pieces, metadata)
    if footer is None:
        return None
    n_groups = len(_items(footer, ROW_GROUPS))
    if len(pieces) > 1 and n_rows < LEAST_ROWS * n_groups:
        return None
    import pyarrow.parquet as pq

    packed = write_struct(footer)
    end = packed + struct.pack("<I", len(packed)) + MAGIC
    with pq.ParquetFile(pa.BufferReader(MAGIC + end)) as parquet:
        read: Any = parquet.metadata
    if (read.num_rows, read.num_row_groups) != (n_rows, n_groups):
        return None
    with translated_errors(store.locate_url(path)):
        file = HashingFile(store.open_output(path))
        try:
            file.write(MAGIC)
            for piece in pieces:
                for block in _body(store, piece):
                    file.write(block)
            file.write(end)
            file.close()
        except BaseException:
            file.abort()
            with contextlib.suppress(ScoringError, OSError):
                store.delete(
                    [path]
                )  # on a disk; an object store has nothing before the file is whole
            raise
    record = FileRecord(path=path, size_bytes=file.size_bytes, rows=n_rows, sha256=file.sha256)
    return WrittenPart(record, part_stats(read))


def _read_piece(store: Store, record: FileRecord) -> _Piece | None:
    """None: the file's footer is none that can be joined."""
    tail = store.read_range(record.path, max(0, record.size_bytes - TAIL_BYTES), record.size_bytes)
    if len(tail) < 8 or tail[-4:] != MAGIC:
        return None
    (n_bytes,) = struct.unpack("<I", tail[-8:-4])
    start = record.size_bytes - 8 - n_bytes
    if start < len(MAGIC):
        return None
    if n_bytes + 8 > len(tail):
        tail = store.read_range(record.path, start, record.size_bytes)
    try:
        return _Piece(record.path, start - len(MAGIC), read_struct(tail[-8 - n_bytes : -8]))
    except ThriftError:
        return None


def _joined(pieces: Sequence[_Piece], metadata: Mapping[str, str]) -> Struct | None:
    """The footer of the whole; None if the pieces differ in their schemas, or in what else they say of themselves."""
    first = pieces[0].footer
    alike = (VERSION, SCHEMA, KEY_VALUES, COLUMN_ORDERS)
    groups: list[Any] = []
    n_rows = shift = 0
    for piece in pieces:
        if any(piece.footer.get(field) != first.get(field) for field in alike):
            return None
        for group in _items(piece.footer, ROW_GROUPS):
            groups.append(_moved(group, shift, len(groups)))
        n_rows += cast(int, piece.footer[NUM_ROWS][1])
        shift += piece.n_body_bytes
    known = _items(first, KEY_VALUES) if KEY_VALUES in first else []
    added: list[Any] = [
        {1: (BINARY, key.encode()), 2: (BINARY, value.encode())} for key, value in metadata.items()
    ]
    joined: Struct = first | {
        NUM_ROWS: (first[NUM_ROWS][0], n_rows),
        ROW_GROUPS: (LIST, Items(STRUCT, groups)),
        KEY_VALUES: (LIST, Items(STRUCT, [*known, *added])),
    }
    return dict(sorted(joined.items()))


def _moved(group: Struct, shift: int, ordinal: int) -> Struct:
    """A row group's metadata after its bytes went so much farther into a file."""
    columns: list[Any] = []
    for chunk in _items(group, COLUMNS):
        moved = _shifted(chunk, CHUNK_OFFSETS, shift)
        kind, inner = chunk[CHUNK_METADATA]
        columns.append(
            moved | {CHUNK_METADATA: (kind, _shifted(cast(Struct, inner), PAGE_OFFSETS, shift))}
        )
    found = _shifted(group, (GROUP_OFFSET,), shift) | {COLUMNS: (LIST, Items(STRUCT, columns))}
    if ORDINAL in found:
        found[ORDINAL] = found[ORDINAL][0], ordinal
    return found


def _shifted(fields: Struct, offsets: Sequence[int], shift: int) -> Struct:
    """0 stands for an offset that is not told."""
    moved = {
        number: (fields[number][0], cast(int, fields[number][1]) + shift)
        for number in offsets
        if number in fields and fields[number][1]
    }
    return fields | moved


def _items(fields: Struct, number: int) -> list[Any]:
    return cast(Items, fields[number][1]).values


def _body(store: Store, piece: _Piece) -> Iterator[bytes]:
    for start in range(0, piece.n_body_bytes, BLOCK_BYTES):
        end = min(start + BLOCK_BYTES, piece.n_body_bytes)
        block = store.read_range(piece.path, len(MAGIC) + start, len(MAGIC) + end)
        if len(block) != end - start:
            raise StorageError(
                "A file is shorter than it was when it was written; nothing was published.",
                store.locate_url(piece.path),
                next_step="run again; look for what else writes to the state folder",
            )
        yield block
