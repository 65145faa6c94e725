"""Shards that are scored together by the worker processes of this machine."""

import functools
import pickle
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from typing import Any, TypeVar

from nightscore.engine.executor import submit
from nightscore.engine.retry import LostShard
from nightscore.engine.shard import ShardResult, ShardTask
from nightscore.engine.worker.shard_scoring import score_shard
from nightscore.engine.worker.shard_threads import exchange

T = TypeVar("T")
R = TypeVar("R")


class Wave:
    """Shards that wait, those under way, and those that were lost.

    A wave ends early when a worker dies or hangs: all shards without a result are then lost.
    """

    def __init__(self, tasks: Sequence[ShardTask], n_at_once: int, timeout_s: float) -> None:
        """Nothing is under way yet.

        Args:
            tasks: The shards to score.
            n_at_once: Shards under way at once, as many as the plan's memory allows. The pool may
                have more processes, from an earlier partition.
            timeout_s: Seconds that each shard has.
        """
        self.n_at_once = n_at_once
        self._timeout_s = timeout_s

        self._waiting = list(tasks)
        self._running: dict[int, ShardTask] = {}
        self._deadlines: dict[int, float] = {}

        self.lost: list[LostShard] = []
        self.starved: list[tuple[ShardTask, MemoryError]] = []

    @property
    def is_unfinished(self) -> bool:
        """Whether a shard waits or is under way."""
        return bool(self._waiting or self._running)

    @property
    def seconds_left(self) -> float:
        """Time until the first of the shards under way should have finished."""
        return max(0.0, min(self._deadlines.values()) - time.monotonic())

    def start_next(self) -> list[ShardTask]:
        """The shards that start now; they are under way from here on."""
        n_free = self.n_at_once - len(self._running)
        started, self._waiting = self._waiting[:n_free], self._waiting[n_free:]

        for task in started:
            self._running[task.shard.index] = task
            self._deadlines[task.shard.index] = time.monotonic() + self._timeout_s
        return started

    def finish(self, index: int) -> ShardTask:
        """The task of a shard that has finished; it is no longer under way."""
        del self._deadlines[index]
        return self._running.pop(index)

    def starve(self, index: int, error: MemoryError) -> None:
        """Note that a shard had no memory; the others go on."""
        self.starved.append((self.finish(index), error))

    def give_up_hung(self) -> bool:
        """Give up all shards if one is late: its worker cannot be ended without the others."""
        now = time.monotonic()
        hung = {index for index, deadline in self._deadlines.items() if deadline <= now}
        if not hung:
            return False

        self.lost += [LostShard(task=self._running.pop(i), has_hung=True) for i in sorted(hung)]
        self.give_up()
        return True

    def give_up(self) -> None:
        """Give up all shards that have no result."""
        self.lost += [LostShard(task=task) for task in (*self._running.values(), *self._waiting)]
        self._running, self._deadlines, self._waiting = {}, {}, []


def _submit_task(executor: Any, function: Callable[[T], R], argument: T) -> Future[R]:
    """Call a function in a worker.

    Tasks are plain records. loky's own pickler asks Python about each object in them, which takes
    several times as long.
    """
    pickled = pickle.dumps(argument, pickle.HIGHEST_PROTOCOL)
    return submit(executor, _call_pickled, function, pickled)


def _call_pickled(function: Callable[[T], R], argument: bytes) -> R:
    return function(pickle.loads(argument))  # noqa: S301 (from this run's driver)


def score_in_processes(executor: Any, wave: Wave) -> Iterator[ShardResult]:
    """The results of a wave as they finish, each shard in one of the executor's processes."""
    indices: dict[Future[ShardResult], int] = {}

    try:
        while wave.is_unfinished:
            for task in wave.start_next():
                indices[_submit_task(executor, score_shard, task)] = task.shard.index

            done, _ = wait(indices, wave.seconds_left, return_when=FIRST_COMPLETED)
            if not done and wave.give_up_hung():
                return

            for future in done:
                index = indices.pop(future)

                try:
                    result = future.result()
                except MemoryError as error:
                    wave.starve(index, error)
                    continue

                wave.finish(index)
                yield result
    except BrokenExecutor:  # also where a worker died while it was idle
        wave.give_up()


def score_in_threads(executor: Any, wave: Wave) -> Iterator[ShardResult]:
    """The results of a wave as they finish, all shards in threads of the executor's one process.

    A call hands over new shards, and comes back with those that are done.
    """
    try:
        while wave.is_unfinished:
            exchange_shards = functools.partial(exchange, score_shard)
            future = _submit_task(executor, exchange_shards, wave.start_next())

            while not wait([future], wave.seconds_left).done:
                if wave.give_up_hung():
                    return

            for index, outcome in future.result():
                if isinstance(outcome, MemoryError):
                    wave.starve(index, outcome)
                elif isinstance(outcome, BaseException):
                    raise outcome
                else:
                    wave.finish(index)
                    yield outcome
    except BrokenExecutor:
        wave.give_up()
