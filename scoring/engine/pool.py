"""Workers that score shards: what callers may ask of any backend's pool."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self, TypeVar

from nightscore.engine.remote.calls import ModelSource
from nightscore.engine.shard import ShardResult, ShardTask

T = TypeVar("T")


class Pool(Protocol):
    """Worker processes, here or on a cluster. A context manager: at its end nothing of a run is left running."""

    is_local: bool
    """They see this machine's files."""
    cpu_s_by_pid: dict[int, float]
    """CPU seconds of each worker process so far, as it last said."""

    @property
    def capacity(self) -> int:
        """Shards that may be under way at once, where the job does not say."""
        ...

    def add_model(self, source: ModelSource, folder: Path) -> None:
        """Say where workers of other hosts get a model that this host has in `folder`."""
        ...

    def prepare(self, n_processes: int) -> None:
        """Have so many processes, for calls that come before the shards."""
        ...

    def call(
        self, function: Callable[..., T], *arguments: object, timeout_s: float | None = None
    ) -> T:
        """Run one function in a worker; once more where that dies, so it must not mind being called twice.

        Where it has not ended after `timeout_s`, its worker is ended; None: it may take as long as it likes.
        """
        ...

    def score(
        self,
        tasks: Sequence[ShardTask],
        n_workers: int,
        timeout_s: float,
        on_lost: Callable[[ShardTask], None],
    ) -> Iterator[ShardResult]:
        """The results as they finish, in any order; shards whose worker died or hung are scored again."""
        ...

    def kill(self) -> None:
        """End at once what is under way."""
        ...

    @property
    def is_stopped(self) -> bool: ...

    def stop(self, reason: str = "was interrupted") -> None:
        """End everything for good: a run that another thread has under way ends as interrupted."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...
