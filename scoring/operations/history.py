"""Lists the runs of a job as they ended."""

from collections.abc import Sequence
from dataclasses import dataclass

from nightscore.ledger.history import PartitionHistory
from nightscore.ledger.job_history import JobHistory
from nightscore.ledger.liveness import has_died, mark_dead_runs, reconcile_with_live
from nightscore.ledger.workspace import Workspace
from nightscore.outputs.publish import open_publisher
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import Manifest


@dataclass(frozen=True, slots=True)
class RunPage:
    """The newest runs of a job or of a partition, and how many there are."""

    manifests: list[Manifest]
    """Newest first, as they ended."""
    n_runs: int
    """All records, those that cannot be read included."""


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
    return newest_runs(job, value, everything=everything).manifests


def newest_runs(
    job: ScoringJob, value: str | None = None, *, everything: bool = True, limit: int = 0
) -> RunPage:
    """The newest records of `run_history`. The others are listed and not read.

    Args:
        job: The job.
        value: Of the partition, unless `everything` is asked for.
        everything: The runs of all partitions.
        limit: Number of runs; 0: all.
    """
    workspace = Workspace(job)

    if everything:
        runs = JobHistory(workspace)
        return RunPage(_as_ended(workspace, runs.newest(limit)), runs.n_runs)

    history = PartitionHistory(workspace, value)
    manifests = history.runs()
    shown = manifests[:limit] if limit else manifests
    return RunPage(_as_ended(workspace, shown), len(history.run_ids))


def _as_ended(workspace: Workspace, stored: Sequence[Manifest]) -> list[Manifest]:
    state = workspace.state
    manifests = _with_ended_challengers(workspace, mark_dead_runs(state, stored))
    if not any(has_died(manifest) or manifest.status == "held" for manifest in manifests):
        return manifests

    live = open_publisher(workspace).all_live({manifest.partition for manifest in manifests})
    reconciled = []
    for manifest in manifests:
        live_results = live.get(manifest.partition)
        reconciled.append(reconcile_with_live(state, manifest, live_results))

    return reconciled


def _with_ended_challengers(workspace: Workspace, manifests: Sequence[Manifest]) -> list[Manifest]:
    """The runs; challengers of which they do not know the end are as their own runs have ended."""
    if not any(manifest.has_unfinished_challengers for manifest in manifests):
        return [*manifests]

    from nightscore.runs.challengers.ended_runs import with_ended_challengers

    return [with_ended_challengers(workspace, manifest) for manifest in manifests]
