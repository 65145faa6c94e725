"""What a stack without the demo is for: the jobs of the folder in which it is started."""

import os
from dataclasses import dataclass
from pathlib import Path

from nightscore.flows.deployments.jobs import read_jobs
from nightscore.flows.stack.settings import Settings
from nightscore.flows.stack.state import State
from nightscore.inputs.job_lookup import job_files
from nightscore.models.registries.uris import SQLITE, absolute_uri, redacted, registry_uri

FOLDER = "jobs"
"""Where `nightscore init` writes job files."""


@dataclass(frozen=True, slots=True)
class OwnJobs:
    """The user's jobs, and the registry that the stack's MLflow server can show."""

    folder: str
    names: tuple[str, ...]
    registry: str
    """A SQLite database; empty: the server is left out."""
    note: str
    """Why it is left out."""


def wants_demo(settings: Settings) -> bool:
    """Whether a stack has the demo if nobody says it: as it is running, else if there are no jobs.

    Args:
        settings: Of the stack that is to be started.
    """
    state = State.read(settings.folder)
    if state is not None and state.is_alive:
        return state.settings.has_demo
    return not any(job_files(_folder(settings)))


def find_own_jobs(settings: Settings) -> OwnJobs:
    """The jobs of the folder `jobs`, or of the one that NIGHTSCORE_JOBS names.

    Args:
        settings: Of the stack that is to be started.

    Raises:
        InvalidJobError: Some cannot be read, or two have one name. All problems are named.
    """
    folder = _folder(settings)
    jobs = read_jobs([str(path) for path in sorted(job_files(folder))])
    names = tuple(job.name for job in jobs)

    registries = {job.registry for job in jobs} or {absolute_uri(registry_uri(None))}
    first, *others = sorted(map(redacted, registries))
    note = ""
    if others:
        note = f"MLflow is left out: the jobs have {len(registries)} registries"
    elif not first.startswith(SQLITE):
        note = f"MLflow is left out: the jobs have the registry {first}"

    return OwnJobs(str(folder), names, "" if note else first, note)


def _folder(settings: Settings) -> Path:
    """Where the user's job files are. The demo's do not count: its exports may still be set."""
    named = os.environ.get("NIGHTSCORE_JOBS")
    folder = Path(named).expanduser().absolute() if named else settings.demo_jobs
    return Path(FOLDER).absolute() if folder == settings.demo_jobs else folder
