"""The flow of one partition: what nightly and backfill are made of."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from prefect import flow, task
from prefect.artifacts import acreate_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.runtime import flow_run
from prefect.states import Completed, Failed
from prefect.tasks import Task

from flows.artifacts import artifact_key, run_markdown, state_message
from schemas.job import ScoringJob
from schemas.manifest import Manifest
from scoring.engine.pool import WorkerPool
from scoring.errors import InvalidJobError
from scoring.inputs.jobfile import load_job
from scoring.inputs.partitions import parse_value
from scoring.models.cache import default_cache
from scoring.run import run

RETRY_DELAYS_S = [5.0, 30.0]
"""For errors that may pass by themselves: a store that does not answer, an input that is being written."""

_pools: ContextVar["asyncio.Queue[WorkerPool] | None"] = ContextVar("pools", default=None)


class RetryableRunError(RuntimeError):
    """A run failed with an error that may pass."""

    def __init__(self, manifest: Manifest) -> None:
        super().__init__(state_message(manifest))
        self.manifest = manifest


@contextlib.contextmanager
def shared_pools(n_pools: int) -> Iterator[None]:
    """Warm workers for all partitions of one flow; none is left at the end, however that comes."""
    pools = [WorkerPool() for _ in range(n_pools)]
    queue: asyncio.Queue[WorkerPool] = asyncio.Queue()
    for pool in pools:
        queue.put_nowait(pool)
    token = _pools.set(queue)
    try:
        yield
    finally:
        _pools.reset(token)
        for pool in pools:
            pool.stop()


def job_name(job: str) -> str:
    """The job's name for a run's name; of a file that cannot be read, its path: the run itself will say why."""
    try:
        return load_job(job).name
    except InvalidJobError:
        return job


def _run_name() -> str:
    return f"{job_name(flow_run.parameters['job'])} · {flow_run.parameters['partition']}"


@flow(name="score-partition", flow_run_name=_run_name, persist_result=False)
async def score_partition(job: str, partition: str, model: str | None = None, force: bool = False) -> State[Any]:
    """Score one partition and publish it.

    Args:
        job: Path or URL of a job file.
        partition: Partition value, such as 2013-07-04.
        model: Exact model URI in place of the job's own, such as models:/flight_delay/3.
        force: Score again what is published already.
    """
    spec = load_job(job)
    if model:
        spec = spec.model_copy(update={"model": model})
    try:
        manifest = await _score(_Request(spec, parse_value(partition), force=force))
    except RetryableRunError as error:
        manifest = error.manifest
    message = state_message(manifest)
    await acreate_markdown_artifact(
        key=artifact_key(spec.name, "run"),
        markdown=run_markdown(manifest),
        description=f"{manifest.status}: {message.splitlines()[0]}"[:200],
    )
    outcome = Failed if manifest.error else Completed
    return outcome(message=message, data=manifest.run_id)


class _Request:
    """A plain class: Prefect walks through the fields of records and hashes them."""

    def __init__(self, spec: ScoringJob, value: str | None, *, force: bool) -> None:
        self.spec, self.value, self.force = spec, value, force


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
    async with _borrowed_pool() as pool:
        manifest = await asyncio.to_thread(
            run,
            request.spec,
            request.value,
            pool=pool,
            cache=default_cache(),
            now=datetime.now(UTC),
            force=request.force,
        )
    if manifest.error and manifest.error.retryable:
        raise RetryableRunError(manifest)
    return manifest


@contextlib.asynccontextmanager
async def _borrowed_pool() -> AsyncIterator[WorkerPool]:
    queue = _pools.get()
    if queue is None:
        pool = WorkerPool()
        try:
            yield pool
        finally:
            pool.stop()
        return
    pool = await queue.get()
    try:
        yield pool
    finally:
        queue.put_nowait(pool)
