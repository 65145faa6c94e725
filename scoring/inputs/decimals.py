"""Decimals as floating numbers: the nearest one, and which decimals would lose digits."""

import contextlib

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nightscore.arrow.arrays import from_numpy

Mask = npt.NDArray[np.bool_]

SAFE_UNSCALED = 10**15
"""Up to here a decimal has at most 15 digits. Its nearest float64 is no other decimal's, and it is
read back as it was."""
EXACT_POWER = 22
"""10**22 is exact in float64, so that dividing by it rounds once; 10**23 is not."""
SHORT_SCALES = (0, 2, 4, 6, 9, 12)
"""Tried for decimals of more digits than 64 bits hold. Most end in zeros: Spark's have scale 18."""
MAX_SHORT_PRECISION = 18


def to_float64(column: pa.ChunkedArray) -> tuple[pa.ChunkedArray, Mask | None]:
    """The nearest numbers, null in place of decimals that do not come back.

    Returns:
        The numbers, and the rows that do not come back (None: there are none).
    """
    values, masks = [], []

    for chunk in column.chunks:
        narrow = _narrow(chunk)
        numbers = None if narrow is None else _by_division(narrow)
        lost: Mask = np.zeros(len(chunk), np.bool_)

        if numbers is None:
            numbers, lost = _by_text(chunk)

        values.append(numbers)

        masks.append(lost)

    is_any_lost = any(mask.any() for mask in masks)
    return pa.chunked_array(values, pa.float64()), np.concatenate(masks) if is_any_lost else None


def _narrow(array: pa.Array) -> pa.Array | None:
    """The same values in 128 bits, with as few digits after the point as hold them.

    None: no number of digits does.
    """
    decimal = array.type
    if decimal.scale < 0:
        return None

    if decimal.precision <= MAX_SHORT_PRECISION:
        if pa.types.is_decimal128(decimal):
            return array
        return pc.cast(array, pa.decimal128(decimal.precision, decimal.scale))

    shorter = [scale for scale in SHORT_SCALES if scale < decimal.scale]
    for scale in (*shorter, decimal.scale):
        with contextlib.suppress(pa.ArrowInvalid):
            return pc.cast(array, pa.decimal128(38, scale))

    return None


def _by_division(array: pa.Array) -> pa.Array | None:
    """The nearest numbers of decimals that are all short; None: they are not."""
    if array.type.scale > EXACT_POWER:
        return None

    words = np.frombuffer(array.buffers()[1], np.int64, count=2 * (array.offset + len(array)))
    low, high = words.reshape(-1, 2)[array.offset :].T

    if array.null_count:
        # Whatever stands in the place of a null counts as 0.
        present = pc.cast(array.is_valid(), pa.uint8())
        flags = np.frombuffer(present.buffers()[1], np.uint8, count=present.offset + len(array))
        low, high = low * flags[-len(array) :], high * flags[-len(array) :]

    is_short = (high == low >> 63) & (low > -SAFE_UNSCALED) & (low < SAFE_UNSCALED)
    if not is_short.all():
        return None

    numbers = from_numpy(low / np.float64(10**array.type.scale))

    if not array.null_count:
        return numbers

    return pc.if_else(array.is_valid(), numbers, pa.nulls(1, pa.float64())[0])


def _by_text(array: pa.Array) -> tuple[pa.Array, Mask]:
    """The nearest numbers, by way of digits: Arrow's own cast is off by a bit or more.

    It is slow, and used for what is left.
    """
    numbers = pc.cast(pc.cast(array, pa.string()), pa.float64())
    wide = pa.decimal256(76, max(array.type.scale, 0))
    back = pc.cast(pc.cast(numbers, pa.string()), wide)
    is_same = pc.equal(back, pc.cast(array, wide)).fill_null(True)

    flags = pc.cast(pc.invert(is_same), pa.uint8())
    values = np.frombuffer(flags.buffers()[1], np.uint8, count=flags.offset + len(flags))
    lost = values[flags.offset :].astype(np.bool_)

    return pc.if_else(is_same, numbers, pa.nulls(1, pa.float64())[0]), lost
