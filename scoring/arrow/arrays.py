"""Arrow arrays from NumPy's and from texts, by their buffers.

`pa.array`, `pa.scalar` and other functions that take Python values import pandas, to see whether
they were given its objects. That costs 0.2 s of CPU and 40 MB in each process that has no use for
it.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nightscore.arrow.numeric import NUMPY_NAMES

_ARROW_NAMES = {numpy_name: arrow_name for arrow_name, numpy_name in NUMPY_NAMES.items()}
"""Arrow's names of types where NumPy has another."""
_MOST_BYTES = np.iinfo(np.int32).max
"""Of the texts of an array of type string."""


def from_numpy(values: npt.NDArray[Any]) -> pa.Array:
    """Numbers or truth values of shape (n,) as an array without nulls.

    NaN stays NaN. Contiguous numbers are not copied.
    """
    if values.dtype.kind == "b":
        bits = np.packbits(values, bitorder="little")
        return pa.Array.from_buffers(pa.bool_(), len(values), [None, pa.py_buffer(bits)])

    name = values.dtype.name
    arrow_type = pa.type_for_alias(_ARROW_NAMES.get(name, name))
    data = pa.py_buffer(np.ascontiguousarray(values))

    return pa.Array.from_buffers(arrow_type, len(values), [None, data])


def from_texts(texts: Sequence[str | None]) -> pa.Array:
    """An array of type string. None is null."""
    validity = None
    filled: Sequence[str] = texts  # type: ignore[assignment]

    if None in texts:
        validity = _validity(texts)
        filled = ["" if text is None else text for text in texts]

    joined = "".join(filled)
    encoded: Iterable[str | bytes] = filled

    if not joined.isascii():
        encoded = [text.encode() for text in filled]

    ends = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
    data = pa.py_buffer(joined.encode())

    if ends[-1] <= _MOST_BYTES:
        buffers = [validity, pa.py_buffer(ends.astype(np.int32)), data]
        return pa.Array.from_buffers(pa.string(), len(texts), buffers)

    buffers = [validity, pa.py_buffer(ends), data]
    return pa.Array.from_buffers(pa.large_string(), len(texts), buffers).cast(pa.string())


def from_values(values: Sequence[Any], arrow_type: pa.DataType) -> pa.Array:
    """An array of Python values. None is null.

    Args:
        values: Numbers, truth values, texts, lists (also as arrays), or maps of those (as `dict`).
        arrow_type: The type of the array.

    Raises:
        TypeError: Values of another type.
    """
    if pa.types.is_string(arrow_type):
        return from_texts(values)
    if pa.types.is_list(arrow_type):
        return _from_lists(values, arrow_type)
    if pa.types.is_map(arrow_type):
        return _from_maps(values, arrow_type)

    dtype = _dtype_of(arrow_type)
    if None not in values:
        return from_numpy(np.array(values, dtype))

    filled = [0 if value is None else value for value in values]
    _, data = from_numpy(np.array(filled, dtype)).buffers()

    return pa.Array.from_buffers(arrow_type, len(values), [_validity(values), data])


def sparse_numbers(numbers: Mapping[int, float], n: int) -> pa.Array:
    """Numbers at some of n places, null at all others."""
    places = np.fromiter(numbers, np.int64, len(numbers))
    is_present = np.zeros(n, np.bool_)
    is_present[places] = True

    values = np.zeros(n)
    values[places] = np.fromiter(numbers.values(), np.float64, len(numbers))

    validity = pa.py_buffer(np.packbits(is_present, bitorder="little"))
    return pa.Array.from_buffers(pa.float64(), n, [validity, pa.py_buffer(values)])


def to_table(rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """A table of rows. A key that a row lacks is null."""
    columns = {name: [row.get(name) for row in rows] for name in schema.names}
    return from_columns(columns, schema)


def from_columns(columns: Mapping[str, Sequence[Any]], schema: pa.Schema) -> pa.Table:
    """A table of the columns' values. None is null."""
    arrays = [from_values(columns[field.name], field.type) for field in schema]
    return pa.Table.from_arrays(arrays, schema=schema)


def to_lists(column: pa.ListArray) -> list[npt.NDArray[Any] | None]:
    """The numbers of each list, as read-only slices of one array. None is null.

    Raises:
        ValueError: A number is null.
    """
    values = column.values
    if values.null_count:
        raise ValueError("a list has a null in it")

    name = str(column.type.value_type)
    dtype = np.dtype(NUMPY_NAMES.get(name, name))
    _, data = values.buffers()
    numbers = np.frombuffer(data or b"", dtype, count=values.offset + len(values))[values.offset :]
    numbers.flags.writeable = False

    ends = list_ends(column)
    lists: list[npt.NDArray[Any] | None] = [
        numbers[start:end] for start, end in itertools.pairwise(ends)
    ]

    if column.null_count:
        for index, is_valid in enumerate(column.is_valid().to_pylist()):
            if not is_valid:
                lists[index] = None

    return lists


def list_ends(column: pa.ListArray | pa.MapArray) -> list[int]:
    """Where the first list begins among the values, and where each list ends."""
    if not len(column):
        return [0]
    _, data, *_ = column.buffers()
    ends = np.frombuffer(data, np.int32, count=column.offset + len(column) + 1)
    return ends[column.offset :].tolist()  # type: ignore[no-any-return]


def to_texts(column: pa.Array) -> list[str | None]:
    """The values of a column with few distinct texts. Equal ones are one object."""
    encoded = column.dictionary_encode()
    texts = [*encoded.dictionary.to_pylist(), None]
    return [texts[place] for place in to_places(encoded.indices, len(texts) - 1).tolist()]


def to_places(indices: pa.Array, null: int) -> npt.NDArray[np.int32]:
    """Indices of any width as an array of shape (n,), with `null` in place of nulls."""
    _, data = indices.buffers()
    dtype = np.dtype(str(indices.type))
    stored = np.frombuffer(data, dtype, count=indices.offset + len(indices))
    places = stored[indices.offset :].astype(np.int32)

    if indices.null_count:
        flags = pc.cast(indices.is_null(), pa.uint8())
        is_null = np.frombuffer(flags.buffers()[1], np.bool_, count=flags.offset + len(flags))
        places[is_null[flags.offset :]] = null

    return places


def repeated(text: str | None, n: int) -> pa.Array:
    """A text n times, as a dictionary of one."""
    return pa.DictionaryArray.from_arrays(from_numpy(np.zeros(n, np.int32)), from_texts([text]))


def _validity(values: Sequence[Any]) -> pa.Buffer:
    """The bitmap of values that are not None."""
    is_present = np.array([value is not None for value in values], np.bool_)
    return pa.py_buffer(np.packbits(is_present, bitorder="little"))


def _dtype_of(arrow_type: pa.DataType) -> np.dtype[Any]:
    if pa.types.is_boolean(arrow_type):
        return np.dtype(np.bool_)
    if not pa.types.is_integer(arrow_type) and not pa.types.is_float64(arrow_type):
        raise TypeError(f"values of type {arrow_type}")
    name = str(arrow_type)
    return np.dtype(NUMPY_NAMES.get(name, name))


def _from_lists(values: Sequence[Any], arrow_type: pa.DataType) -> pa.Array:
    present = [value for value in values if value is not None]
    items = _join(present, arrow_type.value_type)
    ends, mask = _ends_and_mask(values)
    return pa.ListArray.from_arrays(ends, items, type=arrow_type, mask=mask)


def _from_maps(values: Sequence[Any], arrow_type: pa.DataType) -> pa.Array:
    present = [value for value in values if value is not None]
    names = list(itertools.chain.from_iterable(present))
    items = list(itertools.chain.from_iterable(value.values() for value in present))
    ends, mask = _ends_and_mask(values)

    return pa.MapArray.from_arrays(
        ends,
        from_values(names, arrow_type.key_type),
        from_values(items, arrow_type.item_type),
        type=arrow_type,
        mask=mask,
    )


def _ends_and_mask(values: Sequence[Any]) -> tuple[pa.Array, pa.Array | None]:
    """Where each list ends among the joined values, and which are null. None: none is."""
    sizes = [0 if value is None else len(value) for value in values]
    ends = from_numpy(np.cumsum([0, *sizes], dtype=np.int32))

    is_null = np.array([value is None for value in values], np.bool_)
    if not is_null.any():
        return ends, None
    return ends, from_numpy(is_null)


def _join(lists: Sequence[Any], arrow_type: pa.DataType) -> pa.Array:
    """The values of all lists. Arrays of the right type are not turned into Python values."""
    if lists and not pa.types.is_string(arrow_type):
        name = str(arrow_type)
        dtype = np.dtype(NUMPY_NAMES.get(name, name))
        if all(isinstance(values, np.ndarray) and values.dtype == dtype for values in lists):
            return from_numpy(np.concatenate(lists))
    return from_values(list(itertools.chain.from_iterable(lists)), arrow_type)
