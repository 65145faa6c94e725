"""The flows of one partition and of a few: what nightly and backfill are made of."""

import asyncio
import functools
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from prefect import flow, task
from prefect.artifacts import acreate_markdown_artifact, acreate_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import TagsContext
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from prefect.states import Completed, Failed
from prefect.tasks import Task

from nightscore.drift.statistics_table import read_statistics
from nightscore.errors import InvalidJobError, ScoringError
from nightscore.flows.outcome import Outcome, is_backfill, tells_reason
from nightscore.flows.parameters import (
    DEFAULT_TIMEOUT_MINUTES,
    JobName,
    Minutes,
    job_name,
    link_to_report,
    read_job,
)
from nightscore.flows.pools import (
    RunStuckError,
    borrowed_pool,
    local_pool,
    run_within,
    shared_run_cache,
)
from nightscore.flows.tracking import TrackedRun, track
from nightscore.flows.ui.artifacts import (
    artifact_key,
    headline,
    outcome_rows,
    run_markdown,
    state_message,
)
from nightscore.flows.ui.drift import drift_rows
from nightscore.flows.ui.events import tell
from nightscore.flows.ui.log import forward_engine_log
from nightscore.flows.ui.progress import RunProgress, shown
from nightscore.inputs.partitions import parse_value
from nightscore.inputs.values import check_value
from nightscore.models.cache import default_cache
from nightscore.operations.report import NOTHING_DRAWN, Drawn, draw_report
from nightscore.run import run
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import Manifest

RETRY_DELAYS_S = [5.0, 30.0]
"""For errors that may pass by themselves: a store that does not answer, an input that is being written."""


class RetryableRunError(RuntimeError):
    """A run failed with an error that may pass."""

    def __init__(self, manifest: Manifest) -> None:
        super().__init__(state_message(manifest))
        self.manifest = manifest


@dataclass(frozen=True, slots=True)
class Settled:
    """An outcome with what its page shows."""

    outcome: Outcome
    page: str
    headline: str
    columns: tuple[dict[str, object], ...] = ()
    """What the table of all columns shows."""


def _run_name() -> str:
    parameters = flow_run.parameters
    return f"{job_name(parameters['job'])} · {parameters['partition']}"


@flow(name="score-partition", flow_run_name=_run_name, persist_result=False)
@tells_reason
async def score_partition(
    job: JobName,
    partition: str,
    model: str | None = None,
    force: bool = False,
    timeout_minutes: Minutes = DEFAULT_TIMEOUT_MINUTES,
    report: bool = True,
) -> State[Any]:
    """Score one partition and publish it.

    Args:
        job: One of the jobs; from Python also the path or URL of a job file.
        partition: Partition value, such as 2013-07-04.
        model: Exact model URI in place of the job's own, such as models:/flight_delay/3.
        force: Score again what is published already.
        timeout_minutes: The run is stopped after that; what it has scored stays for the next run.
        report: Draw the report at once; else when it is first opened.
    """
    forward_engine_log()
    spec = read_job(job)
    settled = await _settle(spec, job, partition, model, force, timeout_minutes, report=report)
    await acreate_markdown_artifact(
        key=artifact_key(spec.name, "run"), markdown=settled.page, description=settled.headline
    )
    if settled.columns:
        await acreate_table_artifact(
            key=artifact_key(spec.name, "drift"),
            table=list(settled.columns),
            description=settled.headline,
        )
    ended = Completed if settled.outcome.is_done else Failed
    return ended(message=settled.outcome.message, data=[settled.outcome])


def _batch_name() -> str:
    parameters = flow_run.parameters
    first, last = min(parameters["partitions"]), max(parameters["partitions"])
    return f"{job_name(parameters['job'])} · {first} … {last} ({len(parameters['partitions'])})"


@flow(name="score-partitions", flow_run_name=_batch_name, persist_result=False)
@tells_reason
async def score_partitions(
    job: JobName,
    partitions: list[str],
    model: str | None = None,
    force: bool = False,
    timeout_minutes: Minutes = DEFAULT_TIMEOUT_MINUTES,
) -> State[Any]:
    """Score a few small partitions one after another in one run; one's failure does not stop the others.

    Args:
        job: One of the jobs; from Python also the path or URL of a job file.
        partitions: Partition values.
        model: Exact model URI in place of the job's own.
        force: Score again what is published already.
        timeout_minutes: Of each partition.
    """
    forward_engine_log()
    spec = read_job(job)
    outcomes = []
    for partition in partitions:
        try:
            settled = await _settle(
                spec, job, partition, model, force, timeout_minutes, report=False
            )
        except InvalidJobError as error:
            settled = Settled(
                Outcome(partition, False, str(error)),
                f"## refused\n\n```\n{error}\n```\n",
                "refused",
            )
        outcomes.append(settled.outcome)
        if not settled.outcome.is_done:
            await acreate_markdown_artifact(
                key=artifact_key(spec.name, "run"),
                markdown=settled.page,
                description=settled.headline,
            )
    failed = [outcome.partition for outcome in outcomes if not outcome.is_done]
    message = f"{len(outcomes) - len(failed)} done, {len(failed)} failed{': ' if failed else ''}{', '.join(failed)}"
    await acreate_table_artifact(
        key=artifact_key(spec.name, "runs"), table=outcome_rows(outcomes), description=message
    )
    return (Failed if failed else Completed)(
        message=f"{message}{': ' if failed else ''}{', '.join(failed)}", data=outcomes
    )


async def _settle(
    spec: ScoringJob,
    job: str,
    partition: str,
    model: str | None,
    force: bool,
    timeout_minutes: int,
    *,
    report: bool,
) -> Settled:
    if model:
        spec = spec.model_copy(update={"model": model})
    progress = RunProgress(partition)
    value = parse_value(partition)
    await asyncio.to_thread(check_value, spec, value)
    request = _Request(spec, value, force, 60.0 * timeout_minutes, progress)
    started_at = datetime.now(UTC)
    try:
        # A task with tags asks the server for places under concurrency limits: one more write, and SQLite stalls.
        with TagsContext(current_tags=set()):
            async with shown(progress, artifact_key(spec.name, "progress")):
                manifest = await _score.with_options(task_run_name=f"score {partition}")(request)
    except RetryableRunError as error:
        manifest = error.manifest
    except RunStuckError as error:
        return Settled(
            Outcome(partition, False, f"{partition}: {error}"), f"## stuck\n\n{error}\n", "stuck"
        )
    tracked = await _track(manifest, spec.registry)
    is_told_before = manifest.finished_at is not None and manifest.finished_at < started_at
    if not is_told_before:  # a run that still waits for a decision has said so
        tell(manifest, link_to_report(job, manifest))
    drawn = await _draw(spec, manifest) if report else NOTHING_DRAWN
    message = state_message(manifest)
    is_done = manifest.status in ("published", "unchanged")
    return Settled(
        Outcome(partition, is_done, message, manifest.counts.rows_scored if is_done else 0),
        run_markdown(manifest, tracked, link_to_report(job, manifest), drawn),
        headline(manifest, message),
        tuple(drift_rows(await asyncio.to_thread(read_statistics, spec, manifest))),
    )


async def _draw(spec: ScoringJob, manifest: Manifest) -> Drawn:
    """The report's page, kept beside the run's record, and the plots for the artifact, drawn in a worker.

    The predictions are published by then: a report that cannot be drawn costs a line in the log.
    """
    if manifest.drift is None or manifest.status not in ("published", "held"):
        return NOTHING_DRAWN
    try:
        async with local_pool(spec.workers) as pool:
            return await asyncio.to_thread(pool.call, draw_report, spec, manifest, default_cache())
    except Exception as error:  # noqa: BLE001 (whatever it is, the predictions are there)
        what = error.what if isinstance(error, ScoringError) else f"{type(error).__name__}: {error}"
        get_run_logger().warning("the report could not be drawn: %s", what)
        return NOTHING_DRAWN


class _Request:
    """A plain class: Prefect walks through the fields of records and hashes them."""

    def __init__(
        self,
        spec: ScoringJob,
        value: str | None,
        force: bool,
        timeout_s: float,
        progress: RunProgress,
    ) -> None:
        self.spec, self.value, self.force = spec, value, force
        self.timeout_s, self.progress = timeout_s, progress


def _may_pass(task: Task[Any, Any], task_run: TaskRun, state: State[Any]) -> bool:
    return isinstance(state.data, RetryableRunError) or "RetryableRunError" in str(state.message)


@task(
    name="score",
    retries=len(RETRY_DELAYS_S),
    retry_delay_seconds=RETRY_DELAYS_S,
    retry_condition_fn=_may_pass,
    cache_policy=NO_CACHE,
    persist_result=False,
)
async def _score(request: _Request) -> Manifest:
    async with borrowed_pool(request.spec.workers) as pool:
        score = functools.partial(
            run,
            request.spec,
            request.value,
            pool=pool,
            cache=default_cache(),
            now=datetime.now(UTC),
            force=request.force,
            listeners=[request.progress],
            run_cache=shared_run_cache(),
            compares_later=not is_backfill(),
        )
        manifest = await run_within(request.timeout_s, pool, score)
    if manifest.error and manifest.error.retryable:
        raise RetryableRunError(manifest)
    return manifest


async def _track(manifest: Manifest, registry: str | None) -> TrackedRun | None:
    if manifest.status in ("unchanged", "rejected"):
        return None  # nothing was scored
    return await asyncio.to_thread(
        track, manifest, registry, str(flow_run.id or ""), flow_run.ui_url or ""
    )
