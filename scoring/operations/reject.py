"""Drops a run that a gate holds."""

from datetime import datetime

from nightscore.errors import ConflictError
from nightscore.ledger.lease import Lease
from nightscore.ledger.workspace import Workspace
from nightscore.operations.decision import claim, record_decision
from nightscore.outputs.guarantees import check_claims
from nightscore.outputs.publish import open_publisher
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import Manifest


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
                "then `nightscore rollback` can take it back if there are earlier results",
            )

        claim(workspace, held, "rejected")
        lease.check()
        rejected = held.model_copy(update={"status": "rejected"})
        recorded = record_decision(workspace, rejected, "rejected", now, note)
        lease.check()

        publisher.drop(held)
        return recorded
