"""All that planning knows of a pool of workers."""

from collections.abc import Callable
from typing import Protocol, TypeVar

T = TypeVar("T")


class Caller(Protocol):
    """Runs a function in a worker."""

    def call(
        self, function: Callable[..., T], *arguments: object, timeout_s: float | None = None
    ) -> T:
        """The function's result."""
        ...
