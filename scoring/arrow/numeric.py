"""Arrow's numbers and truth values as NumPy's arrays, without pandas."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

NUMPY_NAMES = {"double": "float64", "float": "float32", "halffloat": "float16"}
"""Arrow's names of types where numpy has another."""


class Scratch:
    """A buffer that is written again by the next who takes it: fresh memory costs more than what is done in it."""

    def __init__(self) -> None:
        self._bytes: npt.NDArray[np.uint8] = np.empty(0, np.uint8)

    def take(self, size: int, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
        """An array of any content."""
        n_bytes = size * dtype.itemsize
        if len(self._bytes) < n_bytes:
            self._bytes = np.empty(n_bytes, np.uint8)
        return self._bytes[:n_bytes].view(dtype)


def numeric_values(array: pa.Array, scratch: Scratch | None = None) -> npt.NDArray[Any]:
    """The values of a numeric or boolean array, null as NaN; where there are nulls, in `scratch`.

    Reads the buffer itself: `Array.to_numpy` imports pandas, 1.2 s of CPU in each worker that has no use for it.
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
    found = (scratch or Scratch()).take(len(values), values.dtype)
    np.copyto(found, values)
    np.copyto(found, np.nan, where=is_null)
    return found


def stored_values(array: pa.Array) -> npt.NDArray[Any]:
    """The values of an array of integers or floats as its buffer has them: of any content where they are null."""
    dtype = np.dtype(NUMPY_NAMES.get(str(array.type), str(array.type)))
    if len(array) == 0:
        return np.empty(0, dtype)
    return np.frombuffer(array.buffers()[1], dtype=dtype, count=len(array) + array.offset)[
        array.offset :
    ]


def is_numeric(kind: pa.DataType) -> bool:
    """Integers, floats and booleans."""
    return bool(
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    )
