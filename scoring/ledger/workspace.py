"""What a job works with: its stores, its partitions, and what its runs share in memory."""

from functools import cached_property

from nightscore.ledger.layout import parts_store, predictions_store, state_store
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.partition import encode_folder
from nightscore.storage.run_cache import RunCache
from nightscore.storage.store import Store


class Workspace:
    """The places of one job. Cheap to make: no store is asked before it is needed."""

    def __init__(self, job: ScoringJob, run_cache: RunCache | None = None) -> None:
        """Open a workspace.

        Args:
            job: The job.
            run_cache: Shared by several runs of this process. None: the workspace gets its own.
        """
        self.job = job
        self.run_cache = run_cache or RunCache()

    @cached_property
    def inputs(self) -> Store:
        """Where the partitions are read from."""
        return Store(self.job.input.uri, self.job.input.storage_options)

    @cached_property
    def predictions(self) -> Store:
        """The Delta table, or the root of the sealed partitions."""
        return predictions_store(self.job)

    @cached_property
    def state(self) -> Store:
        """Everything that is not predictions: records, checkpoints, profiles, reports."""
        return state_store(self.job)

    @cached_property
    def parts(self) -> Store:
        """Where workers write the files of a run before it is published."""
        return parts_store(self.job)

    def folder(self, value: str | None) -> str:
        """The folder of a partition, in each of the stores."""
        return encode_folder(self.job.input.partition_key, value)

    def for_job(self, job: ScoringJob) -> "Workspace":
        """The workspace of a variant of the job, say with another model.

        It shares the run cache.
        """
        return Workspace(job, self.run_cache)
