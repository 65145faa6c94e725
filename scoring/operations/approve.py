"""Publishes a run that a gate holds."""

from datetime import datetime

from nightscore.errors import ConflictError, ContractError, LeaseError, LocationNotFoundError
from nightscore.ledger.history import PartitionHistory
from nightscore.ledger.layout import decision_path
from nightscore.ledger.lease import Lease
from nightscore.ledger.workspace import Workspace
from nightscore.operations.decision import claim, record_decision
from nightscore.outputs.guarantees import check_claims
from nightscore.outputs.publish import open_publisher, republication
from nightscore.outputs.publisher import Publisher
from nightscore.outputs.writer import WrittenPart
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import Manifest


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
        claim(workspace, held, "approved")

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

        return record_decision(workspace, published, "approved", now, note)


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
