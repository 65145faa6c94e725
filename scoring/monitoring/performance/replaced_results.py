"""Finds the results of a run that readers no longer see, while its files are kept."""

from dataclasses import dataclass

from nightscore.errors import LocationNotFoundError, PartitionNotFoundError
from nightscore.ledger.job_history import JobHistory
from nightscore.ledger.layout import parts_store
from nightscore.ledger.live import Live
from nightscore.ledger.workspace import Workspace
from nightscore.outputs.publisher import Publisher
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import Manifest
from nightscore.schemas.partition import show_value
from nightscore.storage.store import Store


@dataclass(frozen=True, slots=True)
class ReplacedResults:
    """The files of a run whose results were replaced or rolled back."""

    value: str | None
    """The partition."""
    live: Live
    """As it was when readers saw it."""
    store: Store
    """Where the files are."""


def find_published_run(workspace: Workspace, run_id: str) -> Manifest:
    """The record of a run that has published results, now or before.

    Raises:
        PartitionNotFoundError: There is no such run, or it has published nothing.
    """
    job = workspace.job
    manifest = JobHistory(workspace).find(run_id)
    if manifest is None:
        raise PartitionNotFoundError(
            "There is no run of this id.",
            f"{job.output.uri}.nightscore/runs",
            expected="the id of a run of this job",
            found=run_id,
            next_step=f"`{job.command('runs')}` lists the newest runs",
        )

    if manifest.status != "published" or not manifest.output.files:
        raise PartitionNotFoundError(
            "This run has published nothing that could be evaluated.",
            manifest.location,
            expected="a run that is published",
            found=f"{run_id}, {manifest.status}",
            next_step=_kept_results(job, manifest),
        )

    return manifest


def find_replaced(
    workspace: Workspace, publisher: Publisher, manifest: Manifest
) -> ReplacedResults:
    """The results of a run that readers no longer see.

    Raises:
        PartitionNotFoundError: `clean` has removed them; with what is gone.
    """
    try:
        parts = publisher.find_results(manifest)
    except LocationNotFoundError as error:
        raise PartitionNotFoundError(
            "The results of this run were removed.",
            manifest.location,
            expected="its files, which stay until `clean` removes replaced results",
            problems=error.problems,
            next_step=_kept_results(workspace.job, manifest),
        ) from error

    paths = tuple(part.file.path for part in parts)
    live = Live(manifest.result_id, paths, version="")
    return ReplacedResults(manifest.partition, live, parts_store(workspace.job))


def _kept_results(job: ScoringJob, manifest: Manifest) -> str:
    command = job.command("history", show_value(manifest.partition))
    return f"`{command}` lists the runs of the partition whose results are kept"
