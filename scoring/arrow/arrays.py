"""Arrow arrays from NumPy's and from texts, by their buffers.

`pa.array`, `pa.scalar` and what takes Python values in their place import pandas to see whether they were given its
objects: .2 s of CPU and 40 MB in each process that has no use for it.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

_NAMES = {"float64": "double", "float32": "float", "float16": "halffloat"}
"""NumPy's names of types where Arrow has another."""
_NUMPY_NAMES = {arrow: numpy for numpy, arrow in _NAMES.items()}


def from_numpy(values: npt.NDArray[Any]) -> pa.Array:
    """Numbers or truth values of shape (n,); NaN stays NaN, nothing is null. Contiguous numbers are not copied."""
    if values.dtype.kind == "b":
        bits = np.packbits(values, bitorder="little")
        return pa.Array.from_buffers(pa.bool_(), len(values), [None, pa.py_buffer(bits)])
    kind = pa.type_for_alias(_NAMES.get(values.dtype.name, values.dtype.name))
    return pa.Array.from_buffers(
        kind, len(values), [None, pa.py_buffer(np.ascontiguousarray(values))]
    )


def from_texts(texts: Sequence[str | None]) -> pa.Array:
    """Of type string."""
    validity = None
    filled: Sequence[str] = texts  # type: ignore[assignment]
    if None in texts:
        present = np.array([text is not None for text in texts], np.bool_)
        validity = pa.py_buffer(np.packbits(present, bitorder="little"))
        filled = ["" if text is None else text for text in texts]
    joined = "".join(filled)
    lengths = map(len, filled if joined.isascii() else [text.encode() for text in filled])
    ends = np.cumsum([0, *lengths], dtype=np.int64)
    buffers = [validity, pa.py_buffer(ends), pa.py_buffer(joined.encode())]
    return pa.Array.from_buffers(pa.large_string(), len(texts), buffers).cast(pa.string())


def from_values(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """Of numbers, truth values, texts, lists (also as arrays) and maps of those (as `dict`); None is null.

    Raises:
        TypeError: Of another type.
    """
    if pa.types.is_string(kind):
        return from_texts(values)
    present = np.array([value is not None for value in values], np.bool_)
    if pa.types.is_list(kind) or pa.types.is_map(kind):
        there = [value for value in values if value is not None]
        ends = from_numpy(
            np.cumsum(
                [0, *(0 if value is None else len(value) for value in values)], dtype=np.int32
            )
        )
        mask = None if present.all() else from_numpy(~present)
        if pa.types.is_list(kind):
            items = _joined(there, kind.value_type)
            return pa.ListArray.from_arrays(ends, items, type=kind, mask=mask)
        names = from_values(list(itertools.chain.from_iterable(there)), kind.key_type)
        items = from_values([item for value in there for item in value.values()], kind.item_type)
        return pa.MapArray.from_arrays(ends, names, items, type=kind, mask=mask)
    if not (pa.types.is_integer(kind) or pa.types.is_float64(kind) or pa.types.is_boolean(kind)):
        raise TypeError(f"values of type {kind}")
    dtype = np.dtype(
        "bool" if pa.types.is_boolean(kind) else _NUMPY_NAMES.get(str(kind), str(kind))
    )
    found = from_numpy(np.array([0 if value is None else value for value in values], dtype))
    if present.all():
        return found
    bits = pa.py_buffer(np.packbits(present, bitorder="little"))
    return pa.Array.from_buffers(kind, len(values), [bits, found.buffers()[1]])


def _joined(lists: Sequence[Any], kind: pa.DataType) -> pa.Array:
    dtype = None if pa.types.is_string(kind) else np.dtype(_NUMPY_NAMES.get(str(kind), str(kind)))
    if (
        lists
        and dtype
        and all(isinstance(found, np.ndarray) and found.dtype == dtype for found in lists)
    ):
        return from_numpy(np.concatenate(lists))
    return from_values(list(itertools.chain.from_iterable(lists)), kind)


def to_table(rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """A row each; a key that is not there is null."""
    return from_columns({name: [row.get(name) for row in rows] for name in schema.names}, schema)


def from_columns(columns: Mapping[str, Sequence[Any]], schema: pa.Schema) -> pa.Table:
    """The values of each column; None is null."""
    arrays = [
        from_values(columns[name], kind)
        for name, kind in zip(schema.names, schema.types, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def to_lists(column: pa.ListArray) -> list[npt.NDArray[Any] | None]:
    """The numbers of each list, stretches of one array that nobody can write to; None is null.

    Raises:
        ValueError: A number is null.
    """
    dtype = np.dtype(_NUMPY_NAMES.get(str(column.type.value_type), str(column.type.value_type)))
    values = column.values
    if values.null_count:
        raise ValueError("a list has a null in it")
    _, data = values.buffers()
    numbers = np.frombuffer(data or b"", dtype, count=values.offset + len(values))[values.offset :]
    numbers.flags.writeable = False
    ends = list_ends(column)
    valid = column.is_valid().to_pylist() if column.null_count else [True] * len(column)
    return [
        numbers[ends[i] : ends[i + 1]] if is_valid else None for i, is_valid in enumerate(valid)
    ]


def list_ends(column: pa.ListArray | pa.MapArray) -> list[int]:
    """Where in the values the first list begins, and where each ends."""
    _, data, *_ = column.buffers()
    if not len(column):
        return [0]
    found = np.frombuffer(data, np.int32, count=column.offset + len(column) + 1)[column.offset :]
    return found.tolist()  # type: ignore[no-any-return]


def to_texts(column: pa.Array) -> list[str | None]:
    """The values of a column of few distinct texts, equal ones as one object."""
    coded = column.dictionary_encode()
    texts = [*coded.dictionary.to_pylist(), None]
    return [texts[place] for place in to_places(coded.indices, len(texts) - 1).tolist()]


def to_places(indices: pa.Array, null: int) -> npt.NDArray[np.int32]:
    """Indices of any width as an array of shape (n,), with a number in the place of null."""
    _, data = indices.buffers()
    dtype = np.dtype(str(indices.type))
    found = np.frombuffer(data, dtype, count=indices.offset + len(indices))[
        indices.offset :
    ].astype(np.int32)
    if indices.null_count:
        flags = pc.cast(indices.is_null(), pa.uint8())
        is_null = np.frombuffer(flags.buffers()[1], np.bool_, count=flags.offset + len(flags))[
            flags.offset :
        ]
        found[is_null] = null
    return found


def repeated(text: str | None, n: int) -> pa.Array:
    """A text n times, as a dictionary of one."""
    return pa.DictionaryArray.from_arrays(from_numpy(np.zeros(n, np.int32)), from_texts([text]))
