"""The memory that the kernels of trees work in."""

from typing import Any

import numpy as np
import numpy.typing as npt

from nightscore.native.constants import BLOCK_ROWS
from nightscore.native.variants import Variant

LINE_BYTES = 64
"""Bytes of a line of the cache. A vector that lies in two lines is read twice."""


def aligned_zeros(size: int, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """An array of shape (size,) that begins with a line of the cache."""
    memory = np.zeros(size * dtype.itemsize + LINE_BYTES, np.uint8)
    start = -memory.ctypes.data % LINE_BYTES
    return memory[start : start + size * dtype.itemsize].view(dtype)


def mask_type(code: np.dtype[Any], variant: Variant) -> np.dtype[Any]:
    """The type of the masks that say which of 64 rows reach a node of a tree.

    With AVX-512 a mask is a word: comparisons give bits. Without it a mask has a lane for each row:
    comparisons give lanes, whose bits would have to be collected.

    Args:
        code: The type of the codes that are compared.
        variant: That of the kernels.
    """
    return np.dtype(np.uint64) if variant == "avx512" else code


def mask_buffer(n_masks: int, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Room for masks of this type."""
    n_lanes = 1 if dtype == np.uint64 else BLOCK_ROWS
    return aligned_zeros(n_masks * n_lanes, dtype)
