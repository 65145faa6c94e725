"""Tasks of shards that are scored apart from any run."""

from collections.abc import Sequence

from nightscore.engine.shard import ShardTask
from nightscore.models.pinned import PinnedModel
from nightscore.process import available_bytes
from nightscore.schemas.contract import Contract
from nightscore.schemas.job import Output, ScoringJob, Workers
from nightscore.schemas.model import ModelFacts
from nightscore.schemas.partition import Plan, Shard


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
            fallback_reason=plan.fallback_reason,
            is_unchecked=plan.is_unchecked or is_fresh,
            is_fresh=is_fresh,
        )
        for shard in shards
    ]
