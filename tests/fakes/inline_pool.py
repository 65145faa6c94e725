"""A pool without workers: everything runs in the calling thread.

For runs with what the test has registered in its own process, where workers are not the point.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from nightscore.engine.shard import ShardResult, ShardTask
from nightscore.engine.worker.shard_scoring import score_shard

T = TypeVar("T")


class InlinePool:
    """See `Pool`. Timeouts have no meaning."""

    is_local = True
    capacity = 1
    is_stopped = False

    def __init__(self) -> None:
        self.cpu_s_by_pid: dict[int, float] = {}

    def add_model(self, source: Any, folder: Path) -> None:
        pass

    def prepare(self, n_processes: int) -> None:
        pass

    def call(
        self, function: Callable[..., T], *arguments: object, timeout_s: float | None = None
    ) -> T:
        return function(*arguments)

    def score(
        self,
        tasks: Sequence[ShardTask],
        n_workers: int,
        timeout_s: float,
        on_lost: Callable[[ShardTask], None],
    ) -> Iterator[ShardResult]:
        for task in tasks:
            yield score_shard(task)

    def kill(self) -> None:
        pass

    def stop(self, reason: str = "was interrupted") -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass
