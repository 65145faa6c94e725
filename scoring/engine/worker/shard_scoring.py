"""Scores one shard. Runs in a worker process; only small records come back."""

import time
from collections.abc import Callable
from dataclasses import replace

from nightscore.engine.checkpoints import write_checkpoint
from nightscore.engine.shard import ShardResult, ShardTask
from nightscore.engine.worker.begun_shards import begin_shard, take_begun
from nightscore.engine.worker.challenger_failures import MAY_BE_THEIRS, without_challengers
from nightscore.errors import ScoringError, ShardError
from nightscore.process import limited_address_space, peak_resident_bytes

LEAST_BATCH_ROWS = 1_024
"""Below this a batch that does not fit is not halved any more."""


def score_shard(task: ShardTask, now: Callable[[], float] = time.perf_counter) -> ShardResult:
    """Score the rows of one shard and write their predictions; challengers score them as well.

    Args:
        task: What to score, with the tasks of its challengers.
        now: Wall seconds since any moment: how slow a challenger may be is a matter of these.

    Raises:
        ScoringError: The input, the model or a store; nothing was published.
        MemoryError: Even the smallest batch does not fit.
    """
    try:
        return _score_with_challengers(task, now)

    except (ScoringError, MemoryError):
        raise

    except Exception as error:  # noqa: BLE001
        # A library's own exception may not even pickle: only its words cross the process boundary.
        raise ShardError(
            "A shard could not be scored; nothing was published.",
            task.where,
            found=f"{type(error).__name__}: {str(error)[:500]}",
            next_step="run again with --verbose; if the error persists, try the model on these "
            "rows by hand",
        ) from None


def _score_with_challengers(task: ShardTask, now: Callable[[], float]) -> ShardResult:
    """Score; if that fails because of the challengers, then without them."""
    if task.challengers:
        try:
            return _score_shard(task, now)
        except MAY_BE_THEIRS as error:
            task = without_challengers(task, error)

    return _score_halving(task, now)


def _score_halving(task: ShardTask, now: Callable[[], float]) -> ShardResult:
    """Score with half the rows at once, and again half, while they do not fit into memory."""
    batch_rows = task.batch_rows
    while True:
        try:
            return _score_shard(replace(task, batch_rows=batch_rows), now)
        except MemoryError as error:
            if batch_rows <= LEAST_BATCH_ROWS:
                message = f"{error or 'no memory'}, with {batch_rows:,} rows at once"
                raise MemoryError(message) from None
            batch_rows //= 2


def _score_shard(task: ShardTask, now: Callable[[], float]) -> ShardResult:
    started, cpu_started = time.perf_counter(), time.thread_time()
    begun = take_begun(task)
    cpu_s_ahead = 0.0 if begun is None else begun.cpu_s_ahead
    challengers_cpu_s_ahead = 0.0 if begun is None else begun.challengers_cpu_s
    shard = begun or begin_shard(task, now)

    with limited_address_space(task.memory_bytes):
        result = shard.finish(task)

    challengers_cpu_s = shard.challengers_cpu_s - challengers_cpu_s_ahead
    own_cpu_s = time.thread_time() - cpu_started - challengers_cpu_s

    result = _measured(
        replace(result, cpu_s=own_cpu_s + cpu_s_ahead), time.perf_counter() - started
    )
    write_checkpoint(task, result.for_checkpoint())

    # The driver holds the results of all shards: each profile once. That of an only shard is stored
    # as it is, if nothing is added to it.
    is_only_shard = task.shard.n_rows == task.n_rows
    return result if is_only_shard else result.for_driver()


def _measured(result: ShardResult, wall_s: float) -> ShardResult:
    """The result with what the whole process took, which its challengers' results say as well."""
    challengers = tuple(
        replace(one, result=one.result and _measured(one.result, wall_s))
        for one in result.challengers
    )
    return replace(
        result,
        wall_s=wall_s,
        process_cpu_s=time.process_time(),
        peak_bytes=peak_resident_bytes(),
        challengers=challengers,
    )
