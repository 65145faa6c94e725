"""Everything that a run needs to know before it reads a row."""

import platform
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from nightscore.engine.pool import Pool
from nightscore.engine.remote.calls import ModelSource
from nightscore.engine.shard import ShardTask
from nightscore.engine.worker import inspect
from nightscore.errors import (
    MemoryLimitError,
    ModelLoadError,
    WorkerHungError,
)
from nightscore.inputs.files import named_parquet_first
from nightscore.inputs.footers import read_footers
from nightscore.inputs.nulls import find_nulls, uncounted_columns, with_found
from nightscore.inputs.partitions import find_partitions, list_partitions
from nightscore.inputs.validate import check_contract
from nightscore.models import versions
from nightscore.models.cache import ModelCache
from nightscore.models.compiled.kept import KeptForm
from nightscore.models.pinned import PinnedModel
from nightscore.models.registry import shared_uri
from nightscore.planning.engine_choice import choose_engine
from nightscore.planning.memory import plan_memory
from nightscore.planning.shards import needed_bytes, plan_shards
from nightscore.process import available_bytes
from nightscore.schemas.contract import Contract
from nightscore.schemas.job import Output, ScoringJob, Workers
from nightscore.schemas.model import ModelFacts
from nightscore.schemas.partition import Partition, Plan, Shard
from nightscore.storage.store import Store

NEIGHBOURS_TRIED = 5
"""Other partitions that are asked for a schema when one has no files."""
FRAME_FLAVORS = ("sklearn", "python_function")
"""Given pandas' frames, where the type of integers depends on whether some are null."""
FILES_TRIED = 8
"""Of each of them, until one has rows."""
FACTS = "facts-6"
"""Name of the note in the cache; the number grows when a model must be looked at again."""
COMPARED_LIBRARIES = (
    "scikit-learn",
    "numpy",
    "scipy",
    "pandas",
    "lightgbm",
    "xgboost",
    "onnxruntime",
)


def not_loaded(error: MemoryLimitError | WorkerHungError, folder: Path) -> ModelLoadError:
    """The error for a model that takes more time or memory than there is."""
    if isinstance(error, WorkerHungError):
        return ModelLoadError(
            "The model does not load in time; its worker was ended.",
            str(folder),
            expected=error.expected,
            found="no end",
            next_step="log the model again from the training job; or, where it needs longer, raise "
            "limits.shard_minutes",
        )
    return ModelLoadError(
        "The model takes more memory than this machine has to load.",
        str(folder),
        found=error.found,
        next_step="look at its files: few bytes can decode to very many; or give the machine more memory",
    )


def learn_facts(model: PinnedModel, cache: ModelCache, pool: Pool) -> ModelFacts:
    """What the model is, from the cache or by loading it once in a worker; the pool then knows where it is.

    Raises:
        ModelRefusedError: It holds more than data, and nobody vouches for it.
        ModelLoadError: It cannot be loaded, or says too little about itself.
    """
    digest = model.cached.digest
    pool.add_model(
        ModelSource(model.version, shared_uri(model.registry), digest), model.cached.path
    )
    try:
        facts = ModelFacts.model_validate_json(cache.note(digest, FACTS).read_text())
        if all(
            versions.library_version(name) == version for name, version in facts.loaded_with.items()
        ):
            if facts.unlisted_types and not model.is_vouched:
                from nightscore.models.structure.skops_types import refused_model

                raise refused_model(facts.unlisted_types, str(model.cached.path))
            return facts
    except (FileNotFoundError, ValueError):
        pass
    try:
        facts = pool.call(inspect, model.cached.path, model.is_vouched, timeout_s=model.load_s)
    except (MemoryLimitError, WorkerHungError) as error:
        raise not_loaded(error, model.cached.path) from error
    cache.write_note(digest, FACTS, facts.model_dump_json())
    return facts


def plan_partition(
    job: ScoringJob,
    model: PinnedModel,
    facts: ModelFacts,
    partition: Partition,
    capacity: int,
    cut_for: int | None = None,
    pool: Pool | None = None,
    nullable: frozenset[str] = frozenset(),
) -> tuple[Plan, Contract]:
    """The plan and the columns, from footers; only nulls of integers that they do not count are looked up.

    Args:
        job: The job.
        model: Its model.
        facts: What the model is.
        partition: With its files.
        capacity: Shards that the pool may have under way at once.
        cut_for: Cut into shards as for this number of workers; None: as for those that will share the work.
        pool: Looks for nulls; None: this process does.
        nullable: Features that have nulls in rows of the partition that are not among the files.

    Raises:
        CorruptFileError, ContractError, MemoryLimitError: See there; nothing was read.
    """
    store = Store(job.input.uri, job.input.storage_options)
    footers = read_footers(store, partition.files)
    has_rows = any(footer.n_rows for footer in footers)
    borrowed = None if has_rows else _borrow_schema(job, partition)
    stated = footers if borrowed is None else []
    contract = check_contract(job, facts, stated, borrowed, nullable)
    unsaid = uncounted_columns(contract, stated) if facts.flavor in FRAME_FLAVORS else {}
    if unsaid:
        limit_s = 60.0 * job.limits.shard_minutes
        found = (
            pool.call(find_nulls, job.input, unsaid, timeout_s=limit_s)
            if pool
            else find_nulls(job.input, unsaid)
        )
        contract = check_contract(job, facts, with_found(stated, found), borrowed, nullable)
    engine = choose_engine(job, model.cached.path, facts)
    memory = plan_memory(job, engine, contract, footers, store.is_local, capacity)
    plan = Plan(
        partition,
        model.fingerprint(job, partition),
        sum(footer.n_rows for footer in footers),
        sum(needed_bytes(footer, contract.needed) for footer in footers),
        plan_shards(footers, contract.needed, cut_for or memory.n_workers),
        cut_for or memory.n_workers,
        memory,
        engine.library_because,
        engine.is_unchecked,
        contract.extra,
    )
    return plan, contract


def scratch_job(job: ScoringJob, folder: str) -> ScoringJob:
    """The job with its workers and outputs on this machine, in a folder that readers do not see."""
    output = Output(uri=f"{folder}/predictions", format="parquet", storage_options={})
    return job.model_copy(update={"output": output, "workers": Workers()})


def scratch_tasks(
    job: ScoringJob,
    run_id: str,
    model: PinnedModel,
    facts: ModelFacts,
    plan: Plan,
    contract: Contract,
    shards: Sequence[Shard],
    *,
    is_fresh: bool = False,
) -> list[ShardTask]:
    """Tasks of shards that are scored apart from any run, however many of their rows the model refuses.

    `is_fresh`: by a compiled form that is made anew from the model, not by the one in the cache.
    """
    return [
        ShardTask(
            job,
            run_id,
            plan.partition.folder,
            model.cached.path,
            model.version.version,
            facts,
            contract,
            shard,
            plan.memory.batch_rows,
            shard.n_rows,
            plan.n_rows,
            available_bytes(),
            1,
            prefetch_bytes=plan.memory.prefetch_bytes,
            in_threads=plan.memory.in_threads,
            library_because=plan.library_because,
            is_unchecked=plan.is_unchecked or is_fresh,
            is_fresh=is_fresh,
        )
        for shard in shards
    ]


def version_warnings(facts: ModelFacts) -> list[str]:
    """Libraries that are not those the model was trained with."""
    found = []
    for name in COMPARED_LIBRARIES:
        trained, here = facts.trained_with.get(name), versions.library_version(name)
        if trained and here and trained != here:
            found.append(f"the model was trained with {name} {trained}, this run uses {here}")
    trained = facts.trained_with.get("python")
    if trained and trained.split(".")[:2] != platform.python_version().split(".")[:2]:
        found.append(
            f"the model was trained with Python {trained}, this run uses {platform.python_version()}"
        )
    return found


def cache_warnings(model: PinnedModel, facts: ModelFacts) -> list[str]:
    """What of this host's cache is not used, since others can write to it."""
    kept = KeptForm.of(model.cached.path, facts)
    if facts.library_because or not kept.is_shared:
        return []
    folder = kept.stem.parent
    return [
        f"others can write to {folder}: the compiled model there is not used, and each worker makes its own, which "
        f"takes longer; `chmod -R go-w {folder}` as its owner, or remove it"
    ]


def library_versions() -> dict[str, str]:
    """What this process runs with."""
    names = (
        "pyarrow", "numpy", "scikit-learn", "pandas", "numba", "lightgbm", "xgboost", "onnxruntime", "deltalake",
        "joblib", "mlflow", "s3fs",
    )  # fmt: skip
    return {"python": platform.python_version()} | versions.library_versions(*names)


def _borrow_schema(job: ScoringJob, partition: Partition) -> pa.Schema | None:
    """The schema of a neighbouring partition: one without rows has no types of its own, whatever its files say."""
    others = [value for value in reversed(list_partitions(job)) if value != partition.value][
        :NEIGHBOURS_TRIED
    ]
    store = Store(job.input.uri, job.input.storage_options)
    for neighbour in find_partitions(job, others).values():
        files = named_parquet_first(neighbour.files)
        for footer in read_footers(store, files[:FILES_TRIED]):
            if footer.n_rows:
                return footer.schema
    return None
