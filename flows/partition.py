"""The flows that score one partition, or a few: nightly and backfill are made of them."""

import asyncio
import functools
from collections.abc import Sequence
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

from nightscore.errors import InvalidJobError
from nightscore.flows.failures import tell_of_failure
from nightscore.flows.outcome import Outcome, fail_with_reason, is_backfill
from nightscore.flows.parameters import (
    DEFAULT_TIMEOUT_MINUTES,
    JobName,
    Minutes,
    job_name,
    link_to_compare,
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
    challengers_headline,
    headline,
    state_message,
)
from nightscore.flows.ui.backfill_page import outcome_rows
from nightscore.flows.ui.difference_page import difference_markdown
from nightscore.flows.ui.drift import drift_rows
from nightscore.flows.ui.events import emit_run_events
from nightscore.flows.ui.failure_text import what_failed
from nightscore.flows.ui.log import forward_engine_log
from nightscore.flows.ui.progress import RunProgress, progress_artifact
from nightscore.flows.ui.run_page import run_markdown
from nightscore.inputs.partitions import parse_value
from nightscore.inputs.values import check_value
from nightscore.models.cache import default_cache
from nightscore.monitoring.drift.statistics_table import read_statistics
from nightscore.operations.report import NOTHING_DRAWN, Drawn, draw_report
from nightscore.process import count_startup
from nightscore.runs.run import run
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import Manifest

RETRY_DELAYS_S = [5.0, 30.0]
"""For transient errors: a store that does not answer, an input that is being written."""


class RetryableRunError(RuntimeError):
    """A run failed with a transient error."""

    def __init__(self, manifest: Manifest, job: ScoringJob) -> None:
        """Keep the manifest of the job's failed run."""
        super().__init__(state_message(manifest, job))
        self.manifest = manifest


@dataclass(frozen=True, slots=True)
class PartitionResult:
    """The outcome of a partition, with what its page shows."""

    outcome: Outcome
    page: str
    """Markdown."""
    headline: str
    columns: tuple[dict[str, object], ...] = ()
    """Rows of the table of all columns."""
    differences: str = ""
    """How challengers differ, as Markdown; empty: nothing was compared."""
    differences_headline: str = ""


class _Request:
    """What to score, and how. A plain class: Prefect walks through the fields of records."""

    def __init__(
        self, spec: ScoringJob, job: str, partition: str, *, force: bool, timeout_minutes: int
    ) -> None:
        self.spec = spec
        self.job = job
        """Name, path or URL of the job, as it was given."""
        self.partition = partition
        self.value = parse_value(partition)
        self.force = force
        self.timeout_s = 60.0 * timeout_minutes
        self.progress = RunProgress(partition)
        options = ["--force"] if force else []
        self.command = spec.command("run", partition, *options)
        """The command line that scores the same; empty if none does."""


def _run_name() -> str:
    parameters = flow_run.parameters
    return f"{job_name(parameters['job'])} · {parameters['partition']}"


@flow(
    name="score-partition",
    flow_run_name=_run_name,
    persist_result=False,
    on_failure=[tell_of_failure],
)
@fail_with_reason
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
        job: One of the jobs. From Python also the path or URL of a job file.
        partition: Partition value, such as 2026-11-24.
        model: Model URI to use instead of the job's, such as models:/flight_delay/3.
        force: Score the partition again even if it is already published.
        timeout_minutes: Stop the run after this time. The next run resumes from the finished
            shards.
        report: Draw the report at once. Otherwise it is drawn when it is first opened.
    """
    forward_engine_log()
    spec = _with_model(read_job(job), model)
    request = _Request(spec, job, partition, force=force, timeout_minutes=timeout_minutes)
    if model:
        request.command = ""  # on the command line, the job's model would score it

    result = await score_and_record(request, draws_report=report)

    await _show_page(spec.name, result)

    if result.columns:
        await acreate_table_artifact(
            key=artifact_key(spec.name, "drift"),
            table=list(result.columns),
            description=result.headline,
        )

    if result.differences:
        await acreate_markdown_artifact(
            key=artifact_key(spec.name, "challengers"),
            markdown=result.differences,
            description=result.differences_headline,
        )

    final_state = Completed if result.outcome.is_done else Failed
    return final_state(message=result.outcome.message, data=[result.outcome])


def _batch_name() -> str:
    parameters = flow_run.parameters
    partitions = parameters["partitions"]
    return (
        f"{job_name(parameters['job'])} · {min(partitions)} … {max(partitions)} ({len(partitions)})"
    )


@flow(
    name="score-partitions",
    flow_run_name=_batch_name,
    persist_result=False,
    on_failure=[tell_of_failure],
)
@fail_with_reason
async def score_partitions(
    job: JobName,
    partitions: list[str],
    model: str | None = None,
    force: bool = False,
    timeout_minutes: Minutes = DEFAULT_TIMEOUT_MINUTES,
) -> State[Any]:
    """Score a few small partitions one after another. One that fails does not stop the others.

    Args:
        job: One of the jobs. From Python also the path or URL of a job file.
        partitions: Partition values.
        model: Model URI to use instead of the job's.
        force: Score partitions again even if they are already published.
        timeout_minutes: Stop the run of a partition after this time.
    """
    forward_engine_log()
    spec = _with_model(read_job(job), model)

    outcomes = []
    for partition in partitions:
        try:
            request = _Request(spec, job, partition, force=force, timeout_minutes=timeout_minutes)
            result = await score_and_record(request, draws_report=False)
        except InvalidJobError as error:
            page = f"## refused\n\n```\n{error}\n```\n"
            result = PartitionResult(Outcome(partition, False, str(error)), page, "refused")

        outcomes.append(result.outcome)

        if not result.outcome.is_done:
            await _show_page(spec.name, result)

    return await _batch_state(spec.name, outcomes)


async def _batch_state(name: str, outcomes: Sequence[Outcome]) -> State[Any]:
    failed = [outcome.partition for outcome in outcomes if not outcome.is_done]
    message = f"{len(outcomes) - len(failed)} done, {len(failed)} failed"
    if failed:
        message += f": {', '.join(failed)}"

    await acreate_table_artifact(
        key=artifact_key(name, "runs"), table=outcome_rows(outcomes), description=message
    )
    final_state = Failed if failed else Completed
    return final_state(message=message, data=list(outcomes))


async def score_and_record(request: _Request, *, draws_report: bool) -> PartitionResult:
    """Score a partition, record the run in MLflow, emit its events and draw its report."""
    await asyncio.to_thread(check_value, request.spec, request.value)
    started_at = datetime.now(UTC)

    try:
        manifest = await _score_with_progress(request)
    except RunStuckError as error:
        message = f"{request.partition}: {error}"
        outcome = Outcome(request.partition, False, message, command=request.command)
        return PartitionResult(outcome, f"## stuck\n\n{error}\n", "stuck")

    tracked = await _track(manifest, request.spec.registry)
    report_url = link_to_report(request.job, manifest)
    # A run that is still held has emitted its events when it was first held.
    is_old = manifest.finished_at is not None and manifest.finished_at < started_at

    if not is_old:
        emit_run_events(manifest, request.spec.given_as, report_url)

    drawn = await _draw(request.spec, manifest) if draws_report else NOTHING_DRAWN
    statistics = await asyncio.to_thread(read_statistics, request.spec, manifest)

    message = state_message(manifest, request.spec)
    is_done = manifest.status in ("published", "unchanged")
    n_rows = manifest.counts.rows_scored if is_done else 0

    outcome = Outcome(
        request.partition,
        is_done,
        message,
        n_rows,
        is_held=manifest.status in ("held", "rejected"),
        command=request.command,
        error=manifest.error,
    )
    return PartitionResult(
        outcome,
        run_markdown(manifest, tracked, report_url, drawn),
        headline(manifest, message),
        tuple(drift_rows(statistics)),
        difference_markdown(manifest, drawn.challengers, link_to_compare(request.job)),
        challengers_headline(manifest),
    )


async def _score_with_progress(request: _Request) -> Manifest:
    name = f"score {request.partition}"
    key = artifact_key(request.spec.name, "progress")
    try:
        # For a task with tags the server checks concurrency limits: one more write, and SQLite
        # stalls.
        with TagsContext(current_tags=set()):
            async with progress_artifact(request.progress, key):
                return await _score.with_options(task_run_name=name)(request)
    except RetryableRunError as error:
        return error.manifest


async def _draw(spec: ScoringJob, manifest: Manifest) -> Drawn:
    """Draw the report in a worker: its page beside the manifest, and plots for the artifact.

    The predictions are already published. If drawing fails, that is a warning in the log.
    """
    if manifest.drift is None or manifest.status not in ("published", "held"):
        return NOTHING_DRAWN

    try:
        async with local_pool(spec.workers) as pool:
            return await asyncio.to_thread(pool.call, draw_report, spec, manifest, default_cache())
    except Exception as error:  # noqa: BLE001 (whatever it is, the predictions are published)
        get_run_logger().warning("the report could not be drawn: %s", what_failed(error))
        return NOTHING_DRAWN


async def _track(manifest: Manifest, registry: str | None) -> TrackedRun | None:
    if manifest.status in ("unchanged", "rejected"):
        return None  # nothing was scored
    return await asyncio.to_thread(
        track, manifest, registry, str(flow_run.id or ""), flow_run.ui_url or ""
    )


async def _show_page(name: str, result: PartitionResult) -> None:
    await acreate_markdown_artifact(
        key=artifact_key(name, "run"), markdown=result.page, description=result.headline
    )


def _with_model(spec: ScoringJob, model: str | None) -> ScoringJob:
    return spec.with_version(model) if model else spec


def _is_transient(task: Task[Any, Any], task_run: TaskRun, state: State[Any]) -> bool:
    return isinstance(state.data, RetryableRunError) or "RetryableRunError" in str(state.message)


@task(
    name="score",
    retries=len(RETRY_DELAYS_S),
    retry_delay_seconds=RETRY_DELAYS_S,
    retry_condition_fn=_is_transient,
    cache_policy=NO_CACHE,
    persist_result=False,
)
async def _score(request: _Request) -> Manifest:
    count_startup()
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
        raise RetryableRunError(manifest, request.spec)

    return manifest
