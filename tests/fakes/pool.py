"""A pool without workers, for tests in which processes are not the point: it scores in the test's own thread."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from nightscore.engine.remote.calls import ModelSource
from nightscore.engine.shard import ShardResult, ShardTask
from nightscore.engine.worker.shard_scoring import score_shard

T = TypeVar("T")


class InProcessPool:
    """See `Pool`. Nothing is killed and nothing times out."""

    is_local = True
    capacity = 1
    is_stopped = False

    def __init__(self) -> None:
        self.cpu_s_by_pid: dict[int, float] = {}

    def add_model(self, source: ModelSource, folder: Path) -> None:
        """The models are in this host's cache."""

    def prepare(self, n_processes: int) -> None:
        """There are none."""

    def call(
        self, function: Callable[..., T], *arguments: object, timeout_s: float | None = None
    ) -> T:
        """Call it here."""
        return function(*arguments)

    def score(
        self,
        tasks: Sequence[ShardTask],
        n_workers: int,
        timeout_s: float,
        on_lost: Callable[[ShardTask], None],
    ) -> Iterator[ShardResult]:
        """Score one shard after another."""
        for task in tasks:
            yield score_shard(task)

    def kill(self) -> None:
        """Nothing is under way in another thread."""

    def stop(self, reason: str = "was interrupted") -> None:
        """See `kill`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None
