"""Scores the first rows of a partition apart from any run: does the model take such columns at all?

A model without a signature states no types. Whether it takes a text, or a column without any value,
only shows when it predicts.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass

from nightscore.engine.planning.plan import PlannedWorkers, plan_partition
from nightscore.engine.pool import Pool
from nightscore.engine.scratch import ScratchRun, first_rows, scratch_job
from nightscore.engine.shard import ShardResult
from nightscore.engine.value_policy import forbidden
from nightscore.engine.worker.shard_scoring import score_shard
from nightscore.errors import QuarantineLimitError
from nightscore.models.pinned import PinnedModel, model_seconds
from nightscore.runs.accounting import allowed_rows
from nightscore.schemas.contract import Contract
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.model import ModelFacts
from nightscore.schemas.partition import Partition
from nightscore.schemas.text import counted

N_ROWS = 64
SCRATCH_RUN = "check"


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstRows:
    """What became of the first rows."""

    n_rows: int
    refused: Sequence[str]
    """Why rows cannot be scored, and how many; empty: all can."""


def states_all_types(contract: Contract) -> bool:
    """Whether the types of the columns tell already that the model takes them."""
    stored_types = dict(contract.types)
    for column in contract.features:
        if column.wanted == "any" or stored_types.get(column.name) == "null":
            return False
    return True


def score_first_rows(
    job: ScoringJob, model: PinnedModel, facts: ModelFacts, partition: Partition, pool: Pool
) -> FirstRows:
    """Score the first rows of a partition as a run would. Nothing of it is kept.

    Args:
        job: The job.
        model: Its model.
        facts: What the model is.
        partition: Has files that fit the model by their columns.
        pool: Workers of this machine.

    Raises:
        QuarantineLimitError: A run would fail because of these rows.
    """
    # The library answers as the compiled form does, and there is nothing to compile.
    job = job.model_copy(update={"engine": "library"})

    with tempfile.TemporaryDirectory(prefix="nightscore-check-") as folder:
        scratch = scratch_job(job, folder)
        workers = PlannedWorkers(pool.capacity, pool)
        plan, contract = plan_partition(scratch, model, facts, partition, workers)
        if not plan.n_rows:
            return FirstRows(n_rows=0, refused=())

        run = ScratchRun(scratch, SCRATCH_RUN, model, facts)
        (task,) = run.tasks(plan, contract, [first_rows(plan, N_ROWS)])
        result = pool.call(score_shard, task, timeout_s=model_seconds(job) + job.limits.shard_s)

    refused = _reasons(result)
    if _stops_a_run(job, result, plan.n_rows):
        raise _would_fail(job, partition, result, refused, plan.n_rows)
    return FirstRows(n_rows=result.rows_in, refused=refused)


def _stops_a_run(job: ScoringJob, result: ShardResult, n_rows: int) -> bool:
    if forbidden(job.policy, result.by_reason):
        return True
    return result.rows_quarantined > allowed_rows(job.limits, n_rows)


def _reasons(result: ShardResult) -> list[str]:
    """The commonest first. A reason without a column has what the model has said."""
    reasons = sorted(result.by_column.items(), key=lambda item: -item[1])
    lines = [f"{reason} in {counted(n_rows, 'row')}" for reason, n_rows in reasons]

    for reason, n_rows in result.by_reason.items():
        messages = [example.message for example in result.examples if example.reason == reason]
        is_told = any(example.column for example in result.examples if example.reason == reason)
        if messages and not is_told:
            lines.append(f"{reason} in {counted(n_rows, 'row')}: {messages[0]}")

    return lines


def _would_fail(
    job: ScoringJob,
    partition: Partition,
    result: ShardResult,
    refused: Sequence[str],
    n_rows: int,
) -> QuarantineLimitError:
    n_refused, n_tried = result.rows_quarantined, result.rows_in
    what = f"{n_refused:,} of the first {n_tried:,} rows cannot be scored; a run would fail."
    if n_refused == n_tried:
        what = "Every row of the sample was refused; a run would fail."

    allowed = allowed_rows(job.limits, n_rows)
    return QuarantineLimitError(
        what,
        f"{job.input.uri}/{partition.folder}",
        expected=f"at most {counted(allowed, 'row')} of {n_rows:,} in quarantine (limits)",
        found=f"{n_refused:,} of the first {n_tried:,} rows",
        problems=refused,
        next_step="correct the columns, or log the model with a signature, so that their types are "
        "compared before anything is read",
    )
