"""Floats as integers of the same order, which the kernels of walked trees compare."""

from typing import Any

import numpy as np
import numpy.typing as npt


def ordered_key(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Integers that are ordered as the floats are, both zeros one; for no NaN."""
    bits: npt.NDArray[Any] = values.view(np.int32 if values.dtype == np.float32 else np.int64)
    size = bits & bits.dtype.type(greatest(bits.dtype))
    return np.asarray(np.where(bits >= 0, size, -size))


def rounded_down(thresholds: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """The greatest float32 not above each: `x <= t` is the same for each float32 x."""
    with np.errstate(over="ignore"):
        near = thresholds.astype(np.float32)
    return np.where(
        near.astype(np.float64) > thresholds, np.nextafter(near, np.float32(-np.inf)), near
    )


def greatest(dtype: np.dtype[Any]) -> int:
    """Key above all others: no row goes right of it."""
    return int(2 ** (8 * dtype.itemsize - 1) - 1)
