"""The known jobs that an alias moves: one model may serve several."""

from collections.abc import Iterator
from dataclasses import dataclass

from nightscore.errors import ScoringError
from nightscore.inputs.job_lookup import find_job, list_jobs, lookup_folders
from nightscore.inputs.jobfile import load_job
from nightscore.models.registries.uris import absolute_uri, redacted, registry_uri
from nightscore.operations.releases.target import ReleaseTarget
from nightscore.schemas.job import ScoringJob


@dataclass(frozen=True, slots=True)
class AffectedJobs:
    """The jobs that an alias moves."""

    names: tuple[str, ...]
    """Sorted; the job of the command is one of them."""
    unreadable: tuple[str, ...] = ()
    """Job files that cannot be read: nobody knows whether they use the alias."""


def find_affected(target: ReleaseTarget) -> AffectedJobs:
    """The jobs whose files are found by name from here, and those that the log has noted.

    Raises:
        StorageError: The log cannot be read.
    """
    names = {target.job.name, *(record.job for record in target.log.jobs())}
    unreadable: list[str] = []

    for source, job in _known_jobs():
        if job is None:
            unreadable.append(source)
        elif _uses(job, target):
            names.add(job.name)

    return AffectedJobs(tuple(sorted(names)), tuple(unreadable))


def _known_jobs() -> Iterator[tuple[str, ScoringJob | None]]:
    """Each job file that commands find by its name, and its job; None: it cannot be read."""
    for name in list_jobs(lookup_folders()):
        try:
            yield name, load_job(find_job(name))
        except ScoringError:
            yield name, None


def _uses(job: ScoringJob, target: ReleaseTarget) -> bool:
    registry = redacted(absolute_uri(registry_uri(job.registry)))
    return job.model == target.alias.uri and registry == target.alias.shown_registry
