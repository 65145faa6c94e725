"""Reads the jobs that are to be deployed, and says where their files are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nightscore.errors import InvalidJobError, ScoringError
from nightscore.inputs.job_lookup import find_job
from nightscore.inputs.jobfile import load_job
from nightscore.models.registries.uris import absolute_uri, redacted, registry_uri
from nightscore.operations.releases.proposals import is_approval_required
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.model_uri import alias_of


@dataclass(frozen=True, slots=True, kw_only=True)
class JobToDeploy:
    """A job that was read and found right."""

    name: str
    source: str
    """Absolute path or URL of its file."""
    folder: str | None
    """Where relative paths in the job file begin; None: it has a URL, and none."""
    environment: Mapping[str, str]
    """Variables that its runs need, without secrets."""
    has_labels: bool = False
    """Its predictions are compared with labels."""
    has_alias: bool = False
    """Its model is an alias, which `promote` and `demote` move."""
    follows_alias: bool = False
    """Its model or a challenger is an alias, so that new versions come to it."""
    wants_approval: bool = False
    """Somebody else approves what is promoted."""
    registry: str = ""
    """Its model registry, by its absolute URI, which may have credentials."""


def read_jobs(sources: Sequence[str]) -> list[JobToDeploy]:
    """The jobs of these names, paths or URLs.

    Raises:
        InvalidJobError: Some cannot be read, or two have one name. All problems are named.
    """
    jobs: list[JobToDeploy] = []
    refused: list[ScoringError] = []

    for source in sources:
        try:
            jobs.append(_read(source))
        except ScoringError as error:
            refused.append(error)

    if len(refused) == 1:
        raise refused[0]
    if refused:
        raise _all_of(refused)

    _check_names(jobs)
    return jobs


def check_labels(jobs: Sequence[JobToDeploy]) -> None:
    """Check that some job can be evaluated, for a schedule of evaluations.

    Raises:
        InvalidJobError: None has labels.
    """
    if not any(job.has_labels for job in jobs):
        raise InvalidJobError(
            "--evaluate-cron has no effect: no job has labels. Nothing was changed.",
            ", ".join(job.source for job in jobs),
            expected="a section `labels` in a job file",
            next_step="add it, or leave the option out",
        )


def _read(source: str) -> JobToDeploy:
    path, spec = find_job(source), load_job(source)
    is_url = "://" in path
    challengers = spec.release.challenger if spec.release is not None else ()

    return JobToDeploy(
        name=spec.name,
        source=path if is_url else str(Path(path).absolute()),
        folder=None if is_url else str(Path.cwd()),
        environment=_environment(spec),
        has_labels=spec.labels is not None,
        wants_approval=is_approval_required(spec),
        has_alias=alias_of(spec.model) is not None,
        follows_alias=any(map(alias_of, (spec.model, *challengers))),
        registry=absolute_uri(registry_uri(spec.registry)),
    )


def _environment(spec: ScoringJob) -> dict[str, str]:
    """The registry of a job that names none: the one that was meant here, not the worker's."""
    if spec.registry is not None:
        return {}

    uri = registry_uri(None)
    if redacted(uri) != uri:
        return {}  # it carries credentials, which are for the worker's environment

    return {"MLFLOW_TRACKING_URI": absolute_uri(uri)}


def _all_of(refused: Sequence[ScoringError]) -> InvalidJobError:
    problems: list[str] = []
    for error in refused:
        head = f"{error.where}: {error.what}" if error.where else error.what
        detail = error.problems or tuple(filter(None, [error.found]))
        problems += [head, *(f"  {line}" for line in detail)]

    return InvalidJobError(
        f"{len(refused)} jobs cannot be read; nothing was changed.",
        problems=problems,
        next_step=refused[0].next_step,
    )


def _check_names(jobs: Sequence[JobToDeploy]) -> None:
    """Check that each job has a name of its own: deployments are named after it."""
    by_name: dict[str, str] = {}
    problems = []

    for job in jobs:
        other = by_name.setdefault(job.name, job.source)
        if other != job.source:
            problems.append(f"{other} and {job.source} are both named {job.name}")

    if problems:
        raise InvalidJobError(
            "Jobs that are deployed need a name each; nothing was changed.",
            problems=problems,
            next_step="change `name` in one of the files",
        )
