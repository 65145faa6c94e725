"""Reads and writes Thrift's compact protocol without a schema, so that unknown fields are kept.

Source: https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from dataclasses import dataclass
from typing import TypeAlias

STOP, TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, _MAP, STRUCT = range(13)
LONG_LIST = 15
"""A list's size that does not fit beside its type."""
FIXED_BYTES = {DOUBLE: 8, BYTE: 1, TRUE: 1, FALSE: 1}
"""Lengths of values that are kept as bytes. A truth value in a list is a byte."""

LONGEST_SHIFT = 63
"""The tenth byte of a number is its last."""

Value: TypeAlias = "bool | int | bytes | Items | Struct"
Struct: TypeAlias = dict[int, tuple[int, Value]]
"""Type and value of each field, by its number, in ascending order. Doubles are bytes."""


@dataclass(slots=True)
class Items:
    """A list or a set."""

    kind: int
    """Type of the values."""
    values: list[Value]


class ThriftError(ValueError):
    """The bytes are no struct of the compact protocol, or no Parquet footer has such content."""


def read_struct(content: bytes) -> Struct:
    """The struct that the bytes begin with.

    Raises:
        ThriftError: They do not.
    """
    try:
        struct, _ = _read_struct(content, 0)
    except IndexError:
        raise ThriftError("a struct ends in its middle") from None
    return struct


def write_struct(struct: Struct) -> bytes:
    """The struct's bytes."""
    out = bytearray()
    _write_struct(out, struct)
    return bytes(out)


def _read_struct(content: bytes, at: int) -> tuple[Struct, int]:
    """The struct at a position, and the position after it. So do all readers below."""
    struct: Struct = {}
    number = 0

    while (head := content[at]) != STOP:
        at += 1
        kind, step = head & 15, head >> 4

        if step:
            number += step
        else:
            zigzag, at = _read_varint(content, at)
            number = _from_zigzag(zigzag)

        if kind in (TRUE, FALSE):
            struct[number] = kind, kind == TRUE
        else:
            value, at = _read_value(content, at, kind)
            struct[number] = kind, value

    return struct, at + 1


def _read_value(content: bytes, at: int, kind: int) -> tuple[Value, int]:
    if kind in (I16, I32, I64):
        zigzag, at = _read_varint(content, at)
        return _from_zigzag(zigzag), at

    if kind == BINARY:
        n_bytes, at = _read_varint(content, at)
        return _read_bytes(content, at, n_bytes)

    if kind in FIXED_BYTES:
        return _read_bytes(content, at, FIXED_BYTES[kind])
    if kind in (LIST, SET):
        return _read_items(content, at)
    if kind == STRUCT:
        return _read_struct(content, at)

    raise ThriftError(f"a field of type {kind}")


def _read_bytes(content: bytes, at: int, n_bytes: int) -> tuple[bytes, int]:
    end = at + n_bytes
    if end > len(content):
        raise IndexError
    return content[at:end], end


def _read_items(content: bytes, at: int) -> tuple[Items, int]:
    head = content[at]
    n_values, at = head >> 4, at + 1
    if n_values == LONG_LIST:
        n_values, at = _read_varint(content, at)

    items = Items(head & 15, [])
    for _ in range(n_values):
        value, at = _read_value(content, at, items.kind)
        items.values.append(value)
    return items, at


def _write_struct(out: bytearray, struct: Struct) -> None:
    previous = 0
    for number, (kind, value) in struct.items():
        step = number - previous
        if 0 < step <= 15:
            out.append(step << 4 | kind)
        else:
            out.append(kind)
            _write_varint(out, _to_zigzag(number))

        previous = number

        if kind not in (TRUE, FALSE):
            _write_value(out, kind, value)

    out.append(STOP)


def _write_value(out: bytearray, kind: int, value: Value) -> None:
    if isinstance(value, Items):
        _write_items(out, value)
    elif isinstance(value, dict):
        _write_struct(out, value)
    elif isinstance(value, bytes):
        if kind == BINARY:
            _write_varint(out, len(value))
        out += value
    else:
        _write_varint(out, _to_zigzag(value))


def _write_items(out: bytearray, items: Items) -> None:
    n_values = len(items.values)
    out.append(min(n_values, LONG_LIST) << 4 | items.kind)
    if n_values >= LONG_LIST:
        _write_varint(out, n_values)
    for value in items.values:
        _write_value(out, items.kind, value)


def _read_varint(content: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = content[at]
        at += 1
        value |= (byte & 127) << shift

        if byte < 128:
            return value, at

        shift += 7
        if shift > LONGEST_SHIFT:
            raise ThriftError("a number of more than 64 bits")


def _write_varint(out: bytearray, value: int) -> None:
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)


def _from_zigzag(zigzag: int) -> int:
    return zigzag >> 1 ^ -(zigzag & 1)


def _to_zigzag(value: int) -> int:
    return value << 1 if value >= 0 else (-value << 1) - 1
