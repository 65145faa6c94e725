"""What a run that died has finished, so that the next one goes on from there.

    <output.uri>.nightscore/checkpoints/<run_id>/<shard>.json   written by the worker once its part is durable
    <output.uri>.nightscore/checkpoints/<run_id>/claim-<n>      who creates it makes the n-th attempt

The run goes on under its own id, which is in the rows and in the names of the parts that it has written.
"""

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
from nightscore.schemas.partition import Shard

READ_THREADS = 16


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One finished shard."""

    cut_for: int
    """Number of workers that the partition was cut for: the same number gives the same shards."""
    result: ShardResult


@dataclass(frozen=True, slots=True)
class Resumption:
    """A dead run that was taken over."""

    manifest: Manifest
    cut_for: int | None
    """None: nothing was finished."""
    results: tuple[ShardResult, ...]

    def fitting(self, shards: Sequence[Shard]) -> list[ShardResult]:
        """The results of shards that are the same in the new plan."""
        rows = {shard.index: shard.n_rows for shard in shards}
        return [result for result in self.results if rows.get(result.index) == result.rows_in]


_codec = TypeAdapter(Checkpoint)


def write_checkpoint(task: ShardTask, result: ShardResult) -> None:
    """Note a finished shard, unless its count of refused rows was given up or not all of them were kept."""
    if (
        result.gave_up
        or sum(file.rows for file in result.quarantine_files) != result.rows_quarantined
    ):
        return
    path = f"{checkpoints_folder(task.run_id)}/{task.shard.index:05d}.json"
    state_store(task.job).write_bytes(path, _codec.dump_json(Checkpoint(task.cut_for, result)))


def take_over(
    workspace: Workspace,
    history: PartitionHistory,
    fingerprint: str,
    live_run_id: str | None,
    lease: Lease | None = None,
) -> Resumption | None:
    """The partition's newest run, if it died on the same work and nobody else goes on with it.

    Args:
        workspace: Of the job.
        history: Of the partition.
        fingerprint: Of the work: the same inputs, model and settings.
        live_run_id: The run whose files readers see: it died after its commit, and nothing of it is touched.
        lease: Of the partition. It is held from then on, if there is such a run, until the caller has written that it
            goes on with it: nobody removes what the run has finished.
    """
    state = workspace.state
    if not state.capabilities.can_create:
        return None  # `missing_guarantees` says so
    newest = history.newest()
    if (
        newest is None
        or newest.run_id == live_run_id
        or newest.replays
        or newest.fingerprint != fingerprint
        or not _is_resumable(*mark_dead_runs(state, [newest]))
    ):
        return None
    try:
        if lease is not None:
            lease.acquire()
    except LeaseError:
        return None  # its files may be about to go
    found = _read(workspace, newest.run_id)
    if not found:
        return None
    try:
        state.create(claim_path(newest.run_id, newest.attempts + 1), b"")
    except ScoringError:
        return None  # somebody else was first: the work is done again
    return Resumption(newest, found[0].cut_for, tuple(checkpoint.result for checkpoint in found))


def forget(job: ScoringJob, run_id: str) -> None:
    """Remove the checkpoints of a run."""
    state_store(job).delete_tree(checkpoints_folder(run_id))


def _is_resumable(manifest: Manifest) -> bool:
    kind = (
        getattr(nightscore.errors, manifest.error.type, ScoringError)
        if manifest.error
        else ScoringError
    )
    return manifest.status == "failed" and bool(kind.resumable)


def _read(workspace: Workspace, run_id: str) -> list[Checkpoint]:
    """The checkpoints of one cut whose files are still there, whole."""
    parts, state = workspace.parts, workspace.state

    def attempt(path: str) -> Checkpoint | None:
        try:
            checkpoint = _codec.validate_json(state.read_bytes(path))
            files = [
                (parts, checkpoint.result.part.file),
                *((state, f) for f in checkpoint.result.quarantine_files),
            ]
            if all(
                store.describe(file.path).size_bytes == file.size_bytes for store, file in files
            ):
                return checkpoint
        except (ScoringError, ValidationError):
            pass  # that shard is scored again
        return None

    paths = [
        e.path for e in state.list_files(checkpoints_folder(run_id)) if e.path.endswith(".json")
    ]
    with ThreadPoolExecutor(READ_THREADS) as threads:
        found = [checkpoint for checkpoint in threads.map(attempt, paths) if checkpoint]
    return [checkpoint for checkpoint in found if checkpoint.cut_for == found[0].cut_for]
