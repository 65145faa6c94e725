"""A canary: readers see the challenger's predictions of its arm, in the table of the job's model.

It is chosen before the run's first record, since it decides the fingerprint. Whatever ends it, the
mixed shards are scored again by the job's own model alone.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from nightscore.arrow.assignment import Assignment, assignment_problems
from nightscore.engine.predictor_records import merge_predictors
from nightscore.engine.shard import ChallengerResult
from nightscore.errors import ChallengerError, ModelDigestError, ScoringError
from nightscore.models.pinned import PinnedModel
from nightscore.runs.accounting import allowed_rows
from nightscore.runs.challengers.canary_entries import (
    note_ended,
    note_started,
    recorded_arms,
    why_stopped,
)
from nightscore.runs.challengers.canary_share import is_before_last_entry, share_of_run
from nightscore.runs.execution import Execution
from nightscore.runs.partition_state import PartitionState
from nightscore.runs.run_plan import RunPlan
from nightscore.schemas.canary import CanaryRecord
from nightscore.schemas.challenger_jobs import challenger_job, challenger_jobs
from nightscore.schemas.contract import Contract, OutputColumn
from nightscore.schemas.job import Limits, ScoringJob
from nightscore.schemas.model import ModelFacts
from nightscore.schemas.model_uri import exact_uri
from nightscore.schemas.text import counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Canary:
    """The challenger whose predictions of its arm readers will see."""

    job: ScoringJob
    """The challenger's."""
    model: PinnedModel
    record: CanaryRecord
    """As the manifest will have it, without what the workers count."""

    @property
    def assignment(self) -> Assignment:
        """Which rows it scores."""
        return Assignment.of(self.record)


def choose_canary(execution: Execution, model: PinnedModel, state: PartitionState) -> Canary | None:
    """The canary of a run. None: the job's own model scores alone, and a warning may say why.

    A backfill has the arms of the partition's date, any other run those that the job names.

    Args:
        execution: The run.
        model: The job's own.
        state: Of the partition.
    """
    try:
        if execution.job.original_model is not None:
            found = _arms_of_date(execution, state)
        else:
            found = _arms_of_job(execution, model, state)
    except ScoringError as error:
        execution.record.warn(
            "the challenger of the canary did not score, and all rows are of the job's own model: "
            f"{error.what} {error.found}".strip()
        )
        return None

    if found is None or found.model.version == model.version:
        return None

    record = found.record.model_copy(update={"champion_fingerprint": state.fingerprint})
    return replace(found, record=record)


def _arms_of_job(execution: Execution, model: PinnedModel, state: PartitionState) -> Canary | None:
    """The challenger and the arms that the job names; none if they were stopped."""
    job, release = execution.job, execution.job.release

    if release is None or not release.is_canary:
        note_ended(execution)
        return None

    why = why_stopped(execution, release.salt or "")
    if why:
        execution.record.warn(why)
        return None

    if release.flag is not None and is_before_last_entry(execution):
        return _arms_of_date(execution, state)

    ((label, its_job),) = challenger_jobs(job).items()
    challenger = PinnedModel.resolve(its_job, execution.cache)

    if challenger.version == model.version:
        note_ended(execution)  # it was promoted: both aliases mean it
        return None
    check_numbers(model, challenger)

    share = share_of_run(execution, release, challenger.version.version)
    if not share:
        note_ended(execution, "its flag has no share for it")
        return None

    record = CanaryRecord(
        label=label,
        name=challenger.version.name,
        version=challenger.version.version,
        digest=challenger.cached.digest,
        share=share,
        salt=release.salt or "",
        by=release.by or job.keys.columns[:1],
        hash=release.hash,
    )

    note_started(execution, record)

    return Canary(job=its_job, model=challenger, record=record)


def check_numbers(model: PinnedModel, challenger: PinnedModel) -> None:
    """Check that `model_version` can say whose a row is.

    Raises:
        ChallengerError: Two registered models have versions of one number.
    """
    number = model.version.version
    if challenger.version.version != number:
        return

    raise ChallengerError(
        f"Both models of the canary have version {number}, so model_version could not say whose a "
        "row is.",
        expected=f"two versions of {model.version.name}",
        found=f"version {number} of {model.version.name} and of {challenger.version.name}",
        next_step=f"register the challenger as a version of {model.version.name}, or write "
        "mode: shadow",
    )


def _arms_of_date(execution: Execution, state: PartitionState) -> Canary | None:
    """The challenger and the arms by the partition's last record, or else by the release log.

    Raises:
        ModelDigestError: The version has other artifacts than it had then.
    """
    job = execution.job

    if state.standing is not None:
        recorded = state.standing.canary
    else:
        original = job.model_copy(update={"model": job.original_model or job.model})
        recorded = recorded_arms(original, execution.value)

    if recorded is None:
        return None

    # What was counted then is counted again.
    counts = {"engine": "", "rows": 0, "rows_refused_alone": 0}
    record = recorded.model_copy(update=counts)

    uri = exact_uri(recorded.name, recorded.version)
    its_job = challenger_job(job, uri, recorded.label)
    return Canary(job=its_job, model=resolve_recorded(execution, recorded), record=record)


def resolve_recorded(execution: Execution, recorded: CanaryRecord) -> PinnedModel:
    """The challenger of a record, on this host.

    Raises:
        ModelDigestError: The version has other artifacts than it had then.
        ModelNotFoundError: The version is gone.
    """
    uri = exact_uri(recorded.name, recorded.version)
    job = challenger_job(execution.job, uri, recorded.label)
    challenger = PinnedModel.resolve(job, execution.cache)

    if challenger.cached.digest != recorded.digest:
        raise ModelDigestError(
            "The challenger has other artifacts than it had.",
            uri,
            expected=recorded.digest,
            found=challenger.cached.digest,
            next_step="log the artifacts again as a version of their own, and compare that one",
        )

    return challenger


def with_canary(
    execution: Execution, model: PinnedModel, state: PartitionState, canary: Canary
) -> PartitionState:
    """The partition's state, whose fingerprint says that two models score."""
    execution.record.update(canary=canary.record)
    mixed = model.fingerprint(execution.job, state.partition, canary.record)
    return replace(state, fingerprint=mixed)


def check_alike(
    assignment: Assignment,
    facts: tuple[ModelFacts, ModelFacts],
    contracts: tuple[Contract, Contract],
) -> None:
    """Check that rows of both can stand in one table.

    Args:
        assignment: Which rows are the challenger's.
        facts: Of the job's own model and of the challenger.
        contracts: Likewise.

    Raises:
        ChallengerError: They cannot, with all reasons; no row was read.
    """
    champion, challenger = contracts
    problems = [
        *_output_problems(champion.predictions, challenger.predictions),
        *_class_problems(*(one.classes or () for one in facts)),
    ]

    carried = [(column.name, column.type) for column in champion.passthrough]
    problems += assignment_problems(assignment, pa.schema(carried))

    if problems:
        first = problems[0].rstrip(".")
        raise ChallengerError(
            f"The challenger cannot stand in one table with the job's own model: {first}.",
            expected="the same prediction columns, types and classes, and keys to assign rows by",
            problems=problems[1:],
            next_step="write mode: shadow, which compares models whose outputs differ",
        )


def check_limits(limits: Limits, results: Sequence[ChallengerResult]) -> None:
    """Check how many rows of its arm the challenger alone has refused.

    Args:
        limits: Of the job. Shares are of the arm's rows.
        results: Of the challenger, one a shard.

    Raises:
        ChallengerError: More than the job allows.
    """
    n_refused = sum(one.n_refused_alone for one in results)
    n_assigned = sum(one.result.rows_in for one in results if one.result is not None)
    allowed = allowed_rows(limits, n_assigned)

    if n_refused > allowed:
        raise ChallengerError(
            f"The challenger refused {counted(n_refused, 'row')} of its arm that the job's own "
            "model has scored, so the canary ended.",
            expected=f"at most {allowed:,} of {counted(n_assigned, 'row')} "
            "(limits.max_quarantined_rows, limits.max_quarantined_share)",
            found=f"{n_refused:,}",
            next_step="train a version that takes these rows, or raise the limit in the job file",
        )


def note_canary(execution: Execution, results: Sequence[ChallengerResult]) -> None:
    """Record what the workers count of a canary that has scored its arm."""
    canary = execution.record.manifest.canary
    if canary is None:
        return

    predictor = merge_predictors(one.result.predictor for one in results if one.result is not None)
    counts = {
        "engine": predictor.engine if predictor is not None else "",
        "rows": sum(one.n_published for one in results),
        "rows_refused_alone": sum(one.n_refused_alone for one in results),
    }
    execution.record.update(canary=canary.model_copy(update=counts))


def without_canary(execution: Execution, plan: RunPlan) -> RunPlan:
    """The plan of a run whose canary has ended: its fingerprint is that of the job's own model."""
    canary = execution.record.manifest.canary
    if canary is None:
        return plan

    alone = canary.champion_fingerprint
    execution.record.update(canary=None, fingerprint=alone)
    return replace(plan, fingerprint=alone, shards=replace(plan.shards, fingerprint=alone))


def discard_mixed(execution: Execution) -> set[int]:
    """Remove the parts that have rows of the challenger. Returns the numbers of their shards."""
    mixed = [result for result in execution.results.in_order() if result.challengers]
    paths = [result.part.file.path for result in mixed]

    # What cannot be removed now is left to `clean`.
    with contextlib.suppress(ScoringError, OSError):
        execution.workspace.parts.delete(paths)

    execution.results.discard(mixed)
    return {result.index for result in mixed}


def _output_problems(
    champion: Sequence[OutputColumn], challenger: Sequence[OutputColumn]
) -> list[str]:
    ours = {column.name: str(column.type) for column in champion}
    theirs = {column.name: str(column.type) for column in challenger}

    problems = []
    for name in dict.fromkeys([*ours, *theirs]):
        own, other = ours.get(name, "not there"), theirs.get(name, "not there")
        if own != other:
            problems.append(f"{name} is {own} of the job's own model, {other} of the challenger")

    return problems


def _class_problems(champion: Sequence[object], challenger: Sequence[object]) -> list[str]:
    if list(champion) == list(challenger):
        return []
    return [
        f"the classes are {list(champion)} of the job's own model, {list(challenger)} of the "
        "challenger"
    ]
