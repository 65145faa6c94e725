"""Whose results a partition's are: two jobs with one output would replace each other's."""

from nightscore.errors import InvalidJobError
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import Manifest
from nightscore.schemas.run_summary import RunSummary


def is_owner(job: ScoringJob, standing: Manifest | RunSummary) -> bool:
    """Whether the job has published the results behind this record, under any of its names."""
    return standing.job in (job.name, *job.renamed_from)


def check_owner(job: ScoringJob, standing: Manifest | None) -> None:
    """Refuse to replace results that another job has published.

    The record is one that a run reads anyway, so this asks no store.

    Args:
        job: What is about to publish.
        standing: The record behind what readers see; None if there is none.

    Raises:
        InvalidJobError: They are another job's.
    """
    if standing is None or is_owner(job, standing):
        return

    raise InvalidJobError(
        "Another job has published this partition to the same place; nothing was replaced.",
        job.output.uri,
        expected=f"results of the job {job.name}",
        found=f"those of the job {standing.job}, run {standing.run_id}",
        next_step="give this job an output.uri of its own; or, if it is the same job under a new "
        f"name, add renamed_from: {standing.job} to its file",
    )
