"""Numbers of columns: without nulls, imputed and scaled, and added up by a linear model."""

from typing import Any

import numpy as np

from nightscore.native.column_intrinsics import array_at, fill_block
from nightscore.native.compilation import kernel
from nightscore.native.constants import (
    BLOCK_ROWS,
    DIVIDE,
    MULTIPLY,
    PLACE_BITS,
    PLACE_BYTES,
    PLACE_FIRST_BIT,
    PLACE_ROWS,
    PLACE_VALUES,
    SUBTRACT,
)


@kernel
def fill_nulls(values: Any, validity: Any, first_byte: int, filled: Any) -> None:
    """Copy floats, with NaN where Arrow's bitmap says null.

    Args:
        values: float32 or float64.
        validity: Bytes of the bitmap.
        first_byte: The byte whose lowest bit is that of the first value.
        filled: At least as long as the values.
    """
    n_whole = values.size // BLOCK_ROWS
    source, bits, target = values.ctypes.data, validity.ctypes.data + first_byte, filled.ctypes.data
    step = BLOCK_ROWS * values.itemsize

    for block in range(n_whole):
        fill_block(
            filled.dtype.type(0), source + block * step, bits + block * 8, target + block * step
        )

    for i in range(n_whole * BLOCK_ROWS, values.size):
        is_valid = (validity[first_byte + i // 8] >> (i % 8)) & 1
        filled[i] = values[i] if is_valid else np.nan


@kernel
def change_numbers(
    values: Any,
    validity: Any,
    first_byte: int,
    fill: float,
    center: float,
    scale: float,
    steps: Any,
    numbers: Any,
    out: Any,
) -> None:
    """Impute and scale a column in front of trees.

    Args:
        values: float64.
        validity: Bytes of Arrow's bitmap.
        first_byte: See `fill_nulls`; negative: there are no nulls.
        fill: Takes the place of NaN.
        center: Subtracted first.
        scale: Divided by after that.
        steps: Further operations on each value, see `constants.SUBTRACT` and those after it.
        numbers: The second operand of each operation.
        out: float64, as long as the values.
    """
    if first_byte >= 0:
        fill_nulls(values, validity, first_byte, out)
    else:
        for i in range(out.size):
            out[i] = values[i]

    for i in range(out.size):
        value = out[i]
        value = fill if value != value else value
        value = (value - center) / scale

        for step in range(steps.size):
            number, kind = numbers[step], steps[step]
            if kind == SUBTRACT:
                value -= number
            elif kind == DIVIDE:
                value /= number
            elif kind == MULTIPLY:
                value *= number
            else:
                value += number

        out[i] = value


@kernel
def add_columns(
    places: Any,
    scaling: Any,
    step_ends: Any,
    steps: Any,
    numbers: Any,
    weights: Any,
    strip: Any,
    out: Any,
    start: int,
) -> bool:
    """Add the shares of columns of a linear model to `out`, from row `start` on.

    A row's sum goes from the first column to the last.

    Args:
        places: int64, (columns, 5), see `column_places`. Columns have equally many rows. The first
            bit of a bitmap is that of a byte.
        scaling: float64, (columns, 3): what takes the place of NaN, what is subtracted first, and
            what is divided by after that.
        step_ends: int64, (columns + 1): where each column's further operations begin, and the end.
        steps: These operations on each value, see `constants.SUBTRACT` and those after it.
        numbers: The second operand of each operation.
        weights: float64, (columns, outputs).
        strip: Scratch, float64, a multiple of 64.
        out: (outputs, rows).
        start: First row.

    Returns:
        Whether all values were finite.
    """
    odd = 0
    for first in range(0, places[0, PLACE_ROWS], strip.size):
        for i in range(places.shape[0]):
            column = places[i]
            values = array_at(np.float64(0), column[PLACE_VALUES], column[PLACE_ROWS])
            n_rows = min(strip.size, values.size - first)

            if column[PLACE_FIRST_BIT] >= 0:
                validity = array_at(np.uint8(0), column[PLACE_BITS], column[PLACE_BYTES])
                first_byte = (column[PLACE_FIRST_BIT] + first) // 8
                fill_nulls(values[first : first + n_rows], validity, first_byte, strip)
            else:
                # The sign of an index that is a sum would be checked in each round of the loop.
                part = values[first : first + n_rows]
                for j in range(n_rows):
                    strip[j] = part[j]

            odd |= change_strip(strip, n_rows, scaling[i], step_ends[i : i + 2], steps, numbers)

            for k in range(weights.shape[1]):
                weight, row = weights[i, k], out[k, start + first : start + first + n_rows]
                for j in range(n_rows):
                    row[j] += weight * strip[j]

    return odd == 0


@kernel
def change_strip(
    strip: Any, n_rows: int, scaling: Any, step_ends: Any, steps: Any, numbers: Any
) -> int:
    """Impute and scale the values of a strip, see `add_columns`.

    Returns:
        1 if a value is not finite, which no operation makes finite; else 0.
    """
    fill, center, scale = scaling[0], scaling[1], scaling[2]
    if scale != 1.0:
        for i in range(n_rows):
            value = strip[i]
            strip[i] = ((fill if value != value else value) - center) / scale
    else:
        for i in range(n_rows):
            value = strip[i]
            strip[i] = (fill if value != value else value) - center

    for step in range(step_ends[0], step_ends[1]):
        number, kind = numbers[step], steps[step]
        if kind == SUBTRACT:
            for i in range(n_rows):
                strip[i] -= number
        elif kind == DIVIDE:
            for i in range(n_rows):
                strip[i] /= number
        elif kind == MULTIPLY:
            for i in range(n_rows):
                strip[i] *= number
        else:
            for i in range(n_rows):
                strip[i] += number

    odd = 0
    for i in range(n_rows):
        odd |= int(strip[i] - strip[i] != 0.0)

    return odd


@kernel
def add_known(indices: Any, shares: Any, out: Any, start: int) -> None:
    """Add a dictionary's shares of a linear model for each row.

    Args:
        indices: int32, the place of each row's value in the dictionary.
        shares: (values, outputs).
        out: (outputs, rows).
        start: First row.
    """
    for k in range(shares.shape[1]):
        row = out[k, start : start + indices.size]
        for i in range(indices.size):
            row[i] += shares[np.uint32(indices[i]), k]
