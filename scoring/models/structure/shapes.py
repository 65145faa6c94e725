"""Shapes of whatever an estimator holds."""

from typing import Any

import numpy as np


def shape_of(array: Any) -> tuple[int, ...]:
    """The shape of an array, a sparse matrix, or a list."""
    shape = getattr(array, "shape", None)
    return tuple(shape) if shape is not None else np.shape(array)


def n_rows(array: Any) -> int:
    """Rows of it; 0 for a single value."""
    shape = shape_of(array)
    return shape[0] if shape else 0
