"""Decimals as floating numbers: the nearest one, as Python makes it, and which of them would lose digits."""

import contextlib

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nightscore.arrow.arrays import from_numpy

SAFE_UNSCALED = 10**15
"""Up to here a decimal has at most 15 digits: its nearest float64 is nobody else's, and is read back as it was."""
EXACT_POWER = 22
"""10**22 is exact in float64, so that dividing by it rounds once; 10**23 is not."""
SHORT_SCALES = (0, 2, 4, 6, 9, 12)
"""Tried for decimals of more digits than 64 bits hold: most have zeros at their end (Spark's are of scale 18)."""


def to_float64(column: pa.ChunkedArray) -> tuple[pa.ChunkedArray, npt.NDArray[np.bool_] | None]:
    """The nearest numbers, null in the place of those that do not come back; and where these are (None: nowhere)."""
    values, masks = [], []
    for chunk in column.chunks:
        narrow = _narrow(chunk)
        quick = None if narrow is None else _by_division(narrow)
        found, bad = (quick, None) if quick is not None else _by_text(chunk)
        values.append(found)
        masks.append(np.zeros(len(chunk), np.bool_) if bad is None else bad)
    is_any = any(mask.any() for mask in masks)
    return pa.chunked_array(values, pa.float64()), np.concatenate(masks) if is_any else None


def _narrow(array: pa.Array) -> pa.Array | None:
    """The same values in 128 bits, with fewer digits after the point where that loses none of them."""
    kind = array.type
    if kind.scale < 0:
        return None
    if kind.precision <= 18:
        return (
            array
            if pa.types.is_decimal128(kind)
            else pc.cast(array, pa.decimal128(kind.precision, kind.scale))
        )
    for scale in (*(scale for scale in SHORT_SCALES if scale < kind.scale), kind.scale):
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
        present = pc.cast(array.is_valid(), pa.uint8())
        present = np.frombuffer(present.buffers()[1], np.uint8, count=present.offset + len(array))[
            -len(array) :
        ]
        low, high = low * present, high * present
    if not ((high == low >> 63) & (low > -SAFE_UNSCALED) & (low < SAFE_UNSCALED)).all():
        return None
    found = from_numpy(low / np.float64(10**array.type.scale))
    return (
        pc.if_else(array.is_valid(), found, pa.nulls(1, pa.float64())[0])
        if array.null_count
        else found
    )


def _by_text(array: pa.Array) -> tuple[pa.Array, npt.NDArray[np.bool_]]:
    """The nearest numbers, by way of digits: Arrow's own cast is off by a bit or more. Slow, for what is left."""
    found = pc.cast(pc.cast(array, pa.string()), pa.float64())
    wide = pa.decimal256(76, max(array.type.scale, 0))
    back = pc.cast(pc.cast(found, pa.string()), wide)
    same = pc.equal(back, pc.cast(array, wide)).fill_null(True)
    flags = pc.cast(pc.invert(same), pa.uint8())
    bad = np.frombuffer(flags.buffers()[1], np.uint8, count=flags.offset + len(flags))[
        flags.offset :
    ].astype(np.bool_)
    return pc.if_else(same, found, pa.nulls(1, pa.float64())[0]), bad
