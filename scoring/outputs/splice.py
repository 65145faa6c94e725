"""Concatenates Parquet files into one, without decoding what is in them."""

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
from nightscore.errors import StorageError
from nightscore.outputs.writer import ROW_GROUP_ROWS, WrittenPart, discard
from nightscore.schemas.manifest import FileRecord
from nightscore.storage.errors import translated_errors
from nightscore.storage.hashing import HashingFile
from nightscore.storage.store import Store

MAGIC = b"PAR1"
"""At both ends of a file."""

TAIL_BYTES = 64 << 10
"""Read at once for a footer. Most footers are shorter."""

BLOCK_BYTES = 8 << 20
"""Copied at a time."""

LEAST_ROWS = ROW_GROUP_ROWS // 4
"""Rows a row group has on average, at least: smaller ones are slow to read."""

# Fields of `FileMetaData` and what is in it.
# Source: https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift
VERSION, SCHEMA, NUM_ROWS, ROW_GROUPS, KEY_VALUES, _, COLUMN_ORDERS = range(1, 8)
COLUMNS, GROUP_OFFSET, ORDINAL = 1, 5, 7
CHUNK_OFFSETS = (2, 4, 6)
"""In a column chunk: offsets of its metadata (or 0), its offset index and its column index."""
CHUNK_METADATA = 3
PAGE_OFFSETS = (9, 10, 11, 14)
"""Offsets of its first data page, its index page, its dictionary page and its Bloom filter."""


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
    """One file with the row groups of all, byte for byte. They are copied a block at a time.

    Args:
        store: Holds all files.
        parts: In order.
        path: The new file.
        metadata: Added to the footer's.

    Returns:
        The file. None, and nothing was written, if the files are not alike, or if their row groups
        are so small that the rows are better written anew.
    """
    pieces = _read_pieces(store, parts)
    footer = _join_footers(pieces, metadata) if pieces else None
    if footer is None:
        return None

    n_rows = sum(part.file.rows for part in parts)

    n_groups = len(_items(footer, ROW_GROUPS))
    if len(pieces) > 1 and n_rows < LEAST_ROWS * n_groups:
        return None

    end = _encode_footer(footer)
    parsed = _parse_footer(end)
    if (parsed.num_rows, parsed.num_row_groups) != (n_rows, n_groups):
        return None

    file = _write(store, path, pieces, end)
    record = FileRecord(path=path, size_bytes=file.size_bytes, rows=n_rows, sha256=file.sha256)

    return WrittenPart(record, part_stats(parsed))


def _read_pieces(store: Store, parts: Sequence[WrittenPart]) -> list[_Piece]:
    """All files with their footers. Empty if the footer of one cannot be joined."""
    pieces = []
    for part in parts:
        piece = _read_piece(store, part.file)
        if piece is None:
            return []
        pieces.append(piece)
    return pieces


def _read_piece(store: Store, record: FileRecord) -> _Piece | None:
    """A file with its footer. None: its footer cannot be joined."""
    size_bytes = record.size_bytes
    tail = store.read_range(record.path, max(0, size_bytes - TAIL_BYTES), size_bytes)
    if len(tail) < 8 or tail[-4:] != MAGIC:
        return None

    (n_footer_bytes,) = struct.unpack("<I", tail[-8:-4])
    start = size_bytes - 8 - n_footer_bytes
    if start < len(MAGIC):
        return None

    if n_footer_bytes + 8 > len(tail):
        tail = store.read_range(record.path, start, size_bytes)

    try:
        footer = read_struct(tail[-8 - n_footer_bytes : -8])
    except ThriftError:
        return None

    return _Piece(record.path, start - len(MAGIC), footer)


def _join_footers(pieces: Sequence[_Piece], metadata: Mapping[str, str]) -> Struct | None:
    """The footer of the whole file.

    None if the pieces differ in their schemas, or in what else they say about themselves.
    """
    first = pieces[0].footer
    groups: list[Any] = []
    n_rows = shift = 0

    for piece in pieces:
        if not _is_alike(piece.footer, first):
            return None
        for group in _items(piece.footer, ROW_GROUPS):
            groups.append(_move_group(group, shift, len(groups)))
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


def _is_alike(footer: Struct, other: Struct) -> bool:
    fields = (VERSION, SCHEMA, KEY_VALUES, COLUMN_ORDERS)
    return all(footer.get(field) == other.get(field) for field in fields)


def _move_group(group: Struct, shift: int, ordinal: int) -> Struct:
    """A row group's metadata after its bytes have moved by `shift`."""
    columns: list[Any] = []
    for chunk in _items(group, COLUMNS):
        moved_chunk = _shift_offsets(chunk, CHUNK_OFFSETS, shift)
        kind, metadata = chunk[CHUNK_METADATA]
        moved_metadata = _shift_offsets(cast(Struct, metadata), PAGE_OFFSETS, shift)
        columns.append(moved_chunk | {CHUNK_METADATA: (kind, moved_metadata)})

    moved = _shift_offsets(group, (GROUP_OFFSET,), shift)
    moved[COLUMNS] = (LIST, Items(STRUCT, columns))

    if ORDINAL in moved:
        moved[ORDINAL] = moved[ORDINAL][0], ordinal

    return moved


def _shift_offsets(fields: Struct, offsets: Sequence[int], shift: int) -> Struct:
    """The fields with these offsets increased. An offset of 0 is none."""
    shifted = dict(fields)
    for number in offsets:
        if number in fields and fields[number][1]:
            kind, offset = fields[number]
            shifted[number] = (kind, cast(int, offset) + shift)
    return shifted


def _items(fields: Struct, number: int) -> list[Any]:
    return cast(Items, fields[number][1]).values


def _encode_footer(footer: Struct) -> bytes:
    """The end of the file: footer, its length, magic number."""
    packed = write_struct(footer)
    return packed + struct.pack("<I", len(packed)) + MAGIC


def _parse_footer(end: bytes) -> Any:
    """The metadata as pyarrow reads it, as a check of what was encoded."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(pa.BufferReader(MAGIC + end)) as parquet:
        return parquet.metadata


def _write(store: Store, path: str, pieces: Sequence[_Piece], end: bytes) -> HashingFile:
    with translated_errors(store.locate_url(path)):
        file = HashingFile(store.open_output(path))
        try:
            file.write(MAGIC)

            for piece in pieces:
                for block in _read_body(store, piece):
                    file.write(block)

            file.write(end)
            file.close()
        except BaseException:
            file.abort()
            discard(store, path)
            raise

    return file


def _read_body(store: Store, piece: _Piece) -> Iterator[bytes]:
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
