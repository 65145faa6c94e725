"""Plans a run: which model scores which rows, and in which shards. Nothing is scored yet."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from nightscore.engine.checkpoints import Resumption, take_over
from nightscore.engine.model_facts import learn_facts
from nightscore.engine.planning.environment import (
    cache_warnings,
    library_versions,
    recorded_versions,
    version_warnings,
)
from nightscore.engine.planning.plan import Beside, PlannedWorkers, plan_partition
from nightscore.errors import ChallengerError, MemoryLimitError, ScoringError
from nightscore.ledger.live import Live
from nightscore.models.pinned import PinnedModel
from nightscore.outputs.publisher import Publisher
from nightscore.runs.drift_check import DriftCheck
from nightscore.runs.execution import Execution
from nightscore.runs.partition_state import PartitionState
from nightscore.schemas.contract import Contract
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import InputRecord, InputsRecord
from nightscore.schemas.model import ModelFacts
from nightscore.schemas.partition import Partition, Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRows:
    """Where the rows of a run come from."""

    job: ScoringJob
    """Whose input is read: the job's own, or its quarantine."""
    n_rows: int
    """Rows of the whole partition: the limits are shares of these."""
    from_quarantine: bool = False
    """The rows say themselves where they stand in the input."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlan:
    """What a run will do."""

    model: PinnedModel
    facts: ModelFacts
    source: SourceRows
    shards: Plan
    """The partition in shards, and the memory for them."""
    contract: Contract
    fingerprint: str
    """What decides the predictions. Empty: a later run scores the partition again."""
    publisher: Publisher
    live: Live | None
    """What readers saw when this was planned. The publication replaces exactly this."""
    drift_check: DriftCheck


class Challengers(Protocol):
    """Versions that score the rows of a run in the same pass. None of this raises."""

    def settle(self, state: PartitionState, obstacle: ScoringError | None) -> list[Beside]:
        """What they need. Whatever keeps one from scoring ends that one."""
        ...

    def refuse(self, error: ScoringError) -> None:
        """Have none of them score."""
        ...

    def join(self, plan: RunPlan) -> None:
        """Settle what they write, beside the columns of the plan."""
        ...


def plan_run(
    execution: Execution,
    model: PinnedModel,
    state: PartitionState,
    challengers: Challengers | None = None,
) -> RunPlan:
    """Cut the partition into shards, and resume from those that an earlier attempt has finished.

    Args:
        execution: The run.
        model: Of the job.
        state: Of the partition.
        challengers: Versions that score the same rows. None: there are none.
    """
    record, job = execution.record, execution.job

    with record.stage("plan"):
        record.update(
            fingerprint=state.fingerprint,
            libraries=library_versions(),
            inputs=inputs_record(job, state.partition, state.n_left_out),
            replaces=state.live_run_id,
        )
        resumption = _begin(execution, state)

        state.publisher.check()
        facts = learn_model(execution, model, state.notes)
        workers = PlannedWorkers(
            execution.pool.capacity,
            execution.pool,
            cut_for=resumption.cut_for if resumption else None,
            least_shard_rows=resumption.least_shard_rows if resumption else None,
            may_measure=True,
        )
        plan_with = functools.partial(plan_partition, job, model, facts, state.partition)

        if challengers is None:
            shards, contract = plan_with(workers)
        else:
            obstacle = _obstacle(execution, resumption)
            others = tuple(challengers.settle(state, obstacle))

            shards, contract = _plan_together(plan_with, workers, others, challengers)

        if resumption is not None:
            execution.results.resumed = resumption.fitting(shards.shards)

        record.warn(*state.publisher.check_fits(contract.output_schema(), execution.value))
        record.update(
            inputs=inputs_record(job, state.partition, state.n_left_out, shards.extra_columns)
        )

        drift_check = DriftCheck(execution)
        if job.drift.profile:
            drift_check.find_references(model)

    plan = RunPlan(
        model=model,
        facts=facts,
        source=SourceRows(job=job, n_rows=shards.n_rows),
        shards=shards,
        contract=contract,
        fingerprint=state.fingerprint,
        publisher=state.publisher,
        live=state.live,
        drift_check=drift_check,
    )
    if challengers is not None:
        challengers.join(plan)

    return plan


def _obstacle(execution: Execution, resumption: Resumption | None) -> ScoringError | None:
    """Why no challenger can score beside the run. None: nothing is known."""
    if resumption is None:
        return None

    return ChallengerError(
        "The run goes on from shards that an attempt before it has scored, by the job's own model "
        "alone.",
        execution.folder,
        next_step=f"`{execution.job.command('run', execution.shown_value, '--force')}` scores the "
        "partition by both again",
    )


def _plan_together(
    plan_with: Callable[[PlannedWorkers], tuple[Plan, Contract]],
    workers: PlannedWorkers,
    others: tuple[Beside, ...],
    challengers: Challengers,
) -> tuple[Plan, Contract]:
    """The plan with the challengers. If that takes too much memory, without them."""
    try:
        return plan_with(replace(workers, others=others))
    except MemoryLimitError as error:
        if not others:
            raise

        challengers.refuse(error)
        return plan_with(workers)


def _begin(execution: Execution, state: PartitionState) -> Resumption | None:
    """Write the first record.

    If a run died on the same work, this becomes its next attempt.
    """
    record, lease = execution.record, execution.lease
    resumption = None
    if record.manifest.canary is None:  # its finished shards may be the challenger's, too
        resumption = take_over(
            execution.workspace, state.history, state.fingerprint, state.live_run_id, lease
        )
    if resumption is not None:
        record.resume_from(resumption.manifest)

    record.save("running")

    # Nobody has removed what this run resumes from. From now on the record protects it.
    lease.check()
    lease.release()

    return resumption


def learn_model(execution: Execution, model: PinnedModel, notes: Sequence[str]) -> ModelFacts:
    """What loading the model shows. Its warnings and the notes go into the record."""
    facts = learn_facts(model, execution.cache, execution.pool)
    warnings = (
        *execution.record.manifest.warnings,
        *model.warnings,
        *version_warnings(facts),
        *cache_warnings(model, facts),
        *notes,
    )
    execution.record.update(
        model=model.record(execution.job, facts),
        libraries=recorded_versions(facts),
        warnings=warnings,
    )

    return facts


def inputs_record(
    job: ScoringJob, partition: Partition, n_left_out: int, extra_columns: tuple[str, ...] = ()
) -> InputsRecord:
    """The files of a partition, as the manifest has them."""
    files = tuple(
        InputRecord(path=file.path, size_bytes=file.size_bytes, version=file.version)
        for file in partition.files
    )
    return InputsRecord(
        uri=job.input.uri, files=files, extra_columns=extra_columns, files_left_out=n_left_out
    )
