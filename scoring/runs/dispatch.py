"""Hands the shards of a run to the workers, and collects what they did."""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Protocol

from nightscore.arrow.parsing import client
from nightscore.engine.events import RowsScored, RunPlanned, ShardLost, ShardScored
from nightscore.engine.pool import Pool
from nightscore.engine.retry import MAX_ATTEMPTS
from nightscore.engine.row_counts import row_counts_file, watched_rows
from nightscore.engine.shard import ShardResult, ShardTask
from nightscore.engine.worker.worker_model import make_machine_code
from nightscore.errors import ScoringError
from nightscore.models.pinned import model_seconds
from nightscore.native.machine_code import has_machine_code
from nightscore.process import available_bytes
from nightscore.profiles.profile_spec import NO_PROFILE
from nightscore.runs.accounting import allowed_rows
from nightscore.runs.execution import Execution
from nightscore.runs.run_plan import RunPlan
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.partition import MemoryPlan, Shard

RESERVED_BYTES = 512 << 20
"""Address space for libraries that are loaded, and arenas that are reserved, while a shard is
scored."""


class Challengers(Protocol):
    """Versions that score the shards in the same pass. None of this raises."""

    def add_to(self, tasks: Sequence[ShardTask]) -> list[ShardTask]:
        """The tasks, with theirs for the same shards."""
        ...

    def prepare(self, tasks: Sequence[ShardTask]) -> list[ShardTask]:
        """The same tasks, with all that they need before the first shard is scored."""
        ...

    def collect(self) -> None:
        """Take their results from those of the run, once all shards are finished."""
        ...

    @property
    def has_ended_canary(self) -> bool:
        """Readers were to see rows of one, which does not score any more."""
        ...

    def discard_mixed(self, plan: RunPlan) -> tuple[RunPlan, set[int]]:
        """Remove the parts that have rows of it.

        Returns:
            The plan without it, and the numbers of the shards that are to be scored again.
        """
        ...


def score_shards(
    execution: Execution, plan: RunPlan, challengers: Challengers | None = None
) -> RunPlan:
    """Have the workers score the shards that no earlier attempt has finished.

    Returns:
        The plan. If a canary has ended, it is that of the job's own model alone.
    """
    with execution.record.stage("score"):
        tasks = make_tasks(execution, plan)
        execution.emit(_planned(execution, plan))

        if execution.job.limits.memory_bytes is not None:
            # The plan leaves no memory for the process that parses files. It starts again later.
            client.end_all()

        if tasks:
            execution.pool.prepare(min(plan.shards.memory.n_processes, len(tasks)))

        if challengers is not None:
            tasks = challengers.add_to(tasks)

        n_at_once = plan.shards.memory.n_workers
        tasks = plan.drift_check.add_profiles(tasks, plan.contract, n_at_once)
        compile_once(execution.pool, tasks, model_seconds(execution.job))

        if challengers is not None:
            tasks = challengers.prepare(tasks)

        with _told_rows(execution, plan) as path:
            tasks = [replace(task, row_counts=path) for task in tasks]
            for result in _score(execution, plan, tasks):
                execution.results.scored.append(result)
                execution.emit(_scored(execution, result))

        _rescore_by_library(execution, plan, tasks)

        if challengers is not None:
            challengers.collect()
            if challengers.has_ended_canary:
                plan, mixed = challengers.discard_mixed(plan)
                _rescore_alone(
                    execution, plan, [task for task in tasks if task.shard.index in mixed]
                )

    return plan


@contextlib.contextmanager
def _told_rows(execution: Execution, plan: RunPlan) -> Iterator[str]:
    """Tell listeners of rows before their shards are done.

    Gives the path of the file that workers note them in; empty where nobody asks. Workers on other
    machines cannot do that: of these, shards are told as they end.
    """
    if not (execution.pool.is_local and execution.has_listeners):
        yield ""
        return

    def tell(n_rows: int) -> None:
        execution.emit(RowsScored(execution.run_id, execution.shown_value, n_rows))

    n_shards = 1 + max((shard.index for shard in plan.shards.shards), default=0)
    with row_counts_file(n_shards) as path, watched_rows(path, tell):
        yield path


def make_tasks(execution: Execution, plan: RunPlan) -> list[ShardTask]:
    """A task for each shard that is not finished yet."""
    resumed = {result.index for result in execution.results.resumed}
    memory_bytes = _address_space(execution.job, plan.shards.memory)
    tasks = []

    for shard in plan.shards.shards:
        if shard.index not in resumed:
            tasks.append(_make_task(execution, plan, shard, memory_bytes))

    return tasks


def _make_task(execution: Execution, plan: RunPlan, shard: Shard, memory_bytes: int) -> ShardTask:
    shards, source = plan.shards, plan.source
    n_earlier_attempts = execution.record.manifest.attempts - 1

    return ShardTask(
        job=source.job,
        run_id=execution.run_id,
        folder=execution.folder,
        model_folder=plan.model.cached.path,
        model_version=plan.model.version.version,
        facts=plan.facts,
        contract=plan.contract,
        shard=shard,
        batch_rows=shards.memory.batch_rows,
        max_quarantined=allowed_rows(execution.job.limits, source.n_rows),
        n_rows=shards.n_rows,
        memory_bytes=memory_bytes,
        cut_for=shards.cut_for,
        least_shard_rows=shards.least_shard_rows,
        prefetch_bytes=shards.memory.prefetch_bytes,
        in_threads=shards.memory.in_threads,
        fallback_reason=shards.fallback_reason,
        is_unchecked=shards.is_unchecked,
        from_quarantine=source.from_quarantine,
        first_attempt=MAX_ATTEMPTS * n_earlier_attempts,
    )


def compile_once(pool: Pool, tasks: Sequence[ShardTask], timeout_s: float) -> None:
    """Compile the tasks' model in one worker of this machine, before all of them would.

    Args:
        pool: Workers.
        tasks: All of one model. Empty: nothing is compiled.
        timeout_s: Seconds that compiling may take.
    """
    is_compiled = bool(tasks) and not tasks[0].fallback_reason
    if not is_compiled or not pool.is_local:
        return
    if not has_machine_code(tasks[0].model_folder.parent):
        pool.call(make_machine_code, tasks[0], timeout_s=timeout_s)


def _score(
    execution: Execution, plan: RunPlan, tasks: Sequence[ShardTask]
) -> Iterable[ShardResult]:
    def emit_lost(task: ShardTask) -> None:
        lost = ShardLost(execution.run_id, execution.shown_value, task.shard.index, task.attempt)
        execution.emit(lost)

    timeout_s = execution.job.limits.shard_s
    return execution.pool.score(tasks, plan.shards.memory.n_workers, timeout_s, emit_lost)


def _rescore_alone(execution: Execution, plan: RunPlan, tasks: Sequence[ShardTask]) -> None:
    """Score shards again without challengers."""
    alone = [replace(task, challengers=(), in_threads=False) for task in tasks]
    execution.results.scored += _score(execution, plan, alone)


def _rescore_by_library(execution: Execution, plan: RunPlan, tasks: Sequence[ShardTask]) -> None:
    """Score all compiled shards again by the library, if the two differed in any shard."""
    results = execution.results.in_order()
    if not any(result.predictor.has_differed for result in results):
        return

    doubted = [result for result in results if result.predictor.engine == "compiled"]

    # What cannot be removed now is left to `clean`.
    with contextlib.suppress(ScoringError, OSError):
        execution.workspace.parts.delete([result.part.file.path for result in doubted])

    execution.results.discard(doubted)

    doubted_shards = {result.index for result in doubted}
    profile_spec = tasks[0].profile_spec if tasks else NO_PROFILE
    library_tasks = []

    for task in make_tasks(execution, plan):
        if task.shard.index in doubted_shards:
            library_task = replace(
                task,
                profile_spec=profile_spec,
                in_threads=False,
                fallback_reason="the compiled predictor differed in another shard",
            )
            library_tasks.append(library_task)

    execution.results.scored += _score(execution, plan, library_tasks)


def _address_space(job: ScoringJob, memory: MemoryPlan) -> int:
    """Bytes of address space that one shard may take.

    A file that decodes to far more than it says is stopped there. It is more than the plan's
    memory, since libraries reserve addresses that they never use. A cluster's node without a limit
    takes a share of its own memory instead, which nobody knows here.
    """
    limit = job.limits.memory_bytes

    if job.workers.is_cluster:
        share = limit or 0
    else:
        share = (limit or available_bytes()) // memory.n_workers

    return max(share, 2 * memory.stream_bytes) + RESERVED_BYTES


def _planned(execution: Execution, plan: RunPlan) -> RunPlanned:
    return RunPlanned(
        execution.run_id,
        execution.shown_value,
        plan.shards.n_rows,
        plan.shards.n_bytes,
        len(plan.shards.shards),
        plan.shards.memory.n_workers,
        sum(result.rows_in for result in execution.results.resumed),
    )


def _scored(execution: Execution, result: ShardResult) -> ShardScored:
    return ShardScored(
        execution.run_id,
        execution.shown_value,
        result.index,
        result.rows_in,
        result.rows_quarantined,
        result.wall_s,
    )
