"""The nightly flow: score partitions of a job, each as a task run."""

from datetime import UTC, datetime

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from schemas.job import ScoringJob
from schemas.manifest import Manifest
from schemas.partition import show_value
from scoring.engine.pool import WorkerPool
from scoring.engine.prepare import PinnedModel
from scoring.inputs.jobfile import load_job
from scoring.inputs.partitions import parse_value
from scoring.models.cache import ModelCache, default_cache
from scoring.run import run


class PartitionFailedError(RuntimeError):
    """Runs failed; the message holds the manifests' errors."""


@flow(name="nightly", flow_run_name="{job}", persist_result=False)
def nightly(job: str, partitions: list[str], force: bool = False) -> list[Manifest]:
    """Score partitions with one model version, resolved once, and one set of workers.

    Args:
        job: Path or URL of a job file.
        partitions: Partition values, such as 2013-07-04.
        force: Score again what is published already.
    """
    spec = load_job(job)
    cache = default_cache()
    with WorkerPool() as pool:
        night = Night(spec, PinnedModel.of(spec, cache), pool, cache, force=force)
        manifests = [
            score_partition.with_options(task_run_name=f"{spec.name} · {text}")(text, night) for text in partitions
        ]
    failed = [manifest for manifest in manifests if manifest.error]
    if failed:
        messages = [f"{show_value(m.partition)}: {m.error.message}" for m in failed if m.error]
        raise PartitionFailedError(f"{len(failed)} of {len(manifests)} partitions failed\n" + "\n".join(messages))
    return manifests


class Night:
    """What the partitions of one flow run share. A plain class: Prefect walks through records and copies them."""

    def __init__(
        self, spec: ScoringJob, model: PinnedModel, pool: WorkerPool, cache: ModelCache, *, force: bool
    ) -> None:
        self.spec, self.model, self.pool, self.cache, self.force = spec, model, pool, cache, force


@task(cache_policy=NO_CACHE, persist_result=False)
def score_partition(partition: str, night: Night) -> Manifest:
    """One run; a failed one is an answer here, and the flow's failure later."""
    return run(
        night.spec,
        parse_value(partition),
        pool=night.pool,
        cache=night.cache,
        now=datetime.now(UTC),
        force=night.force,
        model=night.model,
    )
