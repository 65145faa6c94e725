"""Plans a replay: the rows in quarantine are scored under the job as it is now.

A replay has the steps of a run. What differs is here: where its rows come from, and where they
belong.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from nightscore.arrow.parsing.files import read_facts
from nightscore.engine.planning.environment import library_versions
from nightscore.engine.planning.plan import PlannedWorkers, plan_partition
from nightscore.engine.value_policy import let_pass
from nightscore.errors import (
    ConflictError,
    ContractError,
    CorruptFileError,
    InputError,
    InvalidJobError,
)
from nightscore.inputs.casts import plain_type
from nightscore.inputs.footers import read_footers
from nightscore.inputs.partitions import find_partition
from nightscore.ledger.live import Live
from nightscore.ledger.workspace import Workspace
from nightscore.models.pinned import PinnedModel
from nightscore.outputs.publish import open_publisher
from nightscore.outputs.quarantine import REASON_NAMES, read_origin
from nightscore.outputs.writer import WrittenPart
from nightscore.runs.drift_check import DriftCheck
from nightscore.runs.execution import Execution
from nightscore.runs.owner import check_owner
from nightscore.runs.partition_state import log_missing_guarantees, resolve_model
from nightscore.runs.run_plan import RunPlan, SourceRows, learn_model
from nightscore.schemas.canary import CanaryRecord
from nightscore.schemas.contract import Contract
from nightscore.schemas.job import Input, ScoringJob
from nightscore.schemas.manifest import InputRecord, Manifest
from nightscore.schemas.model import ModelFacts
from nightscore.schemas.model_uri import named_model
from nightscore.schemas.partition import InputFile, Partition, hive_of, show_value
from nightscore.storage.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayPlan:
    """What a replay will do."""

    base: Manifest
    """The published run whose quarantine is replayed."""
    published: tuple[WrittenPart, ...]
    """The files of that run."""
    quarantined: tuple[InputFile, ...]
    """The files of its quarantine."""
    first_rows: dict[str, int] | None
    """First row of each input file in the partition. None: the input has changed, or the order is
    lost."""
    run: RunPlan


def plan_replay(execution: Execution, base: Manifest, *, allow_new_model: bool) -> ReplayPlan:
    """Check that the quarantine can be replayed, and plan it like a run.

    Args:
        execution: Of the replay.
        base: The published run.
        allow_new_model: Score with another model version than the other rows.

    Raises:
        InvalidJobError: The job has another model now, or another job published the run.
        ConflictError: Another run has been published.
        CorruptFileError: The quarantine has been changed.
        ContractError: The job has other columns now.
    """
    record, job, state = execution.record, execution.job, execution.workspace.state
    model = resolve_model(execution, None)
    check_owner(job, base)
    _check_model(job, base, model, is_any_allowed=allow_new_model)
    record.update(replays=base.run_id, replaces=base.run_id)

    with record.stage("plan"):
        publisher = open_publisher(execution.workspace)
        notes = log_missing_guarantees(execution)
        live = publisher.live(execution.value)
        _check_live(execution, base, live)
        published = publisher.find_results(base)

        quarantined = _find_quarantined(execution.workspace, base)
        first_rows, fingerprint, canary = _look_at_input(execution.workspace, base, model)

        record.update(
            fingerprint=fingerprint,
            canary=canary,
            inputs=base.inputs,
            in_order=base.in_order and first_rows is not None,
            libraries=library_versions(),
        )
        record.save("running")
        facts = learn_model(execution, model, notes)

        job_over_quarantine = _job_over_quarantine(job, state, facts, quarantined)
        shards, contract = plan_partition(
            job_over_quarantine,
            model,
            facts,
            Partition(base.partition_key, base.partition, execution.folder, quarantined),
            PlannedWorkers(execution.pool.capacity, execution.pool, may_measure=True),
            nullable=_nullable_features(base),
        )
        _check_columns(execution.workspace, base, published, contract)
        record.warn(*publisher.check_fits(contract.output_schema(), execution.value))

    source = SourceRows(job=job_over_quarantine, n_rows=base.counts.rows_in, from_quarantine=True)
    run_plan = RunPlan(
        model=model,
        facts=facts,
        source=source,
        shards=shards,
        contract=contract,
        fingerprint=fingerprint,
        publisher=publisher,
        live=live,
        drift_check=DriftCheck(execution),
    )

    return ReplayPlan(
        base=base,
        published=published,
        quarantined=quarantined,
        first_rows=first_rows,
        run=run_plan,
    )


def _nullable_features(base: Manifest) -> frozenset[str]:
    """Features that had missing values anywhere in the partition, which decides their type."""
    nullable = set()
    for column in base.columns:
        if column.role == "feature" and column.missing:
            nullable.add(column.name)
    return frozenset(nullable)


def _check_live(execution: Execution, base: Manifest, live: Live | None) -> None:
    """Refuse a replay of a run that readers no longer see."""
    if live is None or live.run_id != base.run_id:
        raise ConflictError(
            "Another run published this partition meanwhile; nothing was scored.",
            execution.folder,
            expected=f"run {base.run_id}, whose quarantine is to be replayed",
            found=f"run {live.run_id}" if live else "no predictions",
            next_step="replay again: that run may have quarantined rows too",
        )


def _check_model(
    job: ScoringJob, base: Manifest, model: PinnedModel, *, is_any_allowed: bool
) -> None:
    """Refuse another model than that of the published rows, unless any is allowed."""
    name, version, digest = model.version.name, model.version.version, model.cached.digest
    scored_with = base.model
    is_same = (name, version, digest) == (scored_with.name, scored_with.version, scored_with.digest)

    if not is_same and not is_any_allowed:
        raise InvalidJobError(
            "The job's model is another now; nothing was scored.",
            base.job,
            expected=f"{named_model(scored_with.name, scored_with.version)} "
            f"({scored_with.digest}), which scored the others",
            found=f"{model.version} ({digest})",
            next_step=f"score the whole partition with `{_run_command(job, base.partition)}`, "
            "or mix the versions with --new-model",
        )


def _run_command(job: ScoringJob, value: str | None, *options: str) -> str:
    return job.command("run", show_value(value), *options)


def _find_quarantined(workspace: Workspace, base: Manifest) -> tuple[InputFile, ...]:
    """The files of quarantined rows, as they were written.

    Raises:
        CorruptFileError: Some have changed since; all of them are named.
    """
    state = workspace.state
    quarantined, problems = [], []

    for file in base.quarantine.files:
        if state.sha256(file.path) != file.sha256:
            problems.append(f"{file.path}: has another checksum than when it was written")
            continue

        entry = state.describe(file.path)
        source_path, _ = read_origin(state, file.path)
        quarantined.append(
            InputFile(file.path, entry.size_bytes, entry.version, hive_of(source_path))
        )

    if problems:
        raise CorruptFileError(
            "Quarantined rows were changed; nothing was scored.",
            state.url,
            problems=problems,
            next_step="restore these files, or score the whole partition with "
            f"`{_run_command(workspace.job, base.partition, '--force')}`",
        )

    return tuple(quarantined)


def _look_at_input(
    workspace: Workspace, base: Manifest, model: PinnedModel
) -> tuple[dict[str, int] | None, str, CanaryRecord | None]:
    """The first row of each input file in the partition, and the fingerprint of a run now.

    And the arms of the published rows, of which the rows are that come back.

    No rows if the input is not the one that was scored, or the published rows do not stand in its
    order. No fingerprint if a run now would not give what this replay gives: a later run then
    scores the whole partition.
    """
    canary = base.canary and base.canary.model_copy(update={"champion_fingerprint": ""})
    if not base.in_order:
        return None, "", canary

    try:
        partition, _ = find_partition(workspace, base.partition)
        if _file_versions(partition.files) != _file_versions(base.inputs.files):
            return None, "", canary
        footers = read_footers(workspace.inputs, partition.files)
    except InputError:
        return None, "", canary

    first_rows: dict[str, int] = {}
    n_rows_before = 0
    for footer in footers:
        first_rows[footer.file.path] = n_rows_before
        n_rows_before += footer.n_rows

    if not _would_score_alike(workspace.job, base, model, partition):
        return first_rows, "", canary

    alone = model.fingerprint(workspace.job, partition)
    if canary is None:
        return first_rows, alone, None

    canary = canary.model_copy(update={"champion_fingerprint": alone})
    return first_rows, model.fingerprint(workspace.job, partition, canary), canary


def _file_versions(files: Sequence[InputFile | InputRecord]) -> dict[str, tuple[int, str]]:
    """Path to size and version."""
    return {file.path: (file.size_bytes, file.version) for file in files}


def _would_score_alike(
    job: ScoringJob, base: Manifest, model: PinnedModel, partition: Partition
) -> bool:
    """Whether a run now would score all rows that stay, and score them as before."""
    if base.policy is None:
        return False

    base_job = job.model_copy(update={"policy": base.policy})
    is_same_work = base.work == model.fingerprint(base_job, partition)
    return is_same_work and let_pass(base.policy) <= let_pass(job.policy)


def _job_over_quarantine(
    job: ScoringJob, state: Store, facts: ModelFacts, files: Sequence[InputFile]
) -> ScoringJob:
    """The job with the quarantine for its input."""
    place = Input(
        uri=state.url, partition_key=job.input.partition_key, storage_options=dict(state.options)
    )

    features = job.features
    if not facts.features and not features:
        # The model takes columns by their place. In the quarantine, reasons stand before them.
        names = read_facts(state, files[0].path).schema.names
        set_apart = {*REASON_NAMES, *job.keys.columns, *job.pass_through, job.input.partition_key}
        features = tuple(name for name in names if name not in set_apart)

    return job.model_copy(update={"input": place, "features": features})


def _check_columns(
    workspace: Workspace, base: Manifest, published: Sequence[WrittenPart], contract: Contract
) -> None:
    """Refuse columns that could not stand in one file with the published rows."""
    published_schema = read_facts(workspace.parts, published[0].file.path).schema
    published_types = _plain_types(published_schema)
    replayed_types = _plain_types(contract.output_schema())

    problems = []
    for name in dict.fromkeys([*published_types, *replayed_types]):
        published_type = published_types.get(name, "not there")
        replayed_type = replayed_types.get(name, "not there")
        if published_type != replayed_type:
            problems.append(f"{name}: {published_type} in the published rows, {replayed_type} now")

    if problems:
        raise ContractError(
            "The job's columns are not those of the published rows; nothing was scored.",
            workspace.job.output.uri,
            problems=problems,
            next_step="score the whole partition with "
            f"`{_run_command(workspace.job, base.partition)}`",
        )


def _plain_types(schema: pa.Schema) -> dict[str, pa.DataType]:
    """Column to its type, whatever the encoding of its values."""
    return {field.name: plain_type(field.type) for field in schema}
