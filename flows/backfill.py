"""The backfill flow: plan a range of dates, then one visible child run a partition."""

import asyncio
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from typing import Annotated, Any

from prefect import flow, tags
from prefect.artifacts import acreate_markdown_artifact, acreate_table_artifact
from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from prefect.states import Completed, Failed
from pydantic import Field

from nightscore.drift.recompare import compare_later
from nightscore.flows.hooks import end_children
from nightscore.flows.outcome import Outcome, as_backfill, outcomes_of, tells_reason
from nightscore.flows.parameters import (
    DEFAULT_TIMEOUT_MINUTES,
    JobName,
    Minutes,
    Mode,
    Order,
    job_name,
    read_job,
)
from nightscore.flows.partition import score_partition, score_partitions
from nightscore.flows.pools import shared_pools, shared_run_cache
from nightscore.flows.ui.artifacts import (
    artifact_key,
    outcome_markdown,
    plan_lines,
    plan_rows,
    plan_summary,
    run_again,
)
from nightscore.flows.ui.log import forward_engine_log
from nightscore.flows.ui.progress import BackfillProgress, shown
from nightscore.inputs.partitions import parse_value
from nightscore.ledger.workspace import Workspace
from nightscore.models.cache import default_cache
from nightscore.operations.backfill import (
    DEFAULT_MAX_PARTITIONS,
    BackfillItem,
    BackfillPlan,
    parse_modes,
    parse_order,
    plan_backfill,
    values_between,
)


def _run_name() -> str:
    parameters = flow_run.parameters
    return f"{job_name(parameters['job'])} · backfill {parameters['start']} to {parameters['end']}"


@flow(
    name="backfill",
    flow_run_name=_run_name,
    persist_result=False,
    on_cancellation=[end_children],
    on_crashed=[end_children],
)
@tells_reason
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
    """Score the partitions of a range of dates. What it plans first is what it runs.

    Args:
        job: One of the jobs; from Python also the path or URL of a job file.
        start: First date.
        end: Last date, included.
        mode: What to score: partitions that are missing, failed, stale (their input or model changed), or all.
        order: Newest or oldest first.
        model: current, a version number, or as-of: the version that the job's runs used on each date.
        dry_run: Only plan.
        max_parallel: Partitions under way at once; above 4 the Prefect server wants Postgres.
        max_partitions: A larger range is refused: raise it to confirm.
        partitions_per_run: Dates in one child run; more than one is faster where partitions are tiny.
        timeout_minutes: A partition's run is stopped after that; what it has scored stays for the next run.
    """
    forward_engine_log()
    spec = read_job(job)
    values = values_between(spec, start, end, max_partitions)
    modes = parse_modes(m.value for m in mode)
    plan = await asyncio.to_thread(
        plan_backfill, spec, default_cache(), values, modes, parse_order(order.value), model
    )
    summary = plan_summary(plan, max_parallel)
    get_run_logger().info("%s\n%s", summary, "\n".join(plan_lines(plan)))
    await acreate_table_artifact(
        key=artifact_key(spec.name, "backfill-plan"),
        table=plan_rows(plan, max_parallel),
        description=summary,
    )
    if dry_run or not plan.to_score:
        return Completed(message=f"{'planned only' if dry_run else 'nothing to do'}: {summary}")
    outcomes: dict[str, Outcome] = {}
    progress = BackfillProgress(len(plan.to_score), plan.n_rows)
    slots = asyncio.Semaphore(max_parallel)

    async def score(items: Sequence[BackfillItem]) -> None:
        async with slots:
            try:
                found = await _score_items(job, spec.name, items, timeout_minutes)
            except Exception as error:  # noqa: BLE001 (the server refused a child run: the other dates go on)
                message = f"{type(error).__name__}: {error}"
                get_run_logger().error("%s: %s", ", ".join(item.value for item in items), message)
                found = [Outcome(item.value, False, message) for item in items]
        outcomes.update({outcome.partition: outcome for outcome in found})
        n_failed = sum(not outcome.is_done for outcome in found)
        progress.add(len(found), sum(outcome.n_rows for outcome in found), n_failed)

    try:
        with shared_pools(max_parallel, spec.workers), as_backfill():
            async with shown(progress, artifact_key(spec.name, "backfill-progress")):
                await asyncio.gather(*map(score, _batches(plan, partitions_per_run)))
            workspace = Workspace(spec, shared_run_cache())
            scored = [parse_value(value) for value in outcomes]
            await asyncio.to_thread(
                compare_later, workspace, scored, default_cache(), datetime.now(UTC)
            )
    finally:
        failed = sorted(value for value, outcome in outcomes.items() if not outcome.is_done)
        left = len(plan.to_score) - len(outcomes)
        verdict = f"{len(outcomes) - len(failed)} done, {len(failed)} failed, {left} not run"
        unfinished = [
            *failed,
            *(item.value for item in plan.to_score if item.value not in outcomes),
        ]
        again = run_again(job, start, end, [m.value for m in mode], model, unfinished)
        await acreate_markdown_artifact(
            key=artifact_key(spec.name, "backfill"),
            markdown=outcome_markdown(spec, plan, outcomes, again),
            description=verdict,
        )
    if failed:
        named = ", ".join(failed[:5]) + (f" and {len(failed) - 5} more" if len(failed) > 5 else "")
        verdict += f"; failed: {named}; causes and what to run again: artifact {artifact_key(spec.name, 'backfill')}"
    return (Failed if failed else Completed)(message=verdict)


def _batches(plan: BackfillPlan, size: int) -> Iterator[Sequence[BackfillItem]]:
    """Items in the plan's order; those of one batch are scored alike."""
    kinds: dict[tuple[str, bool], list[BackfillItem]] = {}
    for item in plan.to_score:
        kinds.setdefault((item.model, item.is_forced), []).append(item)
    for items in kinds.values():
        yield from (items[i : i + size] for i in range(0, len(items), size))


async def _score_items(
    job: str, name: str, items: Sequence[BackfillItem], timeout_minutes: int
) -> list[Outcome]:
    first, values = items[0], [item.value for item in items]
    options: dict[str, Any] = {
        "model": first.model,
        "force": first.is_forced,
        "timeout_minutes": timeout_minutes,
    }
    with tags(name, "backfill", *(values if len(values) == 1 else ())):
        if len(values) == 1:
            state = await score_partition(
                job, first.value, **options, report=False, return_state=True
            )
        else:
            state = await score_partitions(job, values, **options, return_state=True)
    return await outcomes_of(state, values)
