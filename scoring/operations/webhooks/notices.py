"""What an event of the registry means for each job that it concerns."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nightscore.errors import ScoringError
from nightscore.inputs.job_lookup import list_jobs
from nightscore.inputs.jobfile import load_job
from nightscore.models.registries.uris import registry_uri
from nightscore.models.registry_catalog import open_registry
from nightscore.operations.missing_parts import MissingPart, missing_parts
from nightscore.operations.webhooks.registry_event import RegistryEvent
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.model_uri import MODEL_URI
from nightscore.schemas.text import printable

PATIENCE_S = 5.0
"""For the registry: MLflow waits 30 s for an answer to its webhook."""
Role = Literal["champion", "challenger", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """What an event means for one job."""

    event: RegistryEvent
    job: ScoringJob
    source: str
    """What commands call the job."""
    role: Role
    """What the alias is to the job. `none`: no alias of the job has moved, but there is a new
    version of a model that it names."""
    missing: tuple[MissingPart, ...] = ()
    """What the version lacks."""
    unknown: str = ""
    """Why nobody knows what it lacks. Empty: it is known."""

    @property
    def subject(self) -> str:
        """What has happened, in one line."""
        event = self.event
        if self.role == "none":
            return printable(f"{self.job.name}: {event.model} has a new version {event.version}")

        what = "its challenger " if self.role == "challenger" else ""
        moved = f"{what}{event.model}@{event.alias} means version {event.version} now"
        return printable(f"{self.job.name}: {moved}")

    @property
    def lines(self) -> list[str]:
        """What has happened, and what the version lacks, each with the command that adds it."""
        lines = [f"{self.subject}."]
        lines += [f"It has no {part.name}; `{part.command}` adds it." for part in self.missing]
        if self.unknown:
            lines.append(f"Nobody knows whether it has a pin and a baseline: {self.unknown}")

        return list(map(printable, lines))


def find_notices(event: RegistryEvent, folders: Sequence[Path]) -> list[Notice]:
    """What an event means for the jobs in these folders.

    MLflow does not say which registry it is. So a job of another registry that has a model of the
    same name gets a notice, too; whoever acts on one asks the job's own registry first.
    """
    notices = []

    for source, job in _known_jobs(folders):
        role = role_of(job, event.model, event.alias)

        if role is not None:
            notices.append(_notice(event, job, source, role))

    return notices


def role_of(job: ScoringJob, model: str, alias: str) -> Role | None:
    """What an alias is to a job. None: the job has nothing to do with the model.

    Args:
        job: The job.
        model: Name of the registered model.
        alias: Of the model; empty: a version has no alias yet.
    """
    challengers = job.release.challenger if job.release is not None else ()
    uri = f"models:/{model}@{alias}"

    if job.model == uri:
        return "champion"

    if uri in challengers:
        return "challenger"

    names = {match["name"] for one in (job.model, *challengers) if (match := _parsed(one))}
    return "none" if not alias and model in names else None


def _parsed(uri: str) -> dict[str, str | None] | None:
    match = MODEL_URI.fullmatch(uri)
    return match.groupdict() if match else None


def _known_jobs(folders: Sequence[Path]) -> Iterator[tuple[str, ScoringJob]]:
    """The jobs that can be read. Of others, the commands and runs say what is wrong."""
    for name in list_jobs(folders):
        try:
            yield name, load_job(name, folders)
        except ScoringError:
            continue


def _notice(event: RegistryEvent, job: ScoringJob, source: str, role: Role) -> Notice:
    missing: tuple[MissingPart, ...] = ()
    unknown = ""

    try:
        with open_registry(registry_uri(job.registry), PATIENCE_S) as registry:
            version = registry.version(event.model, event.version)

        if version is None:
            unknown = "the job's registry has no such version"
        else:
            missing = tuple(missing_parts(job, version))
    except ScoringError as error:
        unknown = error.what

    return Notice(event=event, job=job, source=source, role=role, missing=missing, unknown=unknown)
