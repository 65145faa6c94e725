"""Where the numbers of columns are, as kernels of many columns take it."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nightscore.native.constants import (
    PLACE_BITS,
    PLACE_BYTES,
    PLACE_FIRST_BIT,
    PLACE_ROWS,
    PLACE_VALUES,
)

Places = npt.NDArray[np.int64]
_FLOAT64 = pa.float64()
_BYTES = 8


class ColumnPlaces:
    """The places of some columns. Their values are kept as long as it is."""

    def __init__(self, n_columns: int) -> None:
        """Name no column yet.

        Args:
            n_columns: How many there will be.
        """
        self.places: Places = np.zeros((n_columns, 5), np.int64)
        """One row a column, see `constants.PLACE_VALUES`."""
        self._kept: list[object] = []

    def put_chunk(self, i: int, chunk: pa.Array) -> bool:
        """Name a chunk as the i-th column if its numbers can be read where they are.

        So it is if they are float64.
        """
        if chunk.type != _FLOAT64 or not len(chunk):
            return False

        bitmap, data = chunk.buffers()
        place = [data.address + _BYTES * chunk.offset, len(chunk), 0, 0, -1]
        if chunk.null_count:
            place[2:] = bitmap.address, bitmap.size, chunk.offset

        self.places[i] = place
        self._kept.append(chunk)
        return True

    def put_values(
        self,
        i: int,
        values: npt.NDArray[np.float64],
        validity: npt.NDArray[np.uint8],
        first_bit: int,
    ) -> None:
        """Name an array as the i-th column.

        Args:
            i: Its place.
            values: Contiguous.
            validity: Bytes of Arrow's bitmap.
            first_bit: The first value's bit in the bitmap; negative: there are no nulls.
        """
        values = np.ascontiguousarray(values)
        place = self.places[i]
        place[PLACE_VALUES], place[PLACE_ROWS] = values.ctypes.data, len(values)
        place[PLACE_BITS], place[PLACE_BYTES] = validity.ctypes.data, len(validity)
        place[PLACE_FIRST_BIT] = first_bit
        self._kept.append((values, validity))
