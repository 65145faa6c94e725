"""Arguments of kernels: their types, and the parts as which machine code takes them."""

import ctypes
from collections.abc import Iterable
from typing import Any

import numpy as np

ArgumentType = tuple[str, int, bool, bool]
"""NumPy's name of the type, the number of dimensions, whether it is contiguous and aligned.

A plain tuple: one is made of each argument of each call.
"""
ArgumentTypes = tuple[ArgumentType, ...]


def argument_type(argument: Any) -> ArgumentType:
    """The type of an array, a NumPy scalar, a float or an integer."""
    if isinstance(argument, np.ndarray):
        flags = argument.flags
        return argument.dtype.str, argument.ndim, flags.c_contiguous, flags.aligned
    if isinstance(argument, np.generic):
        return argument.dtype.str, 0, True, True
    return ("<f8" if isinstance(argument, float) else "<i8"), 0, True, True


def c_types(argument: ArgumentType) -> Iterable[Any]:
    """The types of an argument's parts.

    An array has two owners, a size, an item size, the address of its data, its shape and its
    strides.

    Source: `numba.core.datamodel.models.ArrayModel`.
    """
    name, n_dimensions, *_ = argument
    if not n_dimensions:
        return (np.ctypeslib.as_ctypes_type(np.dtype(name)),)

    owners = (ctypes.c_void_p, ctypes.c_void_p)
    sizes = (ctypes.c_int64, ctypes.c_int64)
    shape_and_strides = [ctypes.c_int64] * (2 * n_dimensions)

    return (*owners, *sizes, ctypes.c_void_p, *shape_and_strides)


def c_values(argument: Any) -> Iterable[Any]:
    """The values of an argument's parts."""
    if isinstance(argument, np.ndarray):
        address = argument.ctypes.data
        sizes = (argument.size, argument.itemsize)
        return (None, None, *sizes, address, *argument.shape, *argument.strides)
    return (argument.item() if isinstance(argument, np.generic) else argument,)


def numba_type(argument: ArgumentType) -> Any:
    """The type that Numba compiles for."""
    import numba

    name, n_dimensions, is_contiguous, is_aligned = argument
    scalar = numba.from_dtype(np.dtype(name))
    if not n_dimensions:
        return scalar

    order = "C" if is_contiguous else "A"
    return numba.types.Array(scalar, n_dimensions, order, aligned=is_aligned)
