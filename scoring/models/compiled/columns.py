"""An Arrow column's numbers, with NaN in the place of null."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nightscore.arrow.arrays import from_numpy
from nightscore.arrow.numeric import Scratch, numeric_values, stored_values
from nightscore.native.machine_code import Kernels

_FLOATS: dict[pa.DataType, np.dtype[Any]] = {
    pa.float32(): np.dtype(np.float32),
    pa.float64(): np.dtype(np.float64),
}

_NO_BITS = np.empty(0, np.uint8)


class ColumnReader:
    """Reads chunks where they are.

    Chunks with nulls are read into one buffer, whose content the next call overwrites.
    """

    def __init__(self, kernels: Kernels) -> None:
        """Call the kernels once: they are compiled before the address space is limited."""
        self._kernels, self._scratch = kernels, Scratch()
        for arrow_type, dtype in _FLOATS.items():
            one = from_numpy(np.ones(1, dtype))
            self.read(pa.concat_arrays([one, pa.nulls(1, arrow_type)]))

    def read(self, chunk: pa.Array) -> npt.NDArray[Any]:
        """The same as `numeric_values`, in a quarter of its time for floats with nulls."""
        values, validity, first_byte = self.read_raw(chunk)
        if first_byte < 0:
            return values

        filled = self._scratch.take(len(values), values.dtype)
        self._kernels.fill_nulls(values, validity, first_byte, filled)
        return filled

    def read_raw(self, chunk: pa.Array) -> tuple[npt.NDArray[Any], npt.NDArray[np.uint8], int]:
        """The values, the bitmap of nulls, and the bitmap's first byte.

        A value is undefined where its bit is not set. The first byte is negative if there are no
        nulls, or if NaN is in their place.
        """
        if chunk.type not in _FLOATS or not chunk.null_count or chunk.offset % 8:
            return numeric_values(chunk, self._scratch), _NO_BITS, -1

        return stored_values(chunk), np.frombuffer(chunk.buffers()[0], np.uint8), chunk.offset // 8
