"""Whose results a partition's are: two jobs with one output would replace each other's."""

from nightscore.errors import InvalidJobError
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import Manifest
from nightscore.schemas.run_summary import RunSummary


def is_owner(job: ScoringJob, standing: Manifest | RunSummary) -> bool:
    """Whether the job has published the results behind this record, under any of its names."""
    return standing.job in (job.name, *job.renamed_from)


def check_is_own(job: ScoringJob) -> None:
    """Refuse to score or publish for a challenger alone: its table is beside its champion's.

    Raises:
        InvalidJobError: The job is that of a challenger.
    """
    if job.champion is not None:
        raise not_by_itself(job, f"give the job itself, {job.champion.given_as}")


def not_by_itself(job: ScoringJob, next_step: str) -> InvalidJobError:
    """The error where a challenger is named for what only the whole job does."""
    return InvalidJobError(
        f"{job.given_as} is a challenger, which scores and is released with its job only; nothing "
        "was done.",
        expected="a job",
        found=f"the challenger {job.model}",
        next_step=next_step,
    )


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
