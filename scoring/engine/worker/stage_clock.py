"""Wall time of the stages of a shard."""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

T = TypeVar("T")


class StageClock:
    """Wall seconds by stage; a stage may be entered many times."""

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        """No stage has been entered yet.

        Args:
            now: Seconds since any moment.
        """
        self.now = now
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Count the time of the block for a stage."""
        started = self.now()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + self.now() - started

    def next(self, stage: str, items: Iterator[T]) -> T | None:
        """The next item, its time counted for a stage; None at the end."""
        with self(stage):
            return next(items, None)
