"""Lists the runs of a job as they ended."""

from nightscore.ledger.history import PartitionHistory, list_histories
from nightscore.ledger.liveness import has_died, mark_dead_runs, reconcile_with_live
from nightscore.ledger.workspace import Workspace
from nightscore.outputs.publish import open_publisher
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import Manifest


def run_history(
    job: ScoringJob, value: str | None = None, *, everything: bool = True
) -> list[Manifest]:
    """The records of a job's runs, newest first.

    A run that died is shown as failed, or as published where readers see its results.

    Args:
        job: The job.
        value: Of the partition, unless `everything` is asked for.
        everything: The runs of all partitions.
    """
    workspace = Workspace(job)
    state = workspace.state

    if everything:
        histories = list(list_histories(workspace).values())
    else:
        histories = [PartitionHistory(workspace, value)]

    stored: list[Manifest] = []
    for history in histories:
        stored += history.runs()

    stored.sort(key=lambda manifest: manifest.run_id, reverse=True)
    manifests = mark_dead_runs(state, stored)
    if not any(has_died(manifest) or manifest.status == "held" for manifest in manifests):
        return manifests

    live = open_publisher(workspace).all_live()
    reconciled = []
    for manifest in manifests:
        live_results = live.get(manifest.partition)
        reconciled.append(reconcile_with_live(state, manifest, live_results))

    return reconciled
