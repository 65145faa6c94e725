"""Releases or drops what a gate has held; who did, when and why stays in the run's record."""

import getpass
from datetime import datetime
from typing import Literal

from schemas.job import ScoringJob
from schemas.manifest import DecisionRecord, Manifest
from schemas.partition import encode_folder
from scoring.errors import ConflictError, InvalidJobError, PartitionNotFoundError
from scoring.outputs.layout import state_store
from scoring.outputs.manifests import list_manifests, write_manifest
from scoring.outputs.publish import open_publisher, republication


def find_held(job: ScoringJob, value: str | None, run_id: str | None = None) -> Manifest:
    """The partition's run that waits for a decision: the newest, or the one that is named.

    Raises:
        PartitionNotFoundError: None waits.
        InvalidJobError: The run that is named does not.
    """
    folder = encode_folder(job.input.partition_key, value)
    manifests, _ = list_manifests(state_store(job), folder)
    held = [manifest for manifest in manifests if manifest.status == "held"]
    if run_id is not None:
        found = next((manifest for manifest in held if manifest.run_id == run_id), None)
        if found is None:
            waiting = ", ".join(manifest.run_id for manifest in held) or "none"
            raise InvalidJobError(
                "This run does not wait for a decision.", folder, expected=f"a run that does: {waiting}", found=run_id
            )
        return found
    if not held:
        newest = f"{manifests[0].status}, run {manifests[0].run_id}" if manifests else "no run at all"
        raise PartitionNotFoundError(
            "No run of this partition waits for a decision.",
            folder,
            expected="a run that a gate has held",
            found=newest,
            next_step="`nightscore runs JOB PARTITION` lists the runs",
        )
    return held[0]


def approve(job: ScoringJob, held: Manifest, now: datetime, note: str = "") -> Manifest:
    """Publish a run that was held.

    Raises:
        ConflictError: Readers see other results than when it was scored; nothing was changed.
        LocationNotFoundError: Its files are gone.
    """
    folder = encode_folder(held.partition_key, held.partition)
    publisher = open_publisher(job)
    live = publisher.live(held.partition)
    seen = live.run_id if live else None
    if seen not in (held.replaces, held.run_id):
        raise ConflictError(
            "Another run published this partition since; nothing was changed.",
            folder,
            expected=f"run {held.replaces}" if held.replaces else "no predictions, as when the run was held",
            found=f"run {seen}",
            next_step="reject the run that is held, or score the partition again with --force",
        )
    parts, version = publisher.publish(republication(job, publisher, held), live)
    output = held.output.model_copy(update={"files": tuple(part.file for part in parts), "table_version": version})
    return _decided(job, held, "approved", now, note, {"status": "published", "finished_at": now, "output": output})


def reject(job: ScoringJob, held: Manifest, now: datetime, note: str = "") -> Manifest:
    """Drop a run that was held: its files are removed, its record stays.

    The same input is not scored with the same model again unless that is forced.
    """
    decided = _decided(job, held, "rejected", now, note, {"status": "rejected"})
    open_publisher(job).drop(held)
    return decided


def _decided(
    job: ScoringJob,
    held: Manifest,
    verdict: Literal["approved", "rejected"],
    now: datetime,
    note: str,
    fields: dict[str, object],
) -> Manifest:
    decision = DecisionRecord(verdict=verdict, at=now, by=_user(), note=note)
    folder = encode_folder(held.partition_key, held.partition)
    return write_manifest(state_store(job), folder, held.model_copy(update=fields | {"decision": decision}))


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in some containers
        return "unknown"
