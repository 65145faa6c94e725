"""The challenger of a canary in a replay: rows that come back are scored by the model of their arm.

Its own part and quarantine are of no use to anybody: they go to a folder that is removed. It is one
of this machine, or one beside the job's records, which the nodes of a cluster reach as well.
"""

import contextlib
import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace

from nightscore.arrow.assignment import Assignment
from nightscore.engine.model_facts import learn_facts
from nightscore.engine.planning.plan import PlannedWorkers, plan_partition
from nightscore.engine.scratch import ScratchRun, scratch_job
from nightscore.engine.shard import ChallengerResult, ShardTask
from nightscore.errors import ScoringError
from nightscore.ledger.layout import staging_folder
from nightscore.models.pinned import PinnedModel
from nightscore.runs.challengers.canary import check_alike, discard_mixed, resolve_recorded
from nightscore.runs.execution import Execution
from nightscore.runs.run_plan import RunPlan
from nightscore.schemas.canary import CanaryRecord
from nightscore.schemas.contract import Contract
from nightscore.schemas.estimate import Estimate
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.model import ModelFacts

RUN_ID = "replay-arm"


@contextlib.contextmanager
def scratch_folder(execution: Execution) -> Iterator[str]:
    """A folder for what nobody needs; it is removed afterwards.

    Args:
        execution: The replay. If its process dies, `clean` removes what is left beside the records.
    """
    if not execution.job.workers.is_cluster:
        with tempfile.TemporaryDirectory(prefix="nightscore-replay-") as folder:
            yield folder
        return

    state, path = execution.workspace.state, f"{staging_folder(execution.run_id)}/arm"
    try:
        yield state.locate_url(path)
    finally:
        for suffix in ("", ".nightscore"):
            with contextlib.suppress(ScoringError, OSError):
                state.delete_tree(path + suffix)


def _scratch(job: ScoringJob, folder: str) -> ScoringJob:
    """The job with its outputs in a folder that readers do not see."""
    if not job.workers.is_cluster:
        return scratch_job(job, folder)

    output = job.output.model_copy(update={"uri": folder, "format": "parquet"})
    return job.model_copy(update={"output": output, "estimate": Estimate()})


class ReplayArm:
    """Scores the rows of the challenger's arm that come back from the quarantine."""

    def __init__(self, execution: Execution, canary: CanaryRecord, folder: str) -> None:
        """Score nothing yet.

        Args:
            execution: The replay.
            canary: Of the run whose quarantine is replayed.
            folder: See `scratch_folder`.
        """
        self._execution, self._canary, self._folder = execution, canary, folder
        self.failure = ""
        """Why the rows that come back are all of the job's own model; empty: they are not."""
        self._results: list[ChallengerResult] = []
        self._run: ScratchRun
        self._plan: RunPlan
        self._contract: Contract

    def settle(self, plan: RunPlan) -> None:
        """Find the version, and check that its rows can stand in the table.

        Args:
            plan: Of the replay by the job's own model.
        """
        self._plan = plan
        try:
            self._settle(resolve_recorded(self._execution, self._canary))
        except ScoringError as error:
            self.failure = error.what

    def _settle(self, model: PinnedModel) -> None:
        plan, pool = self._plan, self._execution.pool
        facts = learn_facts(model, self._execution.cache, pool)
        job = _scratch(plan.source.job, self._folder)
        job = job.model_copy(update={"model": model.version.uri})

        workers = PlannedWorkers(pool.capacity, pool)
        _, contract = plan_partition(job, model, facts, plan.shards.partition, workers)
        check_alike(Assignment.of(self._canary), self._both(facts), (plan.contract, contract))

        self._run = ScratchRun(job, RUN_ID, model, facts)
        self._contract = contract

    def _both(self, facts: ModelFacts) -> tuple[ModelFacts, ModelFacts]:
        return self._plan.facts, facts

    def add_to(self, tasks: Sequence[ShardTask]) -> list[ShardTask]:
        """The tasks, each with one for the arm."""
        if self.failure:
            return list(tasks)

        joined = []

        for task in tasks:
            (own,) = self._run.tasks(self._plan.shards, self._contract, [task.shard])

            own = replace(
                own,
                folder=task.folder,
                batch_rows=task.batch_rows,
                memory_bytes=task.memory_bytes,
                prefetch_bytes=task.prefetch_bytes,
                in_threads=task.in_threads,
                from_quarantine=True,
                assignment=Assignment.of(self._canary),
            )

            joined.append(replace(task, challengers=(own,), max_overhead=math.inf))

        return joined

    def prepare(self, tasks: Sequence[ShardTask]) -> list[ShardTask]:
        """The same tasks: nothing of the arm is profiled."""
        return list(tasks)

    def collect(self) -> None:
        """Take what the workers say of the arm, and record how many rows are its own."""
        if not self.failure:
            results = self._execution.results.in_order()
            self._results = [one for result in results for one in result.challengers]
            failures = [one.failure for one in self._results if one.failure]
            self.failure = failures[0] if failures else ""

        if self.failure:
            note = f"all rows that came back are of the job's own model: {self.failure}"
            self._execution.record.warn(note)
            return

        n_rows = sum(one.n_published for one in self._results)
        n_refused = sum(one.n_refused_alone for one in self._results)

        recorded = self._execution.record.manifest.canary or self._canary
        counts = {
            "rows": recorded.rows + n_rows,
            "rows_refused_alone": recorded.rows_refused_alone + n_refused,
        }
        self._execution.record.update(canary=recorded.model_copy(update=counts))

    @property
    def has_ended_canary(self) -> bool:
        """Whether some rows may be of a challenger that does not score any more."""
        return bool(self.failure)

    def discard_mixed(self, plan: RunPlan) -> tuple[RunPlan, set[int]]:
        """Remove the parts that have such rows; the shards of these are scored again."""
        alone = replace(plan, fingerprint="", shards=replace(plan.shards, fingerprint=""))
        self._execution.record.update(fingerprint="")
        return alone, discard_mixed(self._execution)
