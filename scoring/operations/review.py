"""Approves or rejects a run that a gate holds.

Who did it, when and why stays in the run's record.
"""

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
from nightscore.ledger.layout import decision_path
from nightscore.ledger.lease import Lease
from nightscore.ledger.manifests import find_manifest, write_manifest
from nightscore.ledger.workspace import Workspace
from nightscore.outputs.guarantees import check_claims
from nightscore.outputs.publish import open_publisher, republication
from nightscore.outputs.publisher import Publisher
from nightscore.outputs.writer import WrittenPart
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import DecisionRecord, Manifest

Verdict = Literal["approved", "rejected"]

LIST_RUNS = "`nightscore runs JOB PARTITION` lists the runs"


def find_held(job: ScoringJob, value: str | None, run_id: str | None = None) -> Manifest:
    """The run of the partition that waits for a review: the newest, or the named one.

    Raises:
        PartitionNotFoundError: None waits.
        InvalidJobError: The named run does not wait.
    """
    history = PartitionHistory(Workspace(job), value)
    runs = history.runs()
    held = [manifest for manifest in runs if manifest.status == "held"]

    if run_id is not None:
        return _find_named(held, run_id, history.folder)
    if held:
        return held[0]

    newest = f"{runs[0].status}, run {runs[0].run_id}" if runs else "no run at all"
    raise PartitionNotFoundError(
        "No run of this partition waits for a decision.",
        history.folder,
        expected="a run that a gate has held",
        found=newest,
        next_step=LIST_RUNS,
    )


def _find_named(held: list[Manifest], run_id: str, folder: str) -> Manifest:
    for manifest in held:
        if manifest.run_id == run_id:
            return manifest

    waiting = ", ".join(manifest.run_id for manifest in held) or "none"
    raise InvalidJobError(
        "This run does not wait for a decision.",
        folder,
        expected=f"a run that does: {waiting}",
        found=run_id,
        next_step=LIST_RUNS,
    )


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

    with Lease(job, workspace.folder(held.partition), "approve") as lease:
        _claim(workspace, held, "approved")

        try:
            parts, table_version = _publish(workspace, publisher, held, lease)
        except LeaseError:
            raise
        except (ConflictError, ContractError, LocationNotFoundError):
            # It cannot be approved any more, but it can still be rejected.
            workspace.state.delete([decision_path(held.run_id)])
            raise

        files = tuple(part.file for part in parts)
        output = held.output.model_copy(update={"files": files, "table_version": table_version})
        published = held.model_copy(
            update={"status": "published", "finished_at": now, "output": output}
        )

        return _record_decision(workspace, published, "approved", now, note)


def _publish(
    workspace: Workspace, publisher: Publisher, held: Manifest, lease: Lease
) -> tuple[tuple[WrittenPart, ...], int | None]:
    live = publisher.live(held.partition)
    live_run_id = live.run_id if live else None
    if live_run_id not in (held.replaces, held.run_id):
        nothing = "no predictions, as when the run was held"
        raise ConflictError(
            "Another run published this partition since; nothing was changed.",
            workspace.folder(held.partition),
            expected=f"run {held.replaces}" if held.replaces else nothing,
            found=f"run {live_run_id}",
            next_step="reject the run that is held, or score the partition again with --force",
        )

    if live_run_id != held.run_id:
        PartitionHistory(workspace, held.partition).complete(live)

    return publisher.publish(republication(workspace, publisher, held, lease), live)


def reject(job: ScoringJob, held: Manifest, now: datetime, note: str = "") -> Manifest:
    """Drop a run that was held: its files are removed, its record stays.

    The same input is not scored with the same model again unless that is forced.

    Raises:
        ConflictError: Its predictions are what readers see, or somebody else approves it; nothing
            was changed.
        StorageError: Decisions cannot be claimed on this store.
    """
    check_claims(job, "reject")
    workspace = Workspace(job)
    folder, publisher = workspace.folder(held.partition), open_publisher(workspace)
    with Lease(job, folder, "reject") as lease:
        live = publisher.live(held.partition)
        if live is not None and live.run_id == held.run_id:
            raise ConflictError(
                "The run is published: its approval came to its commit; nothing was changed.",
                folder,
                expected="a run that readers do not see",
                found=f"run {held.run_id} is what they see",
                next_step="approve it again, which completes its record; "
                "then `nightscore rollback` can take it back",
            )

        _claim(workspace, held, "rejected")
        lease.check()
        rejected = held.model_copy(update={"status": "rejected"})
        recorded = _record_decision(workspace, rejected, "rejected", now, note)
        lease.check()

        publisher.drop(held)
        return recorded


def _claim(workspace: Workspace, held: Manifest, verdict: Verdict) -> None:
    """Be the one who decides. The same verdict again completes one that died half way.

    Raises:
        ConflictError: Somebody decided otherwise, or the run does not wait any more.
    """
    state, folder = workspace.state, workspace.folder(held.partition)

    path = decision_path(held.run_id)
    try:
        state.create(path, verdict.encode())
    except ConflictError as error:
        other_verdict = state.read_bytes(path).decode()
        if other_verdict != verdict:
            raise ConflictError(
                "Somebody else decided on this run; nothing was changed.",
                folder,
                expected="no decision yet",
                found=f"the run is being {other_verdict}",
                next_step="look at it with `nightscore runs`; "
                "if that decision died half way, give the same again",
            ) from error

    stored = find_manifest(state, folder, held.run_id)
    if stored is None or stored.status != "held":
        raise ConflictError(
            "This run does not wait for a decision any more; nothing was changed.",
            folder,
            expected="a run that is held",
            found=stored.status if stored else "no record",
            next_step=LIST_RUNS,
        )


def _record_decision(
    workspace: Workspace, decided: Manifest, verdict: Verdict, now: datetime, note: str
) -> Manifest:
    decision = DecisionRecord(verdict=verdict, at=now, by=_user(), note=note)
    return write_manifest(
        workspace.state,
        workspace.folder(decided.partition),
        decided.model_copy(update={"decision": decision}),
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in some containers
        return "unknown"
