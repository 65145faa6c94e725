"""Whether the weights of an ONNX file are as long as their sizes say, and where they are."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

MAX_DENSE_BYTES = 1 << 31
"""Most bytes of a sparse weight, unpacked."""
BITS: Mapping[int, int] = {
    1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64, 14: 64,
    15: 128, 16: 16, 17: 8, 18: 8, 19: 8, 20: 8, 21: 4, 22: 4, 23: 4, 24: 8,
}  # fmt: skip
"""Bits of an element, by ONNX's number of its type."""
TEXT = 8
INT64 = 7
COMPLEX = (14, 15)
FIELDS: Mapping[str, tuple[int, ...]] = {
    "float_data": (1, 14),
    "int32_data": (2, 3, 4, 5, 6, 9, 10, 16, 17, 18, 19, 20, 21, 22, 23, 24),
    "int64_data": (7,),
    "double_data": (11, 15),
    "uint64_data": (12, 13),
    "string_data": (TEXT,),
}
"""Where a tensor's elements may be, besides `raw_data`, and the types that may be there."""
PLACE_KEYS = {"location", "offset", "length", "checksum", "basepath"}
SHOWN_SIZES = 20


def tensor_problems(tensor: Any, folder: Path) -> Iterator[str]:
    """What is wrong with a tensor.

    Args:
        tensor: Its weights in another file are not read.
        folder: Where such files are.
    """
    sizes = list(tensor.dims)
    if any(size < 0 for size in sizes):
        yield f"expected sizes of 0 or more, found {sizes[:SHOWN_SIZES]}"
        return

    n = math.prod(sizes)
    bits = BITS.get(tensor.data_type)
    is_outside = len(tensor.external_data) > 0 or tensor.data_location == tensor.EXTERNAL
    is_raw = tensor.HasField("raw_data")

    if bits is None and (tensor.data_type != TEXT or is_outside or is_raw):
        yield f"its type, {tensor.data_type}, cannot be stored so"
        return

    n_bytes = _ceil(n * (bits or 0), 8)

    if is_outside:
        yield from _outside_problems(tensor, n_bytes, folder)
    elif is_raw:
        if len(tensor.raw_data) != n_bytes:
            yield (
                f"expected {n_bytes:,} bytes for the sizes {sizes[:SHOWN_SIZES]}, "
                f"found {len(tensor.raw_data):,}"
            )
    else:
        yield from _field_problems(tensor, n, bits or 0)


def _ceil(value: int, divisor: int) -> int:
    return -(-value // divisor)


def _field_problems(tensor: Any, n: int, bits: int) -> Iterator[str]:
    """Elements that are written one by one, in the field of their type."""
    for field, types in FIELDS.items():
        n_found = len(getattr(tensor, field))

        if tensor.data_type not in types:
            if n_found:
                yield f"has {field}, which is not where its type is stored"
            continue

        expected = 2 * n if tensor.data_type in COMPLEX else n

        if bits < 8 and tensor.data_type != TEXT:
            expected = _ceil(n * bits, 8)

        if n_found != expected:
            sizes = list(tensor.dims)[:SHOWN_SIZES]
            yield f"expected {expected:,} values for the sizes {sizes}, found {n_found:,}"


def _outside_problems(tensor: Any, n_bytes: int, folder: Path) -> Iterator[str]:
    """Weights in another file: it must be one of the model's own, and long enough."""
    if tensor.ListFields() and any(len(getattr(tensor, field)) for field in (*FIELDS, "raw_data")):
        yield "has values of its own besides those in another file"
        return

    keys = [entry.key for entry in tensor.external_data]
    stated = {entry.key: entry.value for entry in tensor.external_data}
    if len(stated) < len(keys) or "location" not in stated or {*stated} - PLACE_KEYS:
        shown = ", ".join(keys)[:200]
        yield f"expected location, offset and length of its file once each, found {shown}"
        return

    path = _own_file(stated["location"], folder)
    if path is None:
        yield f"weights in {stated['location'][:200]!r}, which is no file below the model's folder"
        return

    yield from _range_problems(tensor, stated, n_bytes, path)


def _range_problems(
    tensor: Any, stated: Mapping[str, str], n_bytes: int, path: Path
) -> Iterator[str]:
    """Where in its file a weight is."""
    texts = [stated.get("offset", "0"), stated.get("length", str(n_bytes))]
    if not all(text.isascii() and text.isdecimal() and len(text) < 19 for text in texts):
        offset_text, length_text = (text[:20] for text in texts)
        yield (
            f"expected whole numbers as offset and length, found {offset_text!r} and "
            f"{length_text!r}"
        )
        return

    offset, length = (int(text) for text in texts)
    n_available = path.stat().st_size

    if length != n_bytes:
        sizes = list(tensor.dims)[:SHOWN_SIZES]
        yield f"expected {n_bytes:,} bytes for the sizes {sizes}, found a length of {length:,}"
    elif offset + length > n_available:
        yield (
            f"expected bytes {offset:,} to {offset + length:,} of {stated['location']}, "
            f"found {n_available:,} bytes"
        )


def _own_file(location: str, folder: Path) -> Path | None:
    """The file, or None if it leads outside or through a link, or does not exist."""
    parts = location.split("/")
    if not location or "\\" in location or location.startswith("/") or {"", ".."} & {*parts}:
        return None

    path = folder
    try:
        for part in parts:
            path = path / part
            if path.is_symlink():
                return None

        return path if path.is_file() else None
    except (OSError, ValueError):  # not a file name: too long, or with a NUL in it
        return None


def sparse_problems(sparse: Any) -> Iterator[str]:
    """Weights of which only some are stored: places inside the sizes, and a bounded full size."""
    import numpy as np
    from onnx import numpy_helper

    name, sizes = sparse.values.name, list(sparse.dims)
    shown = sizes[:SHOWN_SIZES]
    n_bytes = math.prod(sizes) * (BITS.get(sparse.values.data_type) or 0) // 8

    if not sizes or any(size < 1 for size in sizes) or not 0 < n_bytes <= MAX_DENSE_BYTES:
        yield (
            f"{name}: expected sizes of 1 or more, of {MAX_DENSE_BYTES:,} bytes at most, "
            f"found {shown}"
        )
        return

    if not _has_place_for_each(sparse):
        places, values = list(sparse.indices.dims), list(sparse.values.dims)
        yield (
            f"{name}: expected a place for each value, found {places[:SHOWN_SIZES]} for "
            f"{values[:SHOWN_SIZES]}"
        )
        return

    indices = sparse.indices
    if len(indices.external_data) or next(tensor_problems(indices, Path()), None):
        yield f"{name}: its places cannot be read"
        return

    array = np.asarray(numpy_helper.to_array(indices))

    limits = np.asarray(sizes if len(indices.dims) == 2 else math.prod(sizes), np.int64)
    if ((array < 0) | (array >= limits)).any():
        yield f"{name}: a place is outside of the sizes {shown}"


def _has_place_for_each(sparse: Any) -> bool:
    """Whether each value has a place, as one number or as one for each dimension."""
    values, indices = sparse.values, sparse.indices
    if len(values.dims) != 1 or indices.data_type != INT64:
        return False
    n_values = values.dims[0]
    return list(indices.dims) in ([n_values], [n_values, len(sparse.dims)])
