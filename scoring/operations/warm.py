"""Makes a host ready for the first run of a job or a model, so that it is as fast as later ones.

What is made stays in the cache of this host: the compiled form of the model, its machine code, and
the note that its first rows agree with the library. Nothing is published or recorded.
"""

import tempfile
from dataclasses import dataclass, replace

from nightscore.engine.model_facts import learn_facts
from nightscore.engine.planning.plan import PlannedWorkers, plan_partition
from nightscore.engine.pool import Pool
from nightscore.engine.scratch import ScratchRun, first_rows, scratch_job
from nightscore.engine.worker.shard_scoring import score_shard
from nightscore.engine.worker.worker_model import compile_model_code
from nightscore.errors import InputError, ScoringError
from nightscore.inputs.date_formats import newest_value
from nightscore.inputs.layouts import no_partitions
from nightscore.inputs.partitions import find_partition, list_partitions
from nightscore.ledger.workspace import Workspace
from nightscore.models.cache import ModelCache
from nightscore.models.compiled.checked import CHECK_ROWS
from nightscore.models.model_versions import fetch, resolve
from nightscore.models.pinned import MODEL_S, PinnedModel
from nightscore.models.sample_models import compile_kernels
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import PredictorRecord
from nightscore.schemas.model import ModelFacts
from nightscore.schemas.partition import Partition, show_value

WARM_RUN = "warm"


@dataclass(frozen=True, slots=True, kw_only=True)
class Warmed:
    """What a host is ready for."""

    model: str
    """Name and version."""
    predictor: PredictorRecord
    """What will predict. It says how many rows were compared with the library."""
    partition: str = ""
    """The partition whose first rows were compared. Empty: none."""
    unread: str = ""
    """Why no rows could be compared: the first run does it. Empty: nothing is left to do."""


def warm_job(job: ScoringJob, pool: Pool, cache: ModelCache) -> Warmed:
    """Make this host ready for a job: its model compiled, and compared on its newest partition.

    Args:
        job: Names the model and the input.
        pool: Workers of this machine.
        cache: Models of this host.

    Raises:
        ModelError: The model must not be loaded, or cannot be.
    """
    model = PinnedModel.resolve(job, cache)
    facts = learn_facts(model, cache, pool)
    reason = "the job has `engine: library`" if job.engine == "library" else facts.fallback_reason
    if reason:
        return Warmed(model=str(model.version), predictor=_by_library(reason))

    warmed = _warm_model(model, facts, pool)
    if warmed.predictor.engine == "library":
        return warmed

    try:
        partition = _newest_partition(job)
        return _compare_first_rows(job, model, facts, partition, pool)
    except ScoringError as error:
        return replace(warmed, unread=error.what)


def warm_kernels(pool: Pool, cache: ModelCache) -> list[str]:
    """Compile the machine code that most models of scikit-learn need, before there is a model.

    Args:
        pool: Workers of this machine.
        cache: Models of this host.

    Returns:
        The kinds of models that it is for.
    """
    return pool.call(compile_kernels, cache.root, timeout_s=MODEL_S)


def warm_version(uri: str, registry: str | None, pool: Pool, cache: ModelCache) -> Warmed:
    """Make this host ready for a pinned model version. The first run compares it on its rows.

    Args:
        uri: Of the version.
        registry: MLflow tracking URI; None: the default.
        pool: Workers of this machine.
        cache: Models of this host.

    Raises:
        ModelError: It cannot be loaded.
    """
    version = resolve(uri, registry)
    cached = fetch(version, registry, cache)
    model = PinnedModel(
        version=version, cached=cached, registry=registry, is_vouched=cached.is_pinned
    )
    facts = learn_facts(model, cache, pool)
    if facts.fallback_reason:
        return Warmed(model=str(version), predictor=_by_library(facts.fallback_reason))
    return _warm_model(model, facts, pool)


def _warm_model(model: PinnedModel, facts: ModelFacts, pool: Pool) -> Warmed:
    """Compile the model and its machine code."""
    reason = pool.call(compile_model_code, model.cached.path, facts, timeout_s=model.load_s)
    predictor = _by_library(reason) if reason else PredictorRecord(engine="compiled")
    return Warmed(model=str(model.version), predictor=predictor)


def _newest_partition(job: ScoringJob) -> Partition:
    workspace = Workspace(job)
    values = list(list_partitions(job))
    if not values:
        raise no_partitions(job, *workspace.inputs.list_names())

    partition, _ = find_partition(workspace, newest_value(values, job.input.partition_format))
    return partition


def _compare_first_rows(
    job: ScoringJob, model: PinnedModel, facts: ModelFacts, partition: Partition, pool: Pool
) -> Warmed:
    """Score the first rows of a partition apart from any run, as the first run would.

    Raises:
        InputError: The partition has no rows.
        ScoringError: A run could not score it either.
    """
    with tempfile.TemporaryDirectory(prefix="nightscore-warm-") as folder:
        scratch = scratch_job(job, folder)
        plan, contract = plan_partition(
            scratch, model, facts, partition, PlannedWorkers(pool.capacity, pool)
        )
        if not plan.n_rows:
            raise InputError(
                "The newest partition has no rows.",
                partition.folder,
                next_step="warm again once there is one with rows",
            )

        run = ScratchRun(scratch, WARM_RUN, model, facts)
        (task,) = run.tasks(plan, contract, [first_rows(plan, CHECK_ROWS)])
        result = pool.call(score_shard, task, timeout_s=model.load_s)

    return Warmed(
        model=str(model.version),
        predictor=result.predictor,
        partition=show_value(partition.value),
    )


def _by_library(reason: str) -> PredictorRecord:
    return PredictorRecord(engine="library", why=reason)
