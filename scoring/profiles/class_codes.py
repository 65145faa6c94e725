"""Classes of rows as their places among a model's classes."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nightscore.arrow.arrays import from_numpy, from_texts, to_places
from nightscore.arrow.numeric import numeric_values
from nightscore.inputs.casts import plain_type

Codes = npt.NDArray[np.int32]
MOST_IN_TABLE = 65_536
"""Classes that are whole numbers are looked up in a table of at most as many numbers."""


def class_codes(column: pa.ChunkedArray, names: Sequence[str]) -> Codes:
    """The place of each row's class, shape (n,); `len(names)` for null and for unknown classes.

    Classes are named as the columns of their probabilities are: 1 for 1.0 and for true.

    Args:
        column: Texts, numbers or truth values.
        names: Of the model's classes.
    """
    codes = [np.empty(0, np.int32)]
    is_text = _is_text(column.type)
    for chunk in column.chunks:
        codes.append(_codes_of_texts(chunk, names) if is_text else _codes_of_numbers(chunk, names))
    return codes[1] if len(codes) == 2 else np.concatenate(codes)


def class_numbers(column: pa.ChunkedArray, names: Sequence[str]) -> pa.ChunkedArray:
    """The same places as float64; NaN for null and for unknown classes."""
    codes = class_codes(column, names)
    numbers = codes.astype(np.float64)
    numbers[codes == len(names)] = np.nan
    return pa.chunked_array([from_numpy(numbers)])


def class_name(value: object) -> str:
    """The name of a class, as `class_codes` spells it."""
    is_whole = isinstance(value, float) and value.is_integer()
    if isinstance(value, bool) or is_whole:
        return str(int(value))  # type: ignore[call-overload]
    return str(value)


def _is_text(arrow_type: pa.DataType) -> bool:
    return bool(pa.types.is_string(plain_type(arrow_type)))


def _codes_of_texts(chunk: pa.Array, names: Sequence[str]) -> Codes:
    if chunk.type != pa.string():
        chunk = chunk.cast(pa.string())
    places = pc.index_in(chunk, value_set=from_texts(names))
    return to_places(places, len(names))


def _codes_of_numbers(chunk: pa.Array, names: Sequence[str]) -> Codes:
    if pa.types.is_dictionary(chunk.type):
        chunk = chunk.cast(chunk.type.value_type)

    values = numeric_values(chunk)
    numbers = [int(name) if name.removeprefix("-").isdecimal() else None for name in names]
    known = [number for number in numbers if number is not None]
    if not known or not len(values):
        return np.full(len(values), len(names), np.int32)

    low, high = min(known), max(known)
    if high - low >= MOST_IN_TABLE:
        texts = pc.cast(pc.cast(chunk, pa.int64(), safe=False), pa.string())
        return _codes_of_texts(texts, names)

    table = np.full(high - low + 1, len(names), np.int32)
    for place, number in enumerate(numbers):
        if number is not None:
            table[number - low] = place

    is_known = (values >= low) & (values <= high)
    if values.dtype.kind == "f":
        is_known &= values == np.floor(values)

    if is_known.all():
        return table[values.astype(np.int64, copy=False) - low]

    codes = np.full(len(values), len(names), np.int32)
    codes[is_known] = table[values[is_known].astype(np.int64) - low]
    return codes
