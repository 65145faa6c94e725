"""The backfill flow: plans a range of dates, then scores each partition in a child run."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Annotated, Any

from prefect import flow, tags
from prefect.artifacts import acreate_markdown_artifact, acreate_table_artifact
from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from prefect.states import Completed, Failed
from pydantic import Field

from nightscore.flows.children import end_children, run_child
from nightscore.flows.failures import tell_of_failure
from nightscore.flows.outcome import Outcome, as_backfill, fail_with_reason, outcomes_of
from nightscore.flows.parameters import (
    DEFAULT_TIMEOUT_MINUTES,
    JobName,
    Minutes,
    Mode,
    Order,
    allowed_parallel,
    job_name,
    read_job,
)
from nightscore.flows.partition import score_partition, score_partitions
from nightscore.flows.pools import shared_pools, shared_run_cache
from nightscore.flows.ui.artifacts import artifact_key
from nightscore.flows.ui.backfill_page import (
    backfill_markdown,
    plan_lines,
    plan_rows,
    plan_summary,
    resume_command,
)
from nightscore.flows.ui.log import forward_engine_log
from nightscore.flows.ui.progress import BackfillProgress, progress_artifact
from nightscore.inputs.partitions import parse_value
from nightscore.ledger.workspace import Workspace
from nightscore.models.cache import default_cache
from nightscore.monitoring.drift.recompare_runs import compare_later
from nightscore.operations.backfill import (
    BackfillItem,
    BackfillPlan,
    parse_modes,
    parse_order,
    plan_backfill,
    values_between,
)
from nightscore.schemas.partition import DEFAULT_MAX_PARTITIONS
from nightscore.schemas.text import printable

MAX_NAMED = 5
"""Failed partitions that the state's message names; the artifact has all."""


@dataclass(frozen=True, slots=True)
class _Request:
    """What all child runs of one backfill share."""

    job: str
    """Name, path or URL of the job, as it was given."""
    name: str
    """The job's name."""
    timeout_minutes: int


def _run_name() -> str:
    parameters = flow_run.parameters
    return f"{job_name(parameters['job'])} · backfill {parameters['start']} to {parameters['end']}"


@flow(
    name="backfill",
    flow_run_name=_run_name,
    persist_result=False,
    on_completion=[end_children],
    on_failure=[end_children, tell_of_failure],
    on_cancellation=[end_children],
    on_crashed=[end_children],
)
@fail_with_reason
async def backfill(
    job: JobName,
    start: date,
    end: date,
    mode: list[Mode] = [Mode.MISSING, Mode.FAILED],  # noqa: B006 (the form shows it)
    order: Order = Order.NEWEST,
    model: str = "current",
    dry_run: bool = False,
    max_parallel: Annotated[int, Field(ge=1, le=16)] = 2,
    max_partitions: Annotated[int, Field(ge=1)] = DEFAULT_MAX_PARTITIONS,
    partitions_per_run: Annotated[int, Field(ge=1, le=100)] = 1,
    timeout_minutes: Minutes = DEFAULT_TIMEOUT_MINUTES,
) -> State[Any]:
    """Score the partitions of a range of dates. It plans first, and runs exactly that plan.

    Args:
        job: One of the jobs. From Python also the path or URL of a job file.
        start: First date.
        end: Last date, included.
        mode: What to score: partitions that are missing, failed, stale (their input or model has
            changed), or all.
        order: Newest or oldest first.
        model: current, a version number, or as-of (the version that the job used on each date).
        dry_run: Only plan.
        max_parallel: Partitions scored at once. The worker may allow fewer
            (`NIGHTSCORE_MAX_PARALLEL`). Above 4 the Prefect server needs Postgres.
        max_partitions: Refuse a larger range. Raise it to confirm one.
        partitions_per_run: Dates in one child run. More than one is faster for tiny partitions.
        timeout_minutes: Stop the run of a partition after this time. The next run resumes from the
            finished shards.
    """
    forward_engine_log()
    max_parallel = allowed_parallel(max_parallel)
    spec = read_job(job)
    values = values_between(spec, start, end, max_partitions)
    modes = parse_modes(m.value for m in mode)
    plan = await asyncio.to_thread(
        plan_backfill, spec, default_cache(), values, modes, parse_order(order.value), model
    )

    summary = plan_summary(plan, max_parallel)
    await _show_plan(spec.name, plan, summary, max_parallel)

    if dry_run or not plan.to_score:
        return Completed(message=f"{'planned only' if dry_run else 'nothing to do'}: {summary}")

    outcomes: dict[str, Outcome] = {}
    request = _Request(job, spec.name, timeout_minutes)
    batches = list(_batches(plan, partitions_per_run))

    try:
        with shared_pools(max_parallel, spec.workers), as_backfill():
            await _score_batches(request, plan, batches, max_parallel, outcomes)

            # Once for all: a partition may be a neighbour of any that were scored before it.
            scored = [parse_value(value) for value in outcomes]
            workspace = Workspace(spec, shared_run_cache())
            now = datetime.now(UTC)
            await asyncio.to_thread(compare_later, workspace, scored, default_cache(), now)
    finally:
        # A backfill that is cancelled or fails also says what is left.
        failed = sorted(value for value, outcome in outcomes.items() if not outcome.is_done)
        not_run = [item.value for item in plan.to_score if item.value not in outcomes]
        verdict = (
            f"{len(outcomes) - len(failed)} done, {len(failed)} failed, {len(not_run)} not run"
        )
        mode_names = [m.value for m in mode]
        resume = resume_command(job, start, end, mode_names, model, [*failed, *not_run])
        await acreate_markdown_artifact(
            key=artifact_key(spec.name, "backfill"),
            markdown=backfill_markdown(spec, plan, outcomes, resume),
            description=verdict,
        )

    if failed:
        command, _ = resume
        failures = [replace(outcomes[value], command=command) for value in failed]
        return Failed(message=_failure_message(spec.name, verdict, failed), data=failures)

    return Completed(message=verdict)


async def _show_plan(name: str, plan: BackfillPlan, summary: str, max_parallel: int) -> None:
    lines = [*plan_lines(plan), *map(printable, plan.notes)]
    get_run_logger().info("%s\n%s", summary, "\n".join(lines))
    await acreate_table_artifact(
        key=artifact_key(name, "backfill-plan"),
        table=plan_rows(plan, max_parallel),
        description=summary,
    )


async def _score_batches(
    request: _Request,
    plan: BackfillPlan,
    batches: Sequence[Sequence[BackfillItem]],
    max_parallel: int,
    outcomes: dict[str, Outcome],
) -> None:
    """Score all batches, some of them at once. `outcomes` is filled as they end."""
    progress = BackfillProgress(len(plan.to_score), plan.n_rows)
    slots = asyncio.Semaphore(max_parallel)

    async def score(items: Sequence[BackfillItem]) -> None:
        async with slots:
            batch_outcomes = await _score_or_fail(request, items)

        outcomes.update({outcome.partition: outcome for outcome in batch_outcomes})
        n_rows = sum(outcome.n_rows for outcome in batch_outcomes)
        n_failed = sum(not outcome.is_done for outcome in batch_outcomes)
        progress.add(len(batch_outcomes), n_rows, n_failed)

    async with progress_artifact(progress, artifact_key(request.name, "backfill-progress")):
        await asyncio.gather(*map(score, batches))


async def _score_or_fail(request: _Request, items: Sequence[BackfillItem]) -> list[Outcome]:
    """The outcomes of a batch. If the server refuses its run, the other dates still run."""
    try:
        return await _score_items(request, items)
    except Exception as error:  # noqa: BLE001 (whatever the server answers, it costs this batch only)
        message = f"{type(error).__name__}: {error}"
        get_run_logger().error("%s: %s", ", ".join(item.value for item in items), message)
        return [Outcome(item.value, False, message) for item in items]


async def _score_items(request: _Request, items: Sequence[BackfillItem]) -> list[Outcome]:
    values = [item.value for item in items]
    options: Mapping[str, Any] = {
        "model": items[0].model,
        "force": items[0].is_forced,
        "timeout_minutes": request.timeout_minutes,
    }

    if len(values) == 1:
        with tags(request.name, "backfill", values[0]):
            state = await run_child(
                score_partition, values[0], request.job, values[0], **options, report=False
            )
    else:
        with tags(request.name, "backfill"):
            state = await run_child(score_partitions, values[0], request.job, values, **options)

    return await outcomes_of(state, values)


def _batches(plan: BackfillPlan, size: int) -> Iterator[Sequence[BackfillItem]]:
    """Items in the plan's order. Those of one batch have the same model, and are forced or not."""
    groups: dict[tuple[str, bool], list[BackfillItem]] = {}
    for item in plan.to_score:
        groups.setdefault((item.model, item.is_forced), []).append(item)

    for items in groups.values():
        yield from (items[i : i + size] for i in range(0, len(items), size))


def _failure_message(name: str, verdict: str, failed: Sequence[str]) -> str:
    named = ", ".join(failed[:MAX_NAMED])
    if len(failed) > MAX_NAMED:
        named += f" and {len(failed) - MAX_NAMED} more"

    artifact = artifact_key(name, "backfill")
    return f"{verdict}; failed: {named}; causes and what to run again: artifact {artifact}"
