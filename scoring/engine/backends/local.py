"""Worker processes that stay warm between partitions, and survive the loss of one."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from loky.process_executor import BrokenProcessPool

from nightscore.engine.executor import end_executor, open_executor
from nightscore.engine.remote.calls import ModelSource
from nightscore.engine.shard import ShardResult, ShardTask
from nightscore.engine.worker import exchange, score_shard
from nightscore.errors import InterruptedRunError, MemoryLimitError, WorkerError, WorkerHungError
from nightscore.process import available_cores

T = TypeVar("T")

MAX_ATTEMPTS = 4
MAX_HUNG = 2
ALONE_FROM_ATTEMPT = 2


@dataclass(slots=True)
class _Gone:
    """Shards of a wave that have no result."""

    lost: list[ShardTask]
    """Their worker died, or was ended with another's."""
    stuck: list[ShardTask]
    starved: list[tuple[ShardTask, MemoryError]]

    @property
    def all(self) -> list[ShardTask]:
        return [*self.stuck, *self.lost]


class WorkerPool:
    """loky's processes. A context manager: at its end, however it comes, no worker is left."""

    is_local = True

    def __init__(self) -> None:
        self._executor: Any = None
        self.cpu_s_by_pid: dict[int, float] = {}
        """CPU seconds of each process so far, as it last said."""
        self._n_workers = 0
        self._stop_reason: str | None = None

    def prepare(self, n_processes: int) -> None:
        """Have so many processes, for calls that come before the shards."""
        self._ensure(n_processes)

    @property
    def capacity(self) -> int:
        """One worker a core that this process may use."""
        return available_cores()

    def add_model(self, source: ModelSource, folder: Path) -> None:
        """Nothing to note: these workers read the model where this host has it."""

    def call(
        self, function: Callable[..., T], *arguments: object, timeout_s: float | None = None
    ) -> T:
        """Run one function in a worker; once more where that dies, so it must not mind being called twice.

        Args:
            function: It, and what it is given.
            arguments: See there.
            timeout_s: Seconds after which its worker is ended; None: it may take as long as it likes.

        Raises:
            WorkerHungError: It has not ended in its time; it is not called again.
            WorkerError: Its worker died both times.
            MemoryLimitError: It has no memory.
        """
        try:
            return self._call(function, arguments, timeout_s)
        except WorkerHungError:
            raise
        except WorkerError:
            return self._call(function, arguments, timeout_s)

    def _call(
        self, function: Callable[..., T], arguments: tuple[object, ...], timeout_s: float | None
    ) -> T:
        self._ensure(max(self._n_workers, 1))
        try:
            future = self._executor.submit(function, *arguments)
            if not wait([future], timeout_s).done:
                self.kill()
                raise call_hung(function, timeout_s or 0.0)
            result: T = future.result()
        except MemoryError as error:
            self.kill()  # loky would end the swollen worker by itself, in the middle of what is asked next
            raise MemoryLimitError(
                f"A worker has no memory for {getattr(function, '__name__', 'a call')}; nothing was published.",
                found=_first_line(error),
                next_step="look at what else runs on this machine, or give it more memory",
            ) from error
        except BrokenProcessPool as error:
            self._check_stopped()
            self.kill()
            raise WorkerError(
                f"A worker died twice in {getattr(function, '__name__', 'a call')}.",
                found=_first_line(error),
                next_step="look for the kernel's out-of-memory killer, then run again",
            ) from error
        return result

    def score(
        self,
        tasks: Sequence[ShardTask],
        n_workers: int,
        timeout_s: float,
        on_lost: Callable[[ShardTask], None],
    ) -> Iterator[ShardResult]:
        """The results as they finish, in any order.

        A worker's death breaks the pool: the shards without a result are scored again in a new one. Where it
        happens twice, each of them is scored alone, so that the one to blame is known and the others get through. A
        worker that hangs is ended, and its shard scored alone; one for which memory is short is scored once more with
        nothing beside it.

        Raises:
            WorkerError: A shard's worker died `MAX_ATTEMPTS` times, or hung twice.
            MemoryLimitError: A shard does not fit, even alone.
        """
        waves = [list(tasks)] if tasks else []
        while waves:
            wave = waves.pop(0)
            gone = _Gone([], [], [])
            score = self._score_in_threads if wave[0].in_threads else self._score_wave
            yield from score(wave, min(n_workers, len(wave)), timeout_s, gone)
            if gone.stuck or gone.lost:
                self._check_stopped()
                self.kill()
                again = [
                    self._again(task, on_lost, timeout_s if task in gone.stuck else None)
                    for task in gone.all
                ]
                suspects = [
                    task for task in again if task.n_hung or task.attempt >= ALONE_FROM_ATTEMPT
                ]
                others = [task for task in again if task not in suspects]
                waves += [*([others] if others else []), *([task] for task in suspects)]
            if gone.starved:
                self.kill()
                waves += [
                    [self._alone(task, str(error), n_workers)] for task, error in gone.starved
                ]

    def _score_wave(
        self, wave: Sequence[ShardTask], n_workers: int, timeout_s: float, gone: "_Gone"
    ) -> Iterator[ShardResult]:
        self._ensure(n_workers)
        # No more under way than the plan's memory allows, though the pool may be wider from an earlier partition.
        waiting = list(wave)
        futures: dict[Future[ShardResult], ShardTask] = {}
        deadlines: dict[Future[ShardResult], float] = {}
        lost = gone.lost
        try:
            while waiting or futures:
                while waiting and len(futures) < n_workers:
                    future = self._executor.submit(score_shard, waiting[0])
                    futures[future] = waiting.pop(0)
                    deadlines[future] = time.monotonic() + timeout_s
                first = min(deadlines[future] for future in futures)
                done, _ = wait(
                    futures, max(0.0, first - time.monotonic()), return_when=FIRST_COMPLETED
                )
                if not done:
                    now = time.monotonic()
                    gone.stuck += [
                        task for future, task in futures.items() if deadlines[future] <= now
                    ]
                    lost += [
                        task for task in (*futures.values(), *waiting) if task not in gone.stuck
                    ]
                    return
                for future in done:
                    task = futures.pop(future)
                    try:
                        result = future.result()
                    except BrokenProcessPool:
                        lost += [task, *futures.values(), *waiting]
                        return
                    except MemoryError as error:
                        gone.starved.append((task, error))
                        continue
                    self._count_cpu(result)
                    yield result
        except BrokenProcessPool:  # a worker died while it was idle
            lost += [*futures.values(), *waiting]
        except BaseException:
            self.kill()  # what is still queued is nobody's work any more
            raise

    def _score_in_threads(
        self, wave: Sequence[ShardTask], n_threads: int, timeout_s: float, gone: "_Gone"
    ) -> Iterator[ShardResult]:
        """As `_score_wave`, all in one process: a call hands over shards and comes back with those that are done."""
        self._ensure(1, only=True)
        waiting = list(wave)
        running: dict[int, ShardTask] = {}
        deadlines: dict[int, float] = {}
        try:
            while waiting or running:
                fresh = [waiting.pop(0) for _ in range(min(len(waiting), n_threads - len(running)))]
                running |= {task.shard.index: task for task in fresh}
                deadlines |= {task.shard.index: time.monotonic() + timeout_s for task in fresh}
                future = self._executor.submit(exchange, score_shard, fresh)
                while not wait([future], max(0.0, min(deadlines.values()) - time.monotonic())).done:
                    now = time.monotonic()
                    gone.stuck += [
                        task for index, task in running.items() if deadlines[index] <= now
                    ]
                    if gone.stuck:
                        gone.lost += [
                            task for task in (*running.values(), *waiting) if task not in gone.stuck
                        ]
                        return
                for index, outcome in future.result():
                    task = running.pop(index)
                    del deadlines[index]
                    if isinstance(outcome, MemoryError):
                        gone.starved.append((task, outcome))
                    elif isinstance(outcome, BaseException):
                        raise outcome
                    else:
                        self._count_cpu(outcome)
                        yield outcome
        except BrokenProcessPool:
            gone.lost += [*running.values(), *waiting]
        except BaseException:
            self.kill()
            raise

    def _count_cpu(self, result: ShardResult) -> None:
        self.cpu_s_by_pid[result.pid] = max(
            result.process_cpu_s, self.cpu_s_by_pid.get(result.pid, 0.0)
        )

    def _again(
        self, task: ShardTask, on_lost: Callable[[ShardTask], None], stuck_s: float | None
    ) -> ShardTask:
        """The next attempt; one that hung has one more only."""
        n_hung = task.n_hung + (stuck_s is not None)
        if stuck_s is not None and n_hung == MAX_HUNG:
            raise WorkerError(
                f"The worker of shard {task.shard.index} hung; nothing was published.",
                task.where,
                expected=f"an end within {stuck_s / 60:g} minutes (limits.shard_minutes)",
                found="none, twice",
                next_step="look at the store, which neither answers nor fails; or allow more minutes",
            )
        if task.attempt + 1 >= MAX_ATTEMPTS:
            raise WorkerError(
                f"The worker of shard {task.shard.index} died {MAX_ATTEMPTS} times; nothing was published.",
                task.where,
                next_step="look for the kernel's out-of-memory killer; set limits.memory_bytes, or fewer workers",
            )
        again = replace(task, attempt=task.attempt + 1, n_hung=n_hung)
        on_lost(again)
        return again

    def _alone(self, task: ShardTask, found: str, n_workers: int) -> ShardTask:
        """The same with the memory of all workers."""
        if task.is_alone:
            raise MemoryLimitError(
                f"Shard {task.shard.index} does not fit into memory, even alone; nothing was published.",
                task.where,
                expected=f"at most {task.memory_bytes:,} bytes",
                found=found,
                next_step="raise limits.memory_bytes; or look at the file: few bytes can decode to very many",
            )
        return replace(task, is_alone=True, memory_bytes=task.memory_bytes * n_workers)

    def _check_stopped(self) -> None:
        if self._stop_reason is not None:
            raise InterruptedRunError(
                f"The run {self._stop_reason}; nothing was published.",
                next_step="run again: it goes on with the shards that are finished",
            )

    def _ensure(self, n_workers: int, *, only: bool = False) -> None:
        self._check_stopped()
        if self._executor is not None and self._executor._flags.broken is not None:
            self.kill()  # a worker died between two partitions
        is_fitting = self._n_workers == n_workers if only else self._n_workers >= n_workers
        if self._executor is not None and is_fitting:
            return
        self.kill()
        self._executor = open_executor(n_workers)
        self._n_workers = n_workers

    def kill(self) -> None:
        """End all workers at once."""
        if self._executor is not None:
            executor, self._executor, self._n_workers = self._executor, None, 0
            end_executor(executor)

    @property
    def is_stopped(self) -> bool:
        return self._stop_reason is not None

    def stop(self, reason: str = "was interrupted") -> None:
        """End all workers for good: a run that another thread has under way ends as interrupted."""
        self._stop_reason = reason
        self.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()  # nothing is under way, and an orderly end of idle processes takes a tenth of a second


def call_hung(function: Callable[..., Any], timeout_s: float, worker: str = "") -> WorkerHungError:
    """The error for a call that has not ended in its time."""
    return WorkerHungError(
        f"A worker did not come back from {getattr(function, '__name__', 'a call')}; it was ended.",
        worker,
        expected=f"an end within {timeout_s / 60:g} minutes",
        found="none",
        next_step="look at what else runs on this machine, and at the model; or raise limits.shard_minutes",
    )


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
