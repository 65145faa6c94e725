"""The backfill flow: plan a range of dates, then one visible child run a partition."""

import asyncio
from datetime import date
from enum import StrEnum
from typing import Any

from prefect import flow
from prefect.artifacts import acreate_markdown_artifact, acreate_table_artifact
from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from prefect.states import Completed, Failed
from pydantic import BaseModel, Field, model_validator

from flows.artifacts import artifact_key, outcome_markdown, plan_rows, plan_summary
from flows.partition import job_name, score_partition, shared_pools
from scoring.backfill import (
    DEFAULT_MAX_PARTITIONS,
    BackfillItem,
    parse_modes,
    parse_order,
    plan_backfill,
    values_between,
)
from scoring.inputs.jobfile import load_job
from scoring.models.cache import default_cache


class Mode(StrEnum):
    """What to score."""

    MISSING = "missing"
    FAILED = "failed"
    STALE = "stale"
    ALL = "all"


class Order(StrEnum):
    """Which end to begin with."""

    NEWEST = "newest"
    OLDEST = "oldest"


class DateRange(BaseModel):
    """Both dates are included."""

    start: date
    end: date

    @model_validator(mode="after")
    def _is_in_order(self) -> "DateRange":
        if self.end < self.start:
            raise ValueError(f"the range ends before it starts: {self.start} to {self.end}")
        return self


def _run_name() -> str:
    dates = flow_run.parameters["dates"]
    start, end = (dates["start"], dates["end"]) if isinstance(dates, dict) else (dates.start, dates.end)
    return f"{job_name(flow_run.parameters['job'])} · {start} to {end}"


@flow(name="backfill", flow_run_name=_run_name, persist_result=False)
async def backfill(
    job: str,
    dates: DateRange,
    mode: list[Mode] = [Mode.MISSING, Mode.FAILED],  # noqa: B006 (the form shows it)
    max_parallel: int = Field(default=2, ge=1, le=16),
    order: Order = Order.NEWEST,
    model: str = "current",
    dry_run: bool = False,
    max_partitions: int = DEFAULT_MAX_PARTITIONS,
) -> State[Any]:
    """Score the partitions of a range of dates. What it plans first is what it runs.

    Args:
        job: Path or URL of a job file.
        dates: First and last date.
        mode: What to score: partitions that are missing, failed, stale (their input or model changed), or all.
        max_parallel: Partitions under way at once; above 4 the Prefect server wants Postgres.
        order: Newest or oldest first.
        model: current, a version number, or as-of: the version that the job's runs used on each date.
        dry_run: Only plan.
        max_partitions: A larger range is refused.
    """
    spec = load_job(job)
    values = values_between(spec, dates.start, dates.end, max_partitions)
    modes = parse_modes(m.value for m in mode)
    plan = await asyncio.to_thread(
        plan_backfill, spec, default_cache(), values, modes, parse_order(order.value), model
    )
    summary = plan_summary(plan, max_parallel)
    log = get_run_logger()
    log.info("%s", summary)
    log.info("%s", "\n".join(f"{item.value}  {item.action:<8}  {item.reason}" for item in plan.items))
    await acreate_table_artifact(
        key=artifact_key(spec.name, "backfill-plan"), table=plan_rows(plan), description=summary
    )
    if dry_run or not plan.to_score:
        return Completed(message=f"{'planned only' if dry_run else 'nothing to do'}: {summary}")
    outcomes: dict[str, str] = {}
    slots = asyncio.Semaphore(max_parallel)

    async def score(item: BackfillItem) -> None:
        async with slots:
            state = await score_partition(job, item.value, item.model, item.is_forced, return_state=True)
        text = state.message or str(state.name)
        outcomes[item.value] = f"done: {text}" if state.is_completed() else text

    try:
        with shared_pools(max_parallel):
            await asyncio.gather(*map(score, plan.to_score))
    finally:
        again = f"nightscore backfill {job} --from {dates.start} --to {dates.end}"
        matrix = outcome_markdown(spec.name, plan, outcomes, again)
        failed = sum(not text.startswith("done") for text in outcomes.values())
        left = len(plan.to_score) - len(outcomes)
        verdict = f"{len(outcomes) - failed} done, {failed} failed, {left} not run"
        await acreate_markdown_artifact(key=artifact_key(spec.name, "backfill"), markdown=matrix, description=verdict)
    return (Failed if failed else Completed)(message=verdict)
