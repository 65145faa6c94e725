"""Scores a partition's quarantined rows again, and puts them among the others in one commit."""

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from nightscore.arrow.parsing.files import read_facts
from nightscore.drift.recompare import compare_later
from nightscore.engine.events import Listener
from nightscore.engine.model_facts import learn_facts
from nightscore.engine.policy import let_pass
from nightscore.engine.pool import Pool
from nightscore.errors import (
    ConflictError,
    ContractError,
    CorruptFileError,
    InputError,
    InvalidJobError,
    PartitionNotFoundError,
    ReconciliationError,
)
from nightscore.inputs.casts import plain_type
from nightscore.inputs.footers import read_footers
from nightscore.inputs.partitions import find_partition
from nightscore.ledger.formats import format_of
from nightscore.ledger.history import PartitionHistory
from nightscore.ledger.layout import part_path, parts_store, sealed_history_path
from nightscore.ledger.live import Live
from nightscore.ledger.workspace import Workspace
from nightscore.models.cache import ModelCache
from nightscore.models.pinned import PinnedModel
from nightscore.outputs.merge import Merge, merge_rows
from nightscore.outputs.publish import open_publisher
from nightscore.outputs.quarantine import REASON_NAMES, read_origin
from nightscore.outputs.sealed import RUN_KEY
from nightscore.outputs.writer import WrittenPart
from nightscore.planning.environment import cache_warnings, library_versions, version_warnings
from nightscore.planning.plan import PlannedWorkers, plan_partition
from nightscore.profiles.column_records import merge_records
from nightscore.runs.attempt import Attempt
from nightscore.schemas.contract import Contract
from nightscore.schemas.job import Input, ScoringJob
from nightscore.schemas.manifest import Counts, FileRecord, Manifest
from nightscore.schemas.model import ModelFacts
from nightscore.schemas.partition import InputFile, Partition, hive_of
from nightscore.storage.store import Store

Places = npt.NDArray[np.int64]
MERGED_SHARD = 99_999
"""Number in the name of the merged file, which is no shard's."""


def replay(
    job: ScoringJob,
    value: str | None,
    *,
    pool: Pool,
    cache: ModelCache,
    now: datetime,
    allow_new_model: bool = False,
    listeners: Sequence[Listener] = (),
) -> Manifest:
    """Score the rows that the published run has quarantined, under the job as it is now.

    The rows come from the quarantine, not from the input, which may have gone. All other rows stay as they are, and
    carry the id of the run that scored them. Rows that cannot be scored now either stay in quarantine.

    Args:
        job: The job, with another policy than then, say.
        value: Partition value.
        pool: Workers.
        cache: Models of this host.
        now: In UTC.
        allow_new_model: Score with another model version than the other rows' all the same.
        listeners: Told what happens, besides the log.

    Returns:
        The manifest: `published`, `held` by a gate, `failed`, or `unchanged` where nothing is in quarantine.

    Raises:
        RunInterrupted: Ctrl-C or SIGTERM; recorded as failed, nothing was published.
        PartitionNotFoundError: Nothing is published.
    """
    workspace = Workspace(job)
    attempt = Attempt(workspace, value, pool, cache, now, listeners, command="replay")
    live = open_publisher(workspace).live(value)
    history = PartitionHistory(workspace, value)
    history.complete(live)
    base = history.find(live.run_id) if live and live.run_id else None
    if live is None or base is None:
        raise PartitionNotFoundError(
            "Nothing is published for this partition whose quarantine could be replayed.",
            f"{job.output.uri}/{attempt.folder}",
            found="no predictions"
            if live is None
            else f"predictions without a record (run {live.run_id})",
            next_step="run it; rows in quarantine of a run that failed are in its input still",
        )
    if not base.quarantine.files:
        return base.model_copy(update={"status": "unchanged"})
    found = base
    manifest = attempt.carry_out(lambda: _score(attempt, found, allow_new_model=allow_new_model))
    if manifest.status in ("published", "held"):
        compare_later(workspace, [value], cache, datetime.now(UTC))
    return manifest


def _score(attempt: Attempt, base: Manifest, *, allow_new_model: bool) -> Manifest:
    record, job, workspace = attempt.record, attempt.job, attempt.workspace
    state = workspace.state
    with record.stage("model"):
        model = PinnedModel.resolve(job, attempt.cache)
        _check_model(base, model, allowed=allow_new_model)
        record.update(
            model=model.record(job), policy=job.policy, replays=base.run_id, replaces=base.run_id
        )
    with record.stage("plan"):
        publisher = open_publisher(workspace)
        promises = attempt.tell_promises()
        live = publisher.live(attempt.value)
        _check_live(attempt, base, live)
        old = publisher.find_results(base)
        files = _quarantined(state, base.quarantine.files)
        starts, fingerprint = _look_at_input(workspace, base, model)
        in_order = base.in_order and starts is not None
        record.update(
            fingerprint=fingerprint,
            inputs=base.inputs,
            in_order=in_order,
            libraries=library_versions(),
        )
        record.save("running")
        facts = learn_facts(model, attempt.cache, attempt.pool)
        record.update(
            model=model.record(job, facts),
            warnings=(
                *model.warnings,
                *version_warnings(facts),
                *cache_warnings(model, facts),
                *promises,
            ),
        )
        attempt.replay_from(_source(job, state, facts, files), base.counts.rows_in)
        partition = Partition(base.partition_key, base.partition, attempt.folder, files)
        plan, contract = plan_partition(
            attempt.source,
            model,
            facts,
            partition,
            PlannedWorkers(attempt.pool.capacity, attempt.pool),
            nullable=_with_missing(base),
        )
        _check_columns(job, old, contract)
        record.warn(*publisher.check_fits(contract.output_schema(), attempt.value))
    with record.stage("score"):
        attempt.score_shards(plan, contract, model, facts)
    attempt.summarize(plan)
    attempt.reconcile(plan)
    with record.stage("publish"):
        places = _places(state, files, starts)
        again = _places(state, record.manifest.quarantine.files, starts)
        scored = places[~np.isin(places, again)]
        _check_places(attempt, len(scored))
        before = scored - np.searchsorted(
            np.sort(places), scored
        )  # of all before, without the quarantined
        if starts is None:
            before = np.full(len(scored), base.counts.rows_scored)
        merged = _merge(attempt, old, contract, scored, before)
        _sum_up(attempt, base, merged)
        if attempt.check_gates([merged]):
            return attempt.hold()
        attempt.publish(publisher, fingerprint, contract, live, (merged,))
    attempt.forget_parts()
    return record.end_published(attempt.worker_cpu_s)


def _with_missing(base: Manifest) -> frozenset[str]:
    """Features that had missing values anywhere in the partition: their type is that of the rows scored then."""
    return frozenset(c.name for c in base.columns if c.role == "feature" and c.missing)


def _check_live(attempt: Attempt, base: Manifest, live: Live | None) -> None:
    if live is None or live.run_id != base.run_id:
        raise ConflictError(
            "Another run published this partition meanwhile; nothing was scored.",
            attempt.folder,
            expected=f"run {base.run_id}, whose quarantine is to be replayed",
            found=f"run {live.run_id}" if live else "no predictions",
            next_step="replay again: that run may have quarantined rows too",
        )


def _check_places(attempt: Attempt, n_places: int) -> None:
    n_rows = attempt.record.manifest.counts.rows_scored
    if n_places != n_rows:
        raise ReconciliationError(
            "The rows do not add up; nothing was published.",
            attempt.folder,
            expected=f"a place in the partition for each of {n_rows:,} scored rows",
            found=f"{n_places:,} places that are not in quarantine any more",
            next_step="report this as a defect of nightscore, with the manifest",
        )


def _check_model(base: Manifest, model: PinnedModel, *, allowed: bool) -> None:
    now = (model.version.name, model.version.version, model.cached.digest)
    if not allowed and now != (base.model.name, base.model.version, base.model.digest):
        raise InvalidJobError(
            "The job's model is another now; nothing was scored.",
            base.job,
            expected=f"{base.model.name} version {base.model.version} ({base.model.digest}), which scored the others",
            found=f"{now[0]} version {now[1]} ({now[2]})",
            next_step="score the whole partition with `nightscore run`, or mix the versions with --new-model",
        )


def _quarantined(state: Store, files: Sequence[FileRecord]) -> tuple[InputFile, ...]:
    """The files of quarantined rows, as they were written.

    Raises:
        CorruptFileError: Some are not any more; all of them are named.
    """
    problems, found = [], []
    for file in files:
        if state.sha256(file.path) != file.sha256:
            problems.append(f"{file.path}: has another checksum than when it was written")
            continue
        entry, (source, _) = state.describe(file.path), read_origin(state, file.path)
        found.append(InputFile(file.path, entry.size_bytes, entry.version, hive_of(source)))
    if problems:
        raise CorruptFileError(
            "Quarantined rows were changed; nothing was scored.",
            state.url,
            problems=problems,
            next_step="restore these files, or score the whole partition with `nightscore run --force`",
        )
    return tuple(found)


def _look_at_input(
    workspace: Workspace, base: Manifest, model: PinnedModel
) -> tuple[dict[str, int] | None, str]:
    """Each input file's first row in the partition, and the fingerprint of a run now.

    No rows where the input is not the one that was scored, or the published rows do not stand in its order. No
    fingerprint where a run now would not give what this replay gives: a later run then scores the partition whole.
    """
    if not base.in_order:
        return None, ""
    job = workspace.job
    then = {file.path: (file.size_bytes, file.version) for file in base.inputs.files}
    try:
        partition, _ = find_partition(workspace, base.partition)
        if then != {file.path: (file.size_bytes, file.version) for file in partition.files}:
            return None, ""
        footers = read_footers(workspace.inputs, partition.files)
    except InputError:
        return None, ""
    ends = accumulate((footer.n_rows for footer in footers), initial=0)
    starts = dict(zip((footer.file.path for footer in footers), ends, strict=False))
    return starts, model.fingerprint(job, partition) if _is_like(
        job, base, model, partition
    ) else ""


def _is_like(job: ScoringJob, base: Manifest, model: PinnedModel, partition: Partition) -> bool:
    """Whether a run now would score the rows that stay as they were, and set none of them apart."""
    if base.policy is None:
        return False
    then = model.fingerprint(job.model_copy(update={"policy": base.policy}), partition)
    return base.fingerprint == then and let_pass(base.policy) <= let_pass(job.policy)


def _source(
    job: ScoringJob, state: Store, facts: ModelFacts, files: Sequence[InputFile]
) -> ScoringJob:
    """The job over the quarantine."""
    place = Input(
        uri=state.url, partition_key=job.input.partition_key, storage_options=dict(state.options)
    )
    features = job.features
    if (
        not facts.features and not features
    ):  # by their place in the file, where reasons stand before them
        names = read_facts(state, files[0].path).schema.names
        apart = {*REASON_NAMES, *job.keys.columns, *job.pass_through, job.input.partition_key}
        features = tuple(name for name in names if name not in apart)
    return job.model_copy(update={"input": place, "features": features})


def _check_columns(job: ScoringJob, old: Sequence[WrittenPart], contract: Contract) -> None:
    published = read_facts(parts_store(job), old[0].file.path).schema
    then = {field.name: plain_type(field.type) for field in published}
    now = {field.name: plain_type(field.type) for field in contract.output_schema()}
    problems = [
        f"{name}: {then.get(name, 'not there')} in the published rows, {now.get(name, 'not there')} now"
        for name in dict.fromkeys([*then, *now])
        if then.get(name) != now.get(name)
    ]
    if problems:
        raise ContractError(
            "The job's columns are not those of the published rows; nothing was scored.",
            job.output.uri,
            problems=problems,
            next_step="score the whole partition with `nightscore run`",
        )


def _places(
    state: Store, files: Sequence[InputFile | FileRecord], starts: dict[str, int] | None
) -> Places:
    """Where quarantined rows stand in the partition; without the input a number that tells them apart."""
    origins = [read_origin(state, file.path) for file in files]
    if starts is None:
        starts = {
            name: index << 40 for index, name in enumerate(sorted({name for name, _ in origins}))
        }
    return np.concatenate([np.empty(0, np.int64), *(starts[name] + rows for name, rows in origins)])


def _merge(
    attempt: Attempt,
    old: Sequence[WrittenPart],
    contract: Contract,
    places: Places,
    before: Places,
) -> WrittenPart:
    job, run_id = attempt.job, attempt.record.run_id
    output_format = format_of(job)
    in_place = output_format.writes_in_place
    path = (
        part_path(attempt.folder, run_id, MERGED_SHARD, 0)
        if in_place
        else sealed_history_path(attempt.folder, run_id)
    )
    attempt.written.append(path)
    new = sorted(attempt.results, key=lambda result: result.index)
    merge = Merge(
        store=parts_store(job),
        old=tuple(part.file.path for part in old),
        new=tuple(result.part.file.path for result in new),
        places=places,
        before=before,
        path=path,
        schema=contract.output_schema(),
        keep_types=output_format.stores_arrow_schema,
        metadata={} if in_place else {RUN_KEY: run_id},
    )
    merged = attempt.pool.call(merge_rows, merge)
    output = attempt.record.manifest.output
    attempt.record.update(output=output.model_copy(update={"files": (merged.file,)}))
    return merged


def _sum_up(attempt: Attempt, base: Manifest, merged: WrittenPart) -> None:
    """The whole partition's counts, of which this attempt knows its own rows."""
    now = attempt.record.manifest
    counts = Counts(
        rows_in=base.counts.rows_in,
        rows_scored=base.counts.rows_scored + now.counts.rows_scored,
        rows_quarantined=now.counts.rows_quarantined,
    )
    if (
        counts.rows_in != counts.rows_scored + counts.rows_quarantined
        or merged.file.rows != counts.rows_scored
    ):
        raise ReconciliationError(
            "The rows do not add up; nothing was published.",
            attempt.folder,
            expected=f"{counts.rows_in:,} rows = scored + quarantined; {counts.rows_scored:,} in the merged file",
            found=f"{counts.rows_scored:,} scored, {counts.rows_quarantined:,} quarantined; {merged.file.rows:,}",
            next_step="report this as a defect of nightscore, with the manifest",
        )
    predictions = [column for column in now.columns if column.role == "prediction"]
    # The features were all profiled when they were read first; the few new predictions are not in it.
    attempt.record.update(
        counts=counts, columns=merge_records([*base.columns, *predictions]), drift=base.drift
    )
