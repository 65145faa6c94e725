"""Arrow's numbers and truth values as NumPy's arrays, without pandas."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

NUMPY_NAMES = {"double": "float64", "float": "float32", "halffloat": "float16"}
"""NumPy's names of types where Arrow has another."""


class Scratch:
    """A buffer for reuse: fresh memory costs more than what is done in it.

    Each call of `take` overwrites what the last one returned.
    """

    def __init__(self) -> None:
        """Start without memory."""
        self._bytes: npt.NDArray[np.uint8] = np.empty(0, np.uint8)

    def take(self, size: int, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
        """An array of shape (size,) with arbitrary content."""
        n_bytes = size * dtype.itemsize
        if len(self._bytes) < n_bytes:
            self._bytes = np.empty(n_bytes, np.uint8)
        return self._bytes[:n_bytes].view(dtype)


def numeric_values(array: pa.Array, scratch: Scratch | None = None) -> npt.NDArray[Any]:
    """The values of a numeric or boolean array, null as NaN.

    If there are nulls, the values are in `scratch`. Reads the buffer itself: `Array.to_numpy`
    imports pandas, 1.2 s of CPU in each worker that has no use for it.
    """
    if pa.types.is_boolean(array.type) or pa.types.is_float16(array.type):
        array = pc.cast(array, pa.float32())
    elif array.null_count and not pa.types.is_floating(array.type):
        array = pc.cast(array, pa.float64(), safe=False)

    values = stored_values(array)

    if not array.null_count:
        return values

    end = len(array) + array.offset
    bits = np.frombuffer(array.buffers()[0], np.uint8, count=-(-end // 8))
    is_null = np.unpackbits(bits, count=end, bitorder="little")[array.offset :] == 0

    filled = (scratch or Scratch()).take(len(values), values.dtype)
    np.copyto(filled, values)
    np.copyto(filled, np.nan, where=is_null)

    return filled


def stored_values(array: pa.Array) -> npt.NDArray[Any]:
    """The values of an array of integers or floats, as in its buffer.

    Where they are null, they are arbitrary.
    """
    name = str(array.type)
    dtype = np.dtype(NUMPY_NAMES.get(name, name))
    if len(array) == 0:
        return np.empty(0, dtype)
    values = np.frombuffer(array.buffers()[1], dtype=dtype, count=len(array) + array.offset)
    return values[array.offset :]


def is_numeric(arrow_type: pa.DataType) -> bool:
    """Integers, floats and booleans."""
    return bool(
        pa.types.is_integer(arrow_type)
        or pa.types.is_floating(arrow_type)
        or pa.types.is_boolean(arrow_type)
    )
