"""The nightly flow: scores the partition of the scheduled date, and late data before it."""

import asyncio
import contextlib
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from prefect import flow, tags
from prefect.artifacts import acreate_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from prefect.states import Completed, Failed
from pydantic import Field

from nightscore.flows.children import end_children, run_child
from nightscore.flows.failures import tell_of_failure
from nightscore.flows.outcome import Outcome, fail_with_reason, outcomes_of
from nightscore.flows.parameters import (
    DEFAULT_TIMEOUT_MINUTES,
    JobName,
    Minutes,
    job_name,
    read_job,
)
from nightscore.flows.partition import score_partition
from nightscore.flows.pools import shared_pools
from nightscore.flows.ui.artifacts import artifact_key
from nightscore.flows.ui.log import forward_engine_log
from nightscore.flows.ui.nightly_page import nightly_markdown, nightly_message, nightly_verdict
from nightscore.models.cache import default_cache
from nightscore.operations.backfill import values_to_score
from nightscore.schemas.job import ScoringJob


def logical_date(scheduled: datetime, timezone: str, lag_days: int) -> date:
    """The date that a scheduled time stands for: its local date in the time zone, minus the lag.

    A late start does not change it: last night's run scores last night's partition even at noon.
    """
    return scheduled.astimezone(ZoneInfo(timezone)).date() - timedelta(days=lag_days)


def _run_name() -> str:
    parameters = flow_run.parameters
    day = parameters.get("date")

    # An unknown time zone is an error of the run itself, not of its name.
    with contextlib.suppress(KeyError, ValueError):
        timezone, lag_days = parameters.get("timezone", "UTC"), parameters.get("lag_days", 1)
        day = day or logical_date(flow_run.scheduled_start_time, timezone, lag_days)

    return f"{job_name(parameters['job'])} · nightly {day or ''}"


@flow(
    name="nightly",
    flow_run_name=_run_name,
    persist_result=False,
    on_completion=[end_children],
    on_failure=[end_children, tell_of_failure],
    on_cancellation=[end_children],
    on_crashed=[end_children],
)
@fail_with_reason
async def nightly(
    job: JobName,
    date: date | None = None,
    timezone: str = "UTC",
    lag_days: Annotated[int, Field(ge=0)] = 1,
    look_back_days: Annotated[int, Field(ge=0, le=60)] = 0,
    force: bool = False,
    timeout_minutes: Minutes = DEFAULT_TIMEOUT_MINUTES,
) -> State[Any]:
    """Score the partition of a date, and earlier ones that are missing, failed or changed.

    Args:
        job: One of the jobs. From Python also the path or URL of a job file.
        date: The date to score. Empty: the date of the scheduled time, minus the lag.
        timezone: Time zone of the schedule, such as America/New_York.
        lag_days: Days between the scheduled date and the partition. 1: tonight's run scores
            yesterday.
        look_back_days: Also score partitions of this many earlier days, if they are missing, failed
            or changed.
        force: Score the date's partition again even if it is already published.
        timeout_minutes: Stop the run of a partition after this time. The next run resumes from the
            finished shards.
    """
    forward_engine_log()
    day = date or logical_date(flow_run.scheduled_start_time, timezone, lag_days)
    spec = read_job(job)
    value = day.strftime(spec.input.partition_format)

    with shared_pools(1, spec.workers):
        outcomes = [await _score(job, spec, value, force, timeout_minutes)]
        late = await asyncio.to_thread(_late_values, spec, day, look_back_days)

        if late:
            get_run_logger().info("late data: %s", ", ".join(late))

        outcomes += [await _score(job, spec, other, False, timeout_minutes) for other in late]

    artifact = artifact_key(spec.name, "nightly")
    await acreate_markdown_artifact(
        key=artifact,
        markdown=nightly_markdown(spec.name, outcomes),
        description=nightly_verdict(outcomes),
    )

    is_done = all(outcome.is_done for outcome in outcomes)
    final_state = Completed if is_done else Failed
    return final_state(message=nightly_message(outcomes, artifact), data=outcomes)


async def _score(
    job: str, spec: ScoringJob, value: str, force: bool, timeout_minutes: int
) -> Outcome:
    """Score a partition in a child run. Why it failed is also in the log of this one."""
    with tags(spec.name, value):
        state = await run_child(
            score_partition, value, job, value, force=force, timeout_minutes=timeout_minutes
        )

    (outcome,) = await outcomes_of(state, [value])
    if not outcome.is_done and not outcome.command:  # the child run ended with an error
        options = ["--force"] if force else []
        outcome = replace(outcome, command=spec.command("run", value, *options))

    if outcome.is_failed:
        get_run_logger().error("%s: %s", value, outcome.message)

    return outcome


def _late_values(spec: ScoringJob, day: date, look_back_days: int) -> list[str]:
    """Earlier partitions that are missing, failed or stale, oldest first."""
    if not look_back_days:
        return []

    days = [day - timedelta(days=i) for i in range(look_back_days, 0, -1)]
    values = list(dict.fromkeys(day.strftime(spec.input.partition_format) for day in days))
    return values_to_score(spec, default_cache(), values, ("missing", "failed", "stale"))
