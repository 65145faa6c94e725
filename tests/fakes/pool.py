"""A pool without workers, for tests in which processes are not the point.

It scores one shard after another in the test's own process, which knows what the test has
registered. It is also the smallest backend that there can be: `tests/contracts/test_worker_backends.py`
runs it.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from nightscore.engine.base_pool import BasePool
from nightscore.engine.remote.calls import ModelSource
from nightscore.engine.shard import ShardResult, ShardTask
from nightscore.engine.worker.shard_scoring import score_shard

T = TypeVar("T")


class InProcessPool(BasePool):
    """See `Pool`. Nothing is killed and nothing times out."""

    is_local = True

    @property
    def capacity(self) -> int:
        return 1

    def add_model(self, source: ModelSource, folder: Path) -> None:
        pass

    def prepare(self, n_processes: int) -> None:
        pass

    def call(
        self, function: Callable[..., T], *arguments: object, timeout_s: float | None = None
    ) -> T:
        self._check_stopped()
        return function(*arguments)

    def score(
        self,
        tasks: Sequence[ShardTask],
        n_workers: int,
        timeout_s: float,
        on_lost: Callable[[ShardTask], None],
    ) -> Iterator[ShardResult]:
        for task in tasks:
            self._check_stopped()
            result = score_shard(task)
            self._count_cpu(result.pid, result.process_cpu_s)
            yield result

    def kill(self) -> None:
        pass
