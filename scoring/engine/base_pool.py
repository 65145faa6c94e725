"""What the pools of all backends do in the same way."""

import abc
from collections.abc import Callable
from types import TracebackType
from typing import Self

from nightscore.engine.worker_errors import run_stopped


class BasePool(abc.ABC):
    """A context manager that can be stopped for good, and counts its processes' CPU time."""

    def __init__(self) -> None:
        """Not stopped yet."""
        self.cpu_s_by_pid: dict[int, float] = {}
        """CPU seconds of each process, as of its last result."""
        self._stop_reason: str | None = None

    @abc.abstractmethod
    def kill(self) -> None:
        """End at once what is under way."""

    def call_ahead(  # noqa: B027 (most pools have no idle process)
        self, function: Callable[..., object], *arguments: object
    ) -> None:
        """Do nothing: no process was started before it is needed."""

    @property
    def is_stopped(self) -> bool:
        """Whether the pool was stopped for good."""
        return self._stop_reason is not None

    def stop(self, reason: str = "was interrupted") -> None:
        """End everything for good; a run in another thread then ends as interrupted."""
        self._stop_reason = reason
        self._close()

    def __enter__(self) -> Self:
        """The pool."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End what is under way, and let go of what the pool holds."""
        self._close()

    def _close(self) -> None:
        """End what is under way, and let go of what the pool holds besides."""
        self.kill()

    def _check_stopped(self) -> None:
        """Check that the pool may still be used.

        Raises:
            InterruptedRunError: It was stopped.
        """
        if self._stop_reason is not None:
            raise run_stopped(self._stop_reason)

    def _count_cpu(self, pid: int, process_cpu_s: float) -> None:
        """Note the CPU time of a process. The most counts: results arrive in any order."""
        before = self.cpu_s_by_pid.get(pid, 0.0)
        self.cpu_s_by_pid[pid] = max(process_cpu_s, before)
