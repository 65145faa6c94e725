"""Tells runs that are alive from runs that died, and what readers see of the latter.

A run writes its record again every `HEARTBEAT_S`. It counts as dead when its process is gone, which
only its own host can tell, or when its last heartbeat is older than `LEASE_TIMEOUT_S` by the
store's own clock.
"""

import socket
from collections.abc import Sequence
from datetime import UTC, datetime

from nightscore.errors import ScoringError
from nightscore.ledger.layout import manifest_path
from nightscore.ledger.live import Live
from nightscore.ledger.manifest_files import find_manifest
from nightscore.process import is_running
from nightscore.schemas.manifest import ErrorRecord, FileRecord, Manifest
from nightscore.schemas.partition import encode_folder
from nightscore.storage.store import Store

HEARTBEAT_S = 20.0
"""Seconds between two heartbeats of a run or of the holder of a lease."""
LEASE_TIMEOUT_S = 120.0
"""Silence after which a run or a holder on another host counts as dead: six heartbeats."""
DIED = ErrorRecord(
    type="WorkerError",
    message="the run's process exited without recording a result",
    retryable=True,
)


def mark_dead_runs(store: Store, manifests: Sequence[Manifest]) -> list[Manifest]:
    """The manifests, with dead runs as failed. Nothing is written.

    Args:
        store: The state folder, which is asked now.
        manifests: As they are stored.
    """
    clock_s: float | None = None

    def has_timed_out(manifest: Manifest) -> bool:
        nonlocal clock_s
        try:
            if clock_s is None:
                clock_s = store.clock_s()
            return clock_s - _last_heartbeat_s(store, manifest) > LEASE_TIMEOUT_S
        except ScoringError:
            # The store cannot be written to or does not answer: nobody may take the run over.
            return False

    def mark(manifest: Manifest) -> Manifest:
        if manifest.status not in ("running", "prepared"):
            return manifest

        is_on_this_host = manifest.host == socket.gethostname()
        is_gone = is_on_this_host and not is_running(manifest.pid)
        if is_gone or has_timed_out(manifest):
            return manifest.model_copy(update={"status": "failed", "error": DIED})
        return manifest

    return [mark(manifest) for manifest in manifests]


def has_died(manifest: Manifest) -> bool:
    """Whether `mark_dead_runs` marked this run, now or when its death was recorded."""
    error = manifest.error
    return error is not None and error.type == DIED.type and error.message in DEATH_MESSAGES


DEATH_MESSAGES = (DIED.message, "the run's process died without a word")
"""Now, and as older versions recorded it."""


def reconcile_with_live(store: Store, manifest: Manifest, live: Live | None) -> Manifest:
    """The record of a run, as published where readers see its results.

    A process may die between its commit and its last record. Or it may hear of a failure though the
    commit succeeded.

    Args:
        store: The state folder.
        manifest: Of a run, marked as failed if it is dead.
        live: What readers see of the partition.
    """
    if live is None or manifest.result_id != live.run_id:
        return manifest

    wrote_the_files = manifest.run_id == live.run_id
    is_unrecorded = wrote_the_files and manifest.status in ("failed", "held")
    if not is_unrecorded and not has_died(manifest):
        return manifest

    folder = encode_folder(manifest.partition_key, manifest.partition)
    files = _published_files(store, folder, manifest, live)
    finished_at = manifest.finished_at or datetime.fromtimestamp(
        _last_heartbeat_s(store, manifest), UTC
    )

    return manifest.model_copy(
        update={
            "status": "published",
            "error": None,
            "output": manifest.output.model_copy(update={"files": files}),
            "finished_at": finished_at,
        }
    )


def _published_files(
    store: Store, folder: str, manifest: Manifest, live: Live
) -> tuple[FileRecord, ...]:
    writer: Manifest | None = manifest

    if not manifest.output.files:
        writer = find_manifest(store, folder, manifest.result_id)

    files = writer.output.files if writer else ()

    # A sealed object has moved since it was sealed.
    if len(files) == len(live.paths) == 1:
        return (files[0].model_copy(update={"path": live.paths[0]}),)

    return files


def _last_heartbeat_s(store: Store, manifest: Manifest) -> float:
    folder = encode_folder(manifest.partition_key, manifest.partition)
    return store.describe(manifest_path(folder, manifest.run_id)).modified_s
