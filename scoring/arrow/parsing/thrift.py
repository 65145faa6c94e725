"""Reads and writes Thrift's compact protocol without a schema, so that what is not understood is kept.

Source: https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from dataclasses import dataclass
from typing import TypeAlias

STOP, TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, _MAP, STRUCT = range(13)
LONG_LIST = 15
"""A list's size that does not fit beside its type."""
LONGEST_SHIFT = 63
"""A number's tenth byte is its last."""

Value: TypeAlias = "bool | int | bytes | Items | Struct"
Struct: TypeAlias = dict[int, tuple[int, Value]]
"""Type and value of each field, by its number, in ascending order. Doubles are bytes."""


@dataclass(slots=True)
class Items:
    """A list or a set."""

    kind: int
    """Of its values."""
    values: list[Value]


class ThriftError(ValueError):
    """Bytes are no struct of the compact protocol, or hold what no Parquet footer does."""


def read_struct(content: bytes) -> Struct:
    """The struct that the bytes begin with.

    Raises:
        ThriftError: They do not.
    """
    try:
        found, _ = _read_struct(content, 0)
    except IndexError:
        raise ThriftError("a struct ends in its middle") from None
    return found


def write_struct(struct: Struct) -> bytes:
    """The struct's bytes."""
    out = bytearray()
    _write_struct(out, struct)
    return bytes(out)


def _read_struct(content: bytes, at: int) -> tuple[Struct, int]:
    found: Struct = {}
    number = 0
    while (head := content[at]) != STOP:
        at += 1
        kind, step = head & 15, head >> 4
        if step:
            number += step
        else:
            zigzag, at = _read_varint(content, at)
            number = _signed(zigzag)
        if kind in (TRUE, FALSE):
            found[number] = kind, kind == TRUE
        else:
            value, at = _read_value(content, at, kind)
            found[number] = kind, value
    return found, at + 1


def _read_value(content: bytes, at: int, kind: int) -> tuple[Value, int]:
    if kind in (I16, I32, I64):
        zigzag, at = _read_varint(content, at)
        return _signed(zigzag), at
    if kind in (BINARY, DOUBLE, BYTE, TRUE, FALSE):  # a truth value in a list is a byte
        size, at = _read_varint(content, at) if kind == BINARY else (8 if kind == DOUBLE else 1, at)
        if at + size > len(content):
            raise IndexError
        return content[at : at + size], at + size
    if kind in (LIST, SET):
        head = content[at]
        size, at = (head >> 4, at + 1) if head >> 4 != LONG_LIST else _read_varint(content, at + 1)
        items = Items(head & 15, [])
        for _ in range(size):
            value, at = _read_value(content, at, items.kind)
            items.values.append(value)
        return items, at
    if kind == STRUCT:
        return _read_struct(content, at)
    raise ThriftError(f"a field of type {kind}")


def _write_struct(out: bytearray, struct: Struct) -> None:
    last = 0
    for number, (kind, value) in struct.items():
        if 0 < number - last <= 15:
            out.append((number - last) << 4 | kind)
        else:
            out.append(kind)
            _write_varint(out, _zigzag(number))
        last = number
        if kind not in (TRUE, FALSE):
            _write_value(out, kind, value)
    out.append(STOP)


def _write_value(out: bytearray, kind: int, value: Value) -> None:
    if isinstance(value, Items):
        size = len(value.values)
        out.append(min(size, LONG_LIST) << 4 | value.kind)
        if size >= LONG_LIST:
            _write_varint(out, size)
        for item in value.values:
            _write_value(out, value.kind, item)
    elif isinstance(value, dict):
        _write_struct(out, value)
    elif isinstance(value, bytes):
        if kind == BINARY:
            _write_varint(out, len(value))
        out += value
    else:
        _write_varint(out, _zigzag(value))


def _read_varint(content: bytes, at: int) -> tuple[int, int]:
    found = shift = 0
    while True:
        byte = content[at]
        at += 1
        found |= (byte & 127) << shift
        if byte < 128:
            return found, at
        shift += 7
        if shift > LONGEST_SHIFT:
            raise ThriftError("a number of more than 64 bits")


def _write_varint(out: bytearray, value: int) -> None:
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)


def _signed(zigzag: int) -> int:
    return zigzag >> 1 ^ -(zigzag & 1)


def _zigzag(value: int) -> int:
    return value << 1 if value >= 0 else (-value << 1) - 1
