"""How a kernel is compiled."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from numba import config, njit
from numba.core.registry import cpu_target

Function = TypeVar("Function", bound=Callable[..., Any])

_lock = threading.Lock()


def kernel(function: Function) -> Function:
    """Compile a function for the types that `machine_code` asks for.

    Only `machine_code` and other kernels call it.
    """
    # Nothing here holds references, so none are counted. Allocating memory is then a compile error.
    return njit(  # type: ignore[no-any-return]
        nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True, _nrt=False
    )(function)


@contextlib.contextmanager
def plain_code() -> Iterator[None]:
    """Keep Numba from optimizing: it would do so for this host, whatever the code is for."""
    # Numba makes its own compiler when it is first needed, with the level of that moment.
    cpu_target.target_context.codegen()

    with _lock:
        before = config.OPT
        config.OPT = type(before)(0)
        try:
            yield
        finally:
            config.OPT = before
