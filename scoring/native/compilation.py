"""How a kernel is compiled."""

from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit

Function = TypeVar("Function", bound=Callable[..., Any])


def kernel(function: Function) -> Function:
    """Compile a function for the types that `machine_code` asks for.

    Only `machine_code` and other kernels call it.
    """
    # Nothing here holds references, so none are counted. Allocating memory is then a compile error.
    return njit(  # type: ignore[no-any-return]
        nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True, _nrt=False
    )(function)
