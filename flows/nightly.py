"""The nightly flow: the partition of the scheduled date, and late data of the days before."""

import asyncio
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from prefect.states import Completed, Failed
from pydantic import Field

from flows.partition import job_name, score_partition, shared_pools
from schemas.job import ScoringJob
from scoring.backfill import plan_backfill
from scoring.inputs.jobfile import load_job
from scoring.models.cache import default_cache


def logical_date(scheduled: datetime, timezone: str, lag_days: int) -> date:
    """The date that a scheduled time stands for: its date on the wall in the time zone, minus the lag.

    Never the clock of a late start: a run of last night that starts at noon still scores last night's partition.
    """
    return scheduled.astimezone(ZoneInfo(timezone)).date() - timedelta(days=lag_days)


def _run_name() -> str:
    return f"{job_name(flow_run.parameters['job'])} · nightly"


@flow(name="nightly", flow_run_name=_run_name, persist_result=False)
async def nightly(
    job: str,
    date: date | None = None,
    timezone: str = "UTC",
    lag_days: int = Field(default=1, ge=0),
    look_back_days: int = Field(default=0, ge=0, le=60),
    force: bool = False,
) -> State[Any]:
    """Score the partition of a date, and those of the days before it whose input has changed since.

    Args:
        job: Path or URL of a job file.
        date: The date to score; empty: the date of the scheduled time minus the lag.
        timezone: Of the schedule, such as America/New_York.
        lag_days: How many days before the scheduled date the partition is; 1: last night's run scores yesterday.
        look_back_days: Days before the date whose partitions are scored if they are missing, failed or changed.
        force: Score the date's partition again though the same is published.
    """
    day = date or logical_date(flow_run.scheduled_start_time, timezone, lag_days)
    spec = load_job(job)
    value = day.strftime(spec.input.partition_format)
    with shared_pools(1):
        late = await asyncio.to_thread(_late_values, spec, day, look_back_days)
        if late:
            get_run_logger().info("late data: %s", ", ".join(late))
        states = [await score_partition(job, value, force=force, return_state=True)]
        for other in late:
            states.append(await score_partition(job, other, return_state=True))
    failed = [state for state in states if not state.is_completed()]
    first = states[0].message or states[0].name
    message = first if len(states) == 1 else f"{first}; late data: {len(late)} more partitions, {len(failed)} failed"
    return (Failed if failed else Completed)(message=message)


def _late_values(spec: ScoringJob, day: date, look_back_days: int) -> list[str]:
    if not look_back_days:
        return []
    days = [day - timedelta(days=i) for i in range(1, look_back_days + 1)]
    values = list(dict.fromkeys(d.strftime(spec.input.partition_format) for d in days))
    plan = plan_backfill(spec, default_cache(), values, ("missing", "failed", "stale"), "oldest")
    return [item.value for item in plan.to_score]
