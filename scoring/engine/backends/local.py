"""Worker processes of this machine.

They stay warm between partitions, and survive each other's loss. What shards and processes need is
imported with the first of them: a command that finds nothing to do opens a pool too.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from nightscore.engine.base_pool import BasePool
from nightscore.engine.retry import (
    CALL_ATTEMPTS,
    Advice,
    LostShard,
    next_attempt,
    retry_alone,
    runs_apart,
)
from nightscore.engine.worker_errors import (
    call_died,
    call_hung,
    call_starved,
    first_line,
)
from nightscore.errors import WorkerError, WorkerHungError
from nightscore.process import available_cores
from nightscore.schemas.job import Workers

if TYPE_CHECKING:
    from nightscore.engine.remote.calls import ModelSource
    from nightscore.engine.shard import ShardResult, ShardTask
    from nightscore.engine.wave import Wave

T = TypeVar("T")

ADVICE = Advice(
    call_died="look for the kernel's out-of-memory killer, then run again",
    call_starved="look at what else runs on this machine, or give it more memory",
    shard_died="look for the kernel's out-of-memory killer; set limits.memory_bytes, "
    "or fewer workers",
    shard_starved="raise limits.memory_bytes; or look at the file: few bytes can decode to "
    "very many",
)


def open_pool(_: Workers) -> "WorkerPool":
    """A pool of this machine's processes; none is started yet."""
    return WorkerPool()


class WorkerPool(BasePool):
    """Worker processes. A context manager: at its end, however it comes, no worker is left."""

    is_local = True

    def __init__(self) -> None:
        """No process is started yet."""
        super().__init__()
        self._executor: Any = None
        self._n_processes = 0

    def prepare(self, n_processes: int) -> None:
        """Start so many processes, for calls that come before the shards."""
        self._start(n_processes)

    @property
    def capacity(self) -> int:
        """One worker for each core that this process may use."""
        return available_cores()

    def add_model(self, source: "ModelSource", folder: Path) -> None:
        """Do nothing: these workers read the model where this host has it."""

    def call(
        self, function: Callable[..., T], *arguments: object, timeout_s: float | None = None
    ) -> T:
        """Run one function in a worker; it is run again if the worker dies.

        Args:
            function: May be called twice.
            arguments: Its arguments.
            timeout_s: Seconds after which its worker is ended; None: there is no limit.

        Raises:
            WorkerHungError: It has not ended in its time; it is not called again.
            WorkerError: Its workers died `CALL_ATTEMPTS` times.
            MemoryLimitError: It has no memory.
        """
        for _ in range(CALL_ATTEMPTS - 1):
            try:
                return self._call(function, arguments, timeout_s)
            except WorkerHungError:
                raise
            except WorkerError:
                continue

        return self._call(function, arguments, timeout_s)

    def call_ahead(self, function: Callable[..., object], *arguments: object) -> None:
        """Have the process that was started early call a function; if there is none, do nothing."""
        from nightscore.engine.executor import has_early, submit

        if self._executor is not None or not has_early():
            return

        self._start(1)
        with contextlib.suppress(BrokenExecutor):  # the next call starts another process
            submit(self._executor, function, *arguments)

    def score(
        self,
        tasks: "Sequence[ShardTask]",
        n_workers: int,
        timeout_s: float,
        on_lost: "Callable[[ShardTask], None]",
    ) -> "Iterator[ShardResult]":
        """The results as they finish, in any order.

        A worker's death breaks the pool: the shards without a result are scored again in a new
        one. Where it happens twice, each of them is scored alone, so that the one to blame is
        known and the others get through. A worker that hangs is ended, and its shard scored
        alone. A shard that has no memory is scored once more, with nothing beside it.

        Raises:
            WorkerError: A shard's worker died or hung too often; see `retry`.
            MemoryLimitError: A shard does not fit, even alone.
        """
        from nightscore.engine.wave import Wave

        waves = [list(tasks)] if tasks else []

        while waves:
            wave_tasks = waves.pop(0)
            wave = Wave(wave_tasks, min(n_workers, len(wave_tasks)), timeout_s)
            yield from self._score_wave(wave, in_threads=wave_tasks[0].in_threads)

            if wave.lost:
                self._check_stopped()
                self.kill()
                waves += _retry_waves(wave.lost, timeout_s, on_lost)

            if wave.starved:
                self.kill()
                waves += [[_with_all_memory(*pair, n_workers)] for pair in wave.starved]

    def kill(self) -> None:
        """End all workers at once: an orderly end of idle processes takes a tenth of a second."""
        if self._executor is not None:
            from nightscore.engine.executor import end_executor

            executor, self._executor, self._n_processes = self._executor, None, 0
            end_executor(executor)

    def _call(
        self, function: Callable[..., T], arguments: tuple[object, ...], timeout_s: float | None
    ) -> T:
        from nightscore.engine.executor import submit

        self._start(max(self._n_processes, 1))

        try:
            future = submit(self._executor, function, *arguments)
            if not wait([future], timeout_s).done:
                self.kill()
                raise call_hung(function, timeout_s or 0.0)

            return future.result()
        except MemoryError as error:
            # loky would end the swollen worker by itself, in the middle of the next call.
            self.kill()
            raise call_starved(function, error, ADVICE) from error
        except BrokenExecutor as error:
            self._check_stopped()
            self.kill()
            raise call_died(function, first_line(error), ADVICE) from error

    def _score_wave(self, wave: "Wave", *, in_threads: bool) -> "Iterator[ShardResult]":
        from nightscore.engine.wave import score_in_processes, score_in_threads

        if in_threads:
            self._start(1, exactly=True)
            results = score_in_threads(self._executor, wave)
        else:
            self._start(wave.n_at_once)
            results = score_in_processes(self._executor, wave)

        try:
            for result in results:
                self._count_cpu(result.pid, result.process_cpu_s)
                yield result
        except BaseException:
            self.kill()  # nobody waits any more for what is still queued
            raise

    def _start(self, n_processes: int, *, exactly: bool = False) -> None:
        """Have at least so many processes, or exactly so many."""
        from nightscore.engine.executor import grow_executor, is_broken, open_executor

        self._check_stopped()
        if self._executor is not None and is_broken(self._executor):
            self.kill()  # a worker died between two partitions

        if self._executor is None or (exactly and self._n_processes != n_processes):
            self.kill()
            self._executor = open_executor(n_processes)
            self._n_processes = n_processes
        elif self._n_processes < n_processes:
            self._executor = grow_executor(self._executor, n_processes)
            self._n_processes = n_processes


def _retry_waves(
    lost: Sequence[LostShard], timeout_s: float, on_lost: "Callable[[ShardTask], None]"
) -> "list[list[ShardTask]]":
    """The next attempts of lost shards: those above suspicion together, each other alone."""
    together: list[ShardTask] = []
    apart: list[list[ShardTask]] = []

    for shard in lost:
        task = next_attempt(shard, timeout_s, ADVICE)
        on_lost(task)
        if runs_apart(task):
            apart.append([task])
        else:
            together.append(task)

    return [together, *apart] if together else apart


def _with_all_memory(task: "ShardTask", error: MemoryError, n_workers: int) -> "ShardTask":
    """The same shard, alone, with the memory of all workers."""
    return retry_alone(
        task,
        error,
        ADVICE,
        allowed=f"at most {task.memory_bytes:,} bytes",
        memory_bytes=task.memory_bytes * n_workers,
    )
