"""Warm workers for flows, which start and stop a pool of their own each."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from nightscore.engine.backends.local import WorkerPool
from nightscore.engine.base_pool import BasePool
from nightscore.engine.pool import Pool
from nightscore.engine.remote.calls import ModelSource
from nightscore.engine.shard import ShardResult, ShardTask
from nightscore.schemas.job import Workers

T = TypeVar("T")


class LentPool(BasePool):
    """A pool that belongs to somebody else. Stopping it gives it back."""

    is_local = True

    def __init__(self, pool: WorkerPool) -> None:
        super().__init__()
        self._pool = pool
        self.cpu_s_by_pid = pool.cpu_s_by_pid

    @property
    def capacity(self) -> int:
        return self._pool.capacity

    def add_model(self, source: ModelSource, folder: Path) -> None:
        self._pool.add_model(source, folder)

    def prepare(self, n_processes: int) -> None:
        self._check_stopped()
        self._pool.prepare(n_processes)

    def call(
        self, function: Callable[..., T], *arguments: object, timeout_s: float | None = None
    ) -> T:
        self._check_stopped()
        return self._pool.call(function, *arguments, timeout_s=timeout_s)

    def score(
        self,
        tasks: Sequence[ShardTask],
        n_workers: int,
        timeout_s: float,
        on_lost: Callable[[ShardTask], None],
    ) -> Iterator[ShardResult]:
        self._check_stopped()
        yield from self._pool.score(tasks, n_workers, timeout_s, on_lost)

    def kill(self) -> None:
        pass


def lender(pool: WorkerPool) -> Callable[[Workers], Pool]:
    """In place of `open_pool`: lends a pool to one flow at a time, and opens more if it is lent."""
    lent: list[LentPool] = []

    def open_pool(workers: Workers) -> Pool:
        if lent and not lent[-1].is_stopped:
            return WorkerPool()
        lent.append(LentPool(pool))
        return lent[-1]

    return open_pool
