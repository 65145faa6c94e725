"""Finished shards of a run that died, so that the next run resumes from there.

    <output.uri>.nightscore/checkpoints/<run_id>/<shard>.json   written once the part is durable
    <output.uri>.nightscore/checkpoints/<run_id>/claim-<n>      who creates it makes attempt n

The run resumes under its own id, which is in the rows and in the names of the parts that it has
written.
"""

import functools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from pydantic import TypeAdapter, ValidationError

import nightscore.errors
from nightscore.engine.shard import ShardResult, ShardTask
from nightscore.errors import LeaseError, ScoringError
from nightscore.ledger.history import PartitionHistory
from nightscore.ledger.layout import checkpoints_folder, claim_path, state_store
from nightscore.ledger.lease import Lease
from nightscore.ledger.liveness import mark_dead_runs
from nightscore.ledger.workspace import Workspace
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import Manifest
from nightscore.schemas.partition import MIN_SHARD_ROWS, Shard

READ_THREADS = 16


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One finished shard."""

    cut_for: int
    """Number of workers that the partition was cut for."""
    result: ShardResult
    least_shard_rows: int = MIN_SHARD_ROWS
    """Rows below which no shard was cut. The same two numbers give the same shards."""

    def is_cut_like(self, other: "Checkpoint") -> bool:
        """Whether both shards are of one cut."""
        cuts = {(one.cut_for, one.least_shard_rows) for one in (self, other)}
        return len(cuts) == 1


@dataclass(frozen=True, slots=True)
class Resumption:
    """A dead run that was taken over."""

    manifest: Manifest
    cut_for: int | None
    """Number of workers that the partition was cut for; None: nothing was finished."""
    results: tuple[ShardResult, ...]
    least_shard_rows: int | None = None
    """Rows below which no shard was cut; None: nothing was finished."""

    def fitting(self, shards: Sequence[Shard]) -> list[ShardResult]:
        """The results of shards that are the same in the new plan."""
        rows = {shard.index: shard.n_rows for shard in shards}
        return [result for result in self.results if rows.get(result.index) == result.rows_in]


_codec = TypeAdapter(Checkpoint)


def write_checkpoint(task: ShardTask, result: ShardResult) -> None:
    """Write the checkpoint of a finished shard.

    None is written where the search of refused rows was given up, or where not all of them are in
    the quarantine.
    """
    n_written = sum(file.rows for file in result.quarantine_files)
    if result.give_up_reason or n_written != result.rows_quarantined:
        return

    path = f"{checkpoints_folder(task.run_id)}/{task.shard.index:05d}.json"
    checkpoint = Checkpoint(task.cut_for, result, task.least_shard_rows)
    state_store(task.job).write_bytes(path, _codec.dump_json(checkpoint))


def take_over(
    workspace: Workspace,
    history: PartitionHistory,
    fingerprint: str,
    live_run_id: str | None,
    lease: Lease | None = None,
) -> Resumption | None:
    """The partition's newest run, if it died on the same work and nobody else resumes it.

    Args:
        workspace: The job's workspace.
        history: The partition's history.
        fingerprint: Identifies the work: the same inputs, model and settings.
        live_run_id: The run whose files readers see. If it died after its commit, nothing of it is
            touched.
        lease: The partition's lease. If there is such a run, the lease is held from then on, so
            that nobody removes what the run has finished. The caller releases it once it has
            written that it resumes the run.
    """
    state = workspace.state
    if not state.capabilities.can_create:
        return None  # `missing_guarantees` says so

    newest = history.newest()
    if newest is None or newest.run_id == live_run_id or newest.fingerprint != fingerprint:
        return None
    if newest.replays or not _is_resumable(*mark_dead_runs(state, [newest])):
        return None

    if lease is not None and not _acquired(lease):
        return None  # the run's files may be about to go

    checkpoints = _read(workspace, newest.run_id)
    if not checkpoints:
        return None

    try:
        state.create(claim_path(newest.run_id, newest.attempts + 1), b"")
    except ScoringError:
        return None  # somebody else was first: the work is done again

    results = tuple(checkpoint.result for checkpoint in checkpoints)

    return Resumption(newest, checkpoints[0].cut_for, results, checkpoints[0].least_shard_rows)


def forget(job: ScoringJob, run_id: str) -> None:
    """Remove the checkpoints of a run."""
    state_store(job).delete_tree(checkpoints_folder(run_id))


def _acquired(lease: Lease) -> bool:
    try:
        lease.acquire()
    except LeaseError:
        return False
    return True


def _is_resumable(manifest: Manifest) -> bool:
    """Whether a run has failed with an error after which another attempt may succeed."""
    error_type = manifest.error.type if manifest.error else "ScoringError"
    error_class = getattr(nightscore.errors, error_type, ScoringError)
    return manifest.status == "failed" and bool(error_class.resumable)


def _read(workspace: Workspace, run_id: str) -> list[Checkpoint]:
    """The checkpoints of one cut whose files are still there, whole."""
    state, folder = workspace.state, checkpoints_folder(run_id)
    paths = [entry.path for entry in state.list_files(folder) if entry.path.endswith(".json")]
    with ThreadPoolExecutor(READ_THREADS) as threads:
        read = list(threads.map(functools.partial(_read_one, workspace), paths))

    checkpoints = [one for one in read if one and not _is_mixed(one.result)]
    return [one for one in checkpoints if one.is_cut_like(checkpoints[0])]


def _is_mixed(result: ShardResult) -> bool:
    """Whether a part has rows of a canary's challenger, which a run that goes on has no more."""
    return any(one.n_published for one in result.challengers)


def _read_one(workspace: Workspace, path: str) -> Checkpoint | None:
    """A checkpoint; None if it, or one of its files, is damaged: that shard is scored again."""
    try:
        checkpoint = _codec.validate_json(workspace.state.read_bytes(path))
        result = checkpoint.result
        files = [(workspace.parts, result.part.file)]
        in_state = (*result.quarantine_files, *result.sample_files)
        files += [(workspace.state, file) for file in in_state]

        is_whole = all(
            store.describe(file.path).size_bytes == file.size_bytes for store, file in files
        )
        return checkpoint if is_whole else None
    except (ScoringError, ValidationError):
        return None
