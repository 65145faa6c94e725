"""Changes of one kind of content each, drawn from a generator: the same numbers give the same bytes."""

import copy
import json
import math
import struct
from collections.abc import Callable
from typing import Any

import numpy as np

Rng = np.random.Generator
INTEGERS = (
    0, 1, -1, 2, 3, 7, 63, 64, 65, 127, 128, 255, 256, 32_767, 65_535, 65_536, 10**6, 2**31 - 1, 2**31, -(2**31),
    2**32 - 1, 2**32, 2**53, 2**62, 2**63 - 1, -(2**63),
)  # fmt: skip
FLOATS = (
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    1e-35,
    1e-45,
    1e38,
    1e39,
    1e308,
    -1e308,
    math.nan,
    math.inf,
    -math.inf,
)
TEXTS = (
    "",
    "0",
    "-1",
    "nan",
    "[]",
    "null",
    "a" * 300,
    "../x",
    "/etc/passwd",
    "\u00e9",
    "1e9",
    "4294967297",
    "true",
)
MAX_NODES = 4_000


def pick(rng: Rng, values: Any) -> Any:
    return values[int(rng.integers(len(values)))]


def change_bytes(rng: Rng, content: bytes) -> bytes:
    """One change of bytes: flipped, cut, doubled, or numbers of the machine's kind put in."""
    if not content:
        return b"\0"
    data = bytearray(content)
    place = int(rng.integers(len(data)))
    size = int(rng.integers(1, 9))
    kind = int(rng.integers(7))
    if kind <= 1:
        data[place] ^= 1 << int(rng.integers(8))
    elif kind == 2:
        data[place] = pick(rng, (0, 1, 0x7F, 0x80, 0xFF))
    elif kind == 3:
        del data[place : place + size]
    elif kind == 4:
        data[place:place] = data[place : place + size]
    elif kind == 5:
        number = pick(rng, INTEGERS)
        order = pick(rng, ("<", ">"))
        wide = (
            struct.pack(order + "q", number)
            if rng.integers(2)
            else struct.pack(order + "I", number & 0xFFFFFFFF)
        )
        data[place : place + len(wide)] = wide
    else:
        del data[place:]
    return bytes(data)


def change_scalar(rng: Rng, value: Any) -> Any:
    """Another value, mostly of the same type."""
    if isinstance(value, bool):
        return not value
    if rng.random() < 0.05:
        return pick(rng, (None, [], {}, "x", -1, 1.5, True, [[]], {"a": 1}))
    if isinstance(value, int):
        return pick(rng, (value + 1, value - 1, -value - 1, pick(rng, INTEGERS), value * 2))
    if isinstance(value, float):
        return pick(
            rng, (-value, float(np.nextafter(value, np.inf)), pick(rng, FLOATS), value * 1e30)
        )
    if isinstance(value, str):
        try:
            number = float(value)
        except ValueError:
            return pick(rng, (*TEXTS, value[:-1], value + value, value.upper(), value + "\0"))
        if (
            number == int(number if abs(number) < 1e18 else 0)
            and "." not in value
            and "e" not in value.lower()
        ):
            return str(change_scalar(rng, int(number)))
        return pick(rng, (*TEXTS, str(change_scalar(rng, number))))
    if isinstance(value, bytes):
        return change_bytes(rng, value)
    return pick(rng, (0, "x", [], {}))


def places(document: Any) -> list[tuple[Any, Any]]:
    """Each place of a document of mappings, lists and arrays: what holds it, and its key."""
    nodes: list[tuple[Any, Any]] = []
    waiting = [document]
    while waiting and len(nodes) < MAX_NODES:
        node = waiting.pop()
        if isinstance(node, dict):
            keys: Any = list(node)
        elif isinstance(node, list):
            keys = range(len(node))
        else:
            continue
        for key in keys:
            nodes.append((node, key))
            waiting.append(node[key])
    return nodes


def change_document(rng: Rng, document: Any) -> Any:
    """One change of a document; it is changed in its place."""
    # Inner values are many more than what holds them: half of the changes are of the latter.
    every = places(document)
    if not every:
        return change_scalar(rng, document)
    leaves = [place for place in every if not isinstance(place[0][place[1]], dict | list)]
    holder, key = pick(rng, leaves if leaves and rng.random() < 0.6 else every)
    value = holder[key]
    kind = rng.random()
    if isinstance(value, np.ndarray) and kind < 0.8:
        holder[key] = change_array(rng, value)
    elif not isinstance(value, dict | list | np.ndarray) and kind < 0.7:
        holder[key] = change_scalar(rng, value)
    elif kind < 0.8:
        del holder[key]
    elif kind < 0.88:
        other, other_key = pick(rng, every)
        holder[key] = copy.deepcopy(other[other_key])
    elif isinstance(value, list) and value:
        change_list(rng, value)
    elif isinstance(holder, dict):
        holder[pick(rng, TEXTS)] = copy.deepcopy(value)
    else:
        holder[key] = pick(rng, (None, {}, [], [value], {"a": value}))
    return document


def change_list(rng: Rng, values: list[Any]) -> None:
    kind = int(rng.integers(5))
    if kind == 0:
        values.append(copy.deepcopy(pick(rng, values)))
    elif kind == 1:
        del values[int(rng.integers(len(values))) :]
    elif kind == 2:
        values.extend(copy.deepcopy(values))
    elif kind == 3:
        values.reverse()
    else:
        values[:] = [pick(rng, values)] * len(values)


def change_array(rng: Rng, array: Any) -> Any:
    """One element of an array, or its length."""
    changed = array.copy()
    if rng.random() < 0.15:
        return (
            changed[: int(rng.integers(len(changed) + 1))]
            if changed.ndim and len(changed)
            else changed
        )
    if rng.random() < 0.1 and changed.ndim and len(changed):
        return np.concatenate([changed, changed[-1:]])
    flat = changed.reshape(-1)
    if flat.size == 0:
        return changed
    i = int(rng.integers(flat.size))
    with np.errstate(all="ignore"):
        if flat.dtype.kind in "iu":
            flat[i] = _fitting(rng, flat, i)
        elif flat.dtype.kind == "f":
            flat[i] = pick(rng, FLOATS)
        elif flat.dtype.kind == "b":
            flat[i] = not flat[i]
        elif flat.dtype.kind == "V":
            name = pick(rng, flat.dtype.names)
            flat[name] = (
                change_array(rng, flat[name].copy())[: flat.size] if flat.size > 1 else flat[name]
            )
    return changed


def _fitting(rng: Rng, flat: Any, i: int) -> Any:
    """A whole number, cut to the array's type."""
    value = pick(
        rng, (int(flat[i]) + 1, int(flat[i]) - 1, int(pick(rng, flat)), pick(rng, INTEGERS))
    )
    return np.array(value & 0xFFFFFFFFFFFFFFFF, np.uint64).astype(flat.dtype)


def change_lines(rng: Rng, text: str) -> str:
    """One change of a text of lines `name=values`."""
    lines = text.split("\n")
    i = int(rng.integers(len(lines)))
    # Lines of trees, which have values, more often than others.
    with_values = [k for k, line in enumerate(lines) if "=" in line and len(line) < 5_000]
    if with_values and rng.random() < 0.85:
        i = int(pick(rng, with_values))
        name, _, values = lines[i].partition("=")
        separator = ":" if name == "feature_infos" else " "
        parts = values.split(separator)
        k = int(rng.integers(len(parts)))
        kind = rng.random()
        if kind < 0.75:
            parts[k] = str(change_scalar(rng, parts[k]))
        elif kind < 0.85:
            del parts[k]
        else:
            parts.insert(k, parts[k])
        lines[i] = f"{name}={separator.join(parts)}"
    elif rng.random() < 0.5:
        del lines[i]
    else:
        lines.insert(i, pick(rng, lines))
    return "\n".join(lines)


def change_message(rng: Rng, message: Any) -> None:
    """One change of a protobuf message, in its place."""
    fields: list[tuple[Any, Any]] = []
    waiting = [message]
    while waiting and len(fields) < MAX_NODES:
        part = waiting.pop()
        for field, value in part.ListFields():
            fields.append((part, field))
            if field.message_type is not None:
                waiting += list(value) if is_repeated(field) else [value]
    if not fields:
        return
    scalars = [place for place in fields if place[1].message_type is None]
    part, field = pick(rng, scalars if scalars and rng.random() < 0.7 else fields)
    value = getattr(part, field.name)
    if is_repeated(field):
        _change_repeated(rng, part, field, value)
    elif field.message_type is not None:
        part.ClearField(field.name)
    else:
        _set(part, field, change_scalar(rng, value))


def is_repeated(field: Any) -> bool:
    return bool(field.is_repeated)


def _change_repeated(rng: Rng, part: Any, field: Any, values: Any) -> None:
    i = int(rng.integers(len(values)))
    kind = rng.random()
    if field.message_type is not None or kind < 0.2:
        if kind < 0.5:
            del values[i]
        elif field.message_type is not None:
            values.append(copy.deepcopy(values[i]))
        else:
            values.append(values[i])
    else:
        changed = list(values)
        changed[i] = change_scalar(rng, changed[i])
        before = list(values)
        try:
            del values[:]
            values.extend(changed)
        except (TypeError, ValueError, OverflowError):
            del values[:]
            values.extend(before)


def _set(part: Any, field: Any, value: Any) -> None:
    try:
        setattr(part, field.name, value)
    except (TypeError, ValueError, OverflowError):
        part.ClearField(field.name)


def as_json(document: Any) -> bytes:
    """Also of what JSON has no word for."""

    def plain(value: Any) -> Any:
        return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)

    return json.dumps(document, default=plain, skipkeys=True).encode(errors="surrogatepass")


_UBJSON = {"i": ("b", "int8"), "U": ("B", "uint8"), "I": (">h", "int16"), "l": (">i", "int32"), "L": (">q", "int64"),
           "d": (">f", "float32"), "D": (">d", "float64")}  # fmt: skip
_MARKERS = {name: marker for marker, (_, name) in _UBJSON.items()}


def as_ubjson(value: Any) -> bytes:
    """As XGBoost writes it."""
    if isinstance(value, np.ndarray) and str(value.dtype.newbyteorder("=")) in _MARKERS:
        marker = _MARKERS[str(value.dtype.newbyteorder("="))]
        return (
            f"[${marker}#".encode()
            + as_ubjson(len(value))
            + value.astype(value.dtype.newbyteorder(">")).tobytes()
        )
    if isinstance(value, np.ndarray | list | tuple):
        items = [as_ubjson(item) for item in value]
        return b"[#" + as_ubjson(len(items)) + b"".join(items)
    if isinstance(value, dict):
        inner = [
            as_ubjson(len(_text(key))) + _text(key) + as_ubjson(item) for key, item in value.items()
        ]
        return b"{" + b"".join(inner) + b"}"
    if value is None or isinstance(value, bool):
        return {None: b"Z", True: b"T", False: b"F"}[value]
    if isinstance(value, int | np.integer):
        return b"L" + struct.pack(">q", (int(value) + 2**63) % 2**64 - 2**63)
    if isinstance(value, float | np.floating):
        with np.errstate(all="ignore"):
            return b"d" + np.array(value, ">f4").tobytes()
    text = _text(value)
    return b"S" + as_ubjson(len(text)) + text


def _text(value: Any) -> bytes:
    return str(value).encode(errors="replace")


Change = Callable[[Rng, bytes], bytes]
