"""Warm workers for all partitions of one flow, and runs in threads that can be given up."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from contextvars import ContextVar
from typing import TypeVar

from nightscore.engine.backends.local import WorkerPool
from nightscore.engine.pool import Pool
from nightscore.engine.worker_backend_catalog import open_pool
from nightscore.process import start_daemon
from nightscore.schemas.job import Workers
from nightscore.storage.run_cache import RunCache

T = TypeVar("T")

STOP_S = 20.0
"""Time that a run has to record its end once it is told to stop. Prefect kills the process after
30 seconds."""

_shared: ContextVar["asyncio.Queue[Pool] | None"] = ContextVar("pools", default=None)
_run_cache: ContextVar[RunCache | None] = ContextVar("run_cache", default=None)


class RunStuckError(RuntimeError):
    """A run went on after its workers were gone: its driver waits for a store or a registry."""


@contextlib.contextmanager
def shared_pools(n_pools: int, workers: Workers) -> Iterator[None]:
    """Share pools of a job's workers, and a cache of runs, with the flows that are called inside.

    Nothing is left at the end, however that comes.
    """
    queue: asyncio.Queue[Pool] = asyncio.Queue()
    for _ in range(n_pools):
        queue.put_nowait(open_pool(workers))

    token, cache_token = _shared.set(queue), _run_cache.set(RunCache())

    try:
        yield
    finally:
        _shared.reset(token)
        _run_cache.reset(cache_token)

        while not queue.empty():
            queue.get_nowait().stop()


def shared_run_cache() -> RunCache | None:
    """The cache that the runs of this flow share; None: it has one run only."""
    return _run_cache.get()


@contextlib.asynccontextmanager
async def borrowed_pool(workers: Workers) -> AsyncIterator[Pool]:
    """A shared pool once one is free, or a new one.

    It is stopped if the block ends with an error.
    """
    queue = _shared.get()
    pool = open_pool(workers) if queue is None else await queue.get()

    try:
        yield pool
    except BaseException:
        pool.stop()
        raise
    finally:
        if queue is None:
            pool.stop()
        else:
            queue.put_nowait(open_pool(workers) if pool.is_stopped else pool)


@contextlib.asynccontextmanager
async def local_pool(workers: Workers) -> AsyncIterator[Pool]:
    """A borrowed pool if it works on this machine, else a new one that does."""
    if workers.is_cluster:
        with WorkerPool() as pool:
            yield pool
    else:
        async with borrowed_pool(workers) as pool:
            yield pool


async def run_within(seconds: float, pool: Pool, function: Callable[[], T]) -> T:
    """The result of a function that works with a pool, in a thread of its own.

    The pool is stopped when the time is up or the caller is cancelled. The function then ends by
    itself, soon.

    Args:
        seconds: Time until the pool is stopped.
        pool: The pool that the function works with.
        function: Runs with the caller's context variables.

    Raises:
        RunStuckError: It did not end though its pool was stopped.
    """
    ended = _start(function)

    try:
        done, _ = await asyncio.wait([ended], timeout=seconds)
        if not done:
            pool.stop(f"was stopped after {seconds / 60:,.0f} minutes, its time limit")
            done, _ = await asyncio.wait([ended], timeout=STOP_S)
    except asyncio.CancelledError:
        pool.stop("was cancelled")
        await asyncio.wait([ended], timeout=STOP_S)
        raise

    if not done:
        raise RunStuckError(
            f"The run was told to stop after {seconds / 60:,.0f} minutes and did not: its driver "
            "waits for a store or the registry. It ends with this process; check the store, then "
            "run again."
        )

    return ended.result()


async def within_time(seconds: float, function: Callable[[], T]) -> T:
    """The result of a function that needs no workers, in a thread that can be given up.

    A thread that is given up ends with its process, at the latest.

    Raises:
        TimeoutError: The time is up.
    """
    ended = _start(function)
    done, _ = await asyncio.wait([ended], timeout=seconds)
    if not done:
        raise TimeoutError
    return ended.result()


def _start(function: Callable[[], T]) -> "asyncio.Future[T]":
    """The outcome of a function in a daemon thread, for the event loop of this one."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[T] = loop.create_future()

    def settle(outcome: Future[T]) -> None:
        if ended.done():
            return
        error = outcome.exception()
        if error is None:
            ended.set_result(outcome.result())
        else:
            ended.set_exception(error)

    def hand_over(outcome: Future[T]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, outcome)

    start_daemon("scoring-run", function).add_done_callback(hand_over)

    return ended
