"""Workers that score shards: what callers may ask of any backend's pool."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self, TypeVar

if TYPE_CHECKING:  # a command with nothing to do opens a pool, and imports no shards
    from nightscore.engine.remote.calls import ModelSource
    from nightscore.engine.shard import ShardResult, ShardTask

T = TypeVar("T")


class Pool(Protocol):
    """Worker processes, here or on a cluster.

    A context manager: at its end nothing of a run is left running.
    """

    is_local: bool
    """Whether the workers see this machine's files."""
    cpu_s_by_pid: dict[int, float]
    """CPU seconds of each worker process, as of its last result."""

    @property
    def capacity(self) -> int:
        """Shards that may be under way at once, where the job does not say."""
        ...

    def add_model(self, source: "ModelSource", folder: Path) -> None:
        """Say where workers of other hosts get a model that this host has in `folder`."""
        ...

    def prepare(self, n_processes: int) -> None:
        """Start so many processes, for calls that come before the shards."""
        ...

    def call(
        self, function: Callable[..., T], *arguments: object, timeout_s: float | None = None
    ) -> T:
        """The result of a function that runs in a worker; it is run again if the worker dies.

        Args:
            function: May be called twice.
            arguments: Its arguments.
            timeout_s: Seconds after which its worker is ended; None: there is no limit.
        """
        ...

    def call_ahead(self, function: Callable[..., object], *arguments: object) -> None:
        """Have a process that nobody needs yet call a function, without waiting for it.

        It makes ready what later calls need. What it raises is not told: they raise it, too. If
        there is no such process, nothing happens.
        """
        ...

    def score(
        self,
        tasks: "Sequence[ShardTask]",
        n_workers: int,
        timeout_s: float,
        on_lost: "Callable[[ShardTask], None]",
    ) -> "Iterator[ShardResult]":
        """The results as they finish, in any order.

        Args:
            tasks: The shards to score.
            n_workers: Shards under way at once.
            timeout_s: Seconds that each shard has; then its worker is ended.
            on_lost: Called with the next attempt of a shard whose worker died or hung.
        """
        ...

    def kill(self) -> None:
        """End at once what is under way."""
        ...

    @property
    def is_stopped(self) -> bool:
        """Whether the pool was stopped for good."""
        ...

    def stop(self, reason: str = "was interrupted") -> None:
        """End everything for good; a run in another thread then ends as interrupted."""
        ...

    def __enter__(self) -> Self:
        """The pool."""
        ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End what is under way."""
        ...
