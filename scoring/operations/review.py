"""Releases or drops what a gate has held; who did, when and why stays in the run's record."""

import getpass
from datetime import datetime
from typing import Literal

from nightscore.errors import (
    ConflictError,
    ContractError,
    InvalidJobError,
    LeaseError,
    LocationNotFoundError,
    PartitionNotFoundError,
)
from nightscore.ledger.history import PartitionHistory
from nightscore.ledger.layout import decision_path, state_store
from nightscore.ledger.lease import Lease
from nightscore.ledger.manifests import find_manifest, write_manifest
from nightscore.ledger.workspace import Workspace
from nightscore.outputs.guarantees import check_claims
from nightscore.outputs.publish import open_publisher, republication
from nightscore.outputs.publisher import Publisher
from nightscore.outputs.writer import WrittenPart
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import DecisionRecord, Manifest
from nightscore.schemas.partition import encode_folder


def find_held(job: ScoringJob, value: str | None, run_id: str | None = None) -> Manifest:
    """The partition's run that waits for a decision: the newest, or the one that is named.

    Raises:
        PartitionNotFoundError: None waits.
        InvalidJobError: The run that is named does not.
    """
    history = PartitionHistory(Workspace(job), value)
    folder, manifests = history.folder, history.runs()
    held = [manifest for manifest in manifests if manifest.status == "held"]
    if run_id is not None:
        found = next((manifest for manifest in held if manifest.run_id == run_id), None)
        if found is None:
            waiting = ", ".join(manifest.run_id for manifest in held) or "none"
            raise InvalidJobError(
                "This run does not wait for a decision.",
                folder,
                expected=f"a run that does: {waiting}",
                found=run_id,
                next_step="`nightscore runs JOB PARTITION` lists the runs",
            )
        return found
    if not held:
        newest = (
            f"{manifests[0].status}, run {manifests[0].run_id}" if manifests else "no run at all"
        )
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
        ContractError: The table does not take its predictions any more.
        LocationNotFoundError: Its files are gone.
        StorageError: Decisions cannot be claimed on this store.
    """
    check_claims(job, "approve")
    workspace = Workspace(job)
    publisher = open_publisher(workspace)
    with Lease(job, encode_folder(held.partition_key, held.partition), "approve") as lease:
        _claim(job, held, "approved")
        try:
            parts, version = _publish(workspace, publisher, held, lease)
        except LeaseError:
            raise
        except (ConflictError, ContractError, LocationNotFoundError):
            # It cannot be approved any more, but it can still be rejected.
            state_store(job).delete([decision_path(held.run_id)])
            raise
        files = tuple(part.file for part in parts)
        output = held.output.model_copy(update={"files": files, "table_version": version})
        fields = {"status": "published", "finished_at": now, "output": output}
        return _decided(job, held, "approved", now, note, fields)


def _publish(
    workspace: Workspace, publisher: Publisher, held: Manifest, lease: Lease
) -> tuple[tuple[WrittenPart, ...], int | None]:
    folder = encode_folder(held.partition_key, held.partition)
    live = publisher.live(held.partition)
    seen = live.run_id if live else None
    if seen not in (held.replaces, held.run_id):
        raise ConflictError(
            "Another run published this partition since; nothing was changed.",
            folder,
            expected=f"run {held.replaces}"
            if held.replaces
            else "no predictions, as when the run was held",
            found=f"run {seen}",
            next_step="reject the run that is held, or score the partition again with --force",
        )
    if live is not None and live.run_id != held.run_id:
        PartitionHistory(workspace, held.partition).complete(live)
    return publisher.publish(republication(workspace, publisher, held, lease), live)


def reject(job: ScoringJob, held: Manifest, now: datetime, note: str = "") -> Manifest:
    """Drop a run that was held: its files are removed, its record stays.

    The same input is not scored with the same model again unless that is forced.

    Raises:
        ConflictError: Its predictions are what readers see, or somebody else approves it; nothing was changed.
        StorageError: Decisions cannot be claimed on this store.
    """
    check_claims(job, "reject")
    folder = encode_folder(held.partition_key, held.partition)
    publisher = open_publisher(Workspace(job))
    with Lease(job, folder, "reject") as lease:
        live = publisher.live(held.partition)
        if live is not None and live.run_id == held.run_id:
            raise ConflictError(
                "The run is published: its approval came to its commit; nothing was changed.",
                folder,
                expected="a run that readers do not see",
                found=f"run {held.run_id} is what they see",
                next_step="approve it again, which completes its record; then `nightscore rollback` can take it back",
            )
        _claim(job, held, "rejected")
        lease.check()
        decided = _decided(job, held, "rejected", now, note, {"status": "rejected"})
        lease.check()
        publisher.drop(held)
        return decided


def _claim(job: ScoringJob, held: Manifest, verdict: Literal["approved", "rejected"]) -> None:
    """Be the one who decides; the same verdict again goes on with what died half way.

    Raises:
        ConflictError: Somebody decided otherwise, or the run does not wait any more.
    """
    state, folder = state_store(job), encode_folder(held.partition_key, held.partition)
    try:
        state.create(decision_path(held.run_id), verdict.encode())
    except ConflictError as error:
        found = state.read_bytes(decision_path(held.run_id)).decode()
        if found != verdict:
            raise ConflictError(
                "Somebody else decided on this run; nothing was changed.",
                folder,
                expected="no decision yet",
                found=f"the run is being {found}",
                next_step="look at it with `nightscore runs`; if that decision died half way, give the same again",
            ) from error
    now = find_manifest(state, folder, held.run_id)
    if now is None or now.status != "held":
        raise ConflictError(
            "This run does not wait for a decision any more; nothing was changed.",
            folder,
            expected="a run that is held",
            found=f"{now.status}" if now else "no record",
            next_step="`nightscore runs JOB PARTITION` lists the runs",
        )


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
    return write_manifest(
        state_store(job), folder, held.model_copy(update=fields | {"decision": decision})
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in some containers
        return "unknown"
