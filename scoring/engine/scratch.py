"""Tasks of shards that are scored apart from any run."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from nightscore.engine.shard import ShardTask
from nightscore.models.pinned import PinnedModel
from nightscore.process import available_bytes
from nightscore.schemas.contract import Contract
from nightscore.schemas.estimate import Estimate
from nightscore.schemas.job import Output, ScoringJob, Workers
from nightscore.schemas.model import ModelFacts
from nightscore.schemas.partition import Plan, Shard


def scratch_job(job: ScoringJob, folder: str) -> ScoringJob:
    """The job with its workers and outputs on this machine, in a folder that readers do not see.

    It takes no sample of rows.
    """
    output = Output(uri=f"{folder}/predictions", format="parquet", storage_options={})
    changes = {"output": output, "workers": Workers(), "estimate": Estimate()}
    return job.model_copy(update=changes)


@dataclass(frozen=True, slots=True)
class ScratchRun:
    """Shards that are scored apart from any run, however many of their rows the model refuses."""

    job: ScoringJob
    """See `scratch_job`."""
    run_id: str
    model: PinnedModel
    facts: ModelFacts

    def tasks(
        self, plan: Plan, contract: Contract, shards: Sequence[Shard], *, is_fresh: bool = False
    ) -> list[ShardTask]:
        """A task for each shard.

        Args:
            plan: The plan of the partition.
            contract: Its columns.
            shards: Those to score.
            is_fresh: Use a compiled form that is made anew from the model, not the one in the
                cache.
        """
        memory, version = plan.memory, self.model.version.version
        memory_bytes = available_bytes()

        return [
            ShardTask(
                job=self.job,
                run_id=self.run_id,
                folder=plan.partition.folder,
                model_folder=self.model.cached.path,
                model_version=version,
                facts=self.facts,
                contract=contract,
                shard=shard,
                batch_rows=memory.batch_rows,
                max_quarantined=shard.n_rows,
                n_rows=plan.n_rows,
                memory_bytes=memory_bytes,
                cut_for=1,
                prefetch_bytes=memory.prefetch_bytes,
                in_threads=memory.in_threads,
                fallback_reason=plan.fallback_reason,
                is_unchecked=plan.is_unchecked or is_fresh,
                is_fresh=is_fresh,
            )
            for shard in shards
        ]


def first_rows(plan: Plan, n_rows: int) -> Shard:
    """The first rows of a partition that has some, as a shard of their own."""
    shard = plan.shards[0]
    n_rows = min(shard.pieces[0].n_rows, n_rows)
    piece = replace(shard.pieces[0], n_rows=n_rows)
    return replace(shard, pieces=(piece,), n_rows=n_rows, is_last=False)
