"""How a kernel is compiled."""

from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit

Function = TypeVar("Function", bound=Callable[..., Any])


def kernel(function: Function) -> Function:
    """Compiled for the types that `machine_code` asks for: to be called from there, or from another kernel."""
    # No counting of references, which nothing here holds; to allocate is an error of compilation then.
    return njit(  # type: ignore[no-any-return]
        nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True, _nrt=False
    )(function)
