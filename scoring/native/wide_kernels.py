"""Kernels of many columns in one call: what a call costs is shared by all of them.

A column is a row of numbers that say where it is, see `column_places`.
"""

from typing import Any

import numpy as np

from nightscore.native.column_intrinsics import array_at
from nightscore.native.column_kernels import count_numbers
from nightscore.native.compilation import kernel
from nightscore.native.constants import (
    PLACE_BITS,
    PLACE_BYTES,
    PLACE_FIRST_BIT,
    PLACE_ROWS,
    PLACE_VALUES,
)


@kernel
def count_columns(
    places: Any,
    searches: Any,
    limits: Any,
    n_known: Any,
    hashes: Any,
    strip: Any,
    mixed: Any,
    rows: Any,
    sums: Any,
    rests: Any,
    tallies: Any,
    moments: Any,
    n_new: Any,
) -> int:
    """Count the values of columns with equally many bins.

    Arguments are those of `count_numbers`. All but the scratch memory have one row for each column.

    Args:
        places: int64, (columns, 5).
        searches: int64, (columns, 5).
        limits: float64, (columns, 5).
        n_known: int64, (columns): hashes that are known already.
        hashes: One row for each column, likewise those after the scratch memory.
        strip: Scratch.
        mixed: Scratch.
        rows: See there.
        sums: See there.
        rests: See there.
        tallies: See there.
        moments: See there.
        n_new: int64, (columns): receives how many new hashes were found.
    """
    for i in range(places.shape[0]):
        column = places[i]
        values = array_at(np.float64(0), column[PLACE_VALUES], column[PLACE_ROWS])
        validity = array_at(np.uint8(0), column[PLACE_BITS], column[PLACE_BYTES])
        n_new[i] = count_numbers(
            values,
            validity,
            column[PLACE_FIRST_BIT],
            searches[i],
            limits[i],
            n_known[i],
            hashes[i],
            strip,
            mixed,
            rows[i],
            sums[i],
            rests[i],
            tallies[i],
            moments[i],
        )

    return 0
