"""Floats as integers of the same order, which the kernels of walked trees compare."""

from typing import Any

import numpy as np
import numpy.typing as npt


def ordered_key(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Integers that are ordered as the floats are. Both zeros have one key; NaN has none."""
    bits: npt.NDArray[Any] = values.view(np.int32 if values.dtype == np.float32 else np.int64)
    size = bits & bits.dtype.type(greatest_key(bits.dtype))
    return np.asarray(np.where(bits >= 0, size, -size))


def rounded_down(thresholds: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """The greatest float32 not above each threshold: `x <= t` stays the same for each float32 x."""
    with np.errstate(over="ignore"):
        nearest = thresholds.astype(np.float32)
    is_above = nearest.astype(np.float64) > thresholds
    return np.where(is_above, np.nextafter(nearest, np.float32(-np.inf)), nearest)


def greatest_key(dtype: np.dtype[Any]) -> int:
    """The key above all others: no row goes right of it."""
    return int(2 ** (8 * dtype.itemsize - 1) - 1)
