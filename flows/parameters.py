"""The types of the flows' parameters: what the Prefect UI makes its forms of."""

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import Field

from nightscore.errors import InvalidJobError
from nightscore.inputs.jobfile import DEFAULT_JOBS, list_jobs, load_job
from nightscore.operations.report import report_link
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import Manifest


class Mode(StrEnum):
    """What to score."""

    MISSING = "missing"
    FAILED = "failed"
    STALE = "stale"
    ALL = "all"


class Order(StrEnum):
    """Which end to begin with."""

    NEWEST = "newest"
    OLDEST = "oldest"


def jobs_folder() -> Path:
    """Where jobs are looked up by their name."""
    return Path(os.environ.get("NIGHTSCORE_JOBS", DEFAULT_JOBS))


JobName = Annotated[str, Field(json_schema_extra={"enum": list_jobs(jobs_folder())})]
"""The form lists the jobs that there were when it was deployed; a caller in Python may also give a path or URL."""

Minutes = Annotated[int, Field(ge=1, le=10_080)]
DEFAULT_TIMEOUT_MINUTES = 360
"""A night. Without a bound, a run that hangs would keep all following nights waiting."""


def read_job(job: str) -> ScoringJob:
    """The job of a name, path or URL."""
    return load_job(job, jobs_folder())


def link_to_report(job: str, manifest: Manifest) -> str:
    """Where `nightscore pages` has the run's report; empty where `NIGHTSCORE_PAGES_URL` names no such server.

    The server finds jobs by the name of their file, as forms and deployments do.
    """
    base = os.environ.get("NIGHTSCORE_PAGES_URL", "")
    is_named = job in list_jobs(jobs_folder())
    return report_link(base, job, manifest) if base and is_named and manifest.drift else ""


def job_name(job: str) -> str:
    """The job's name for a run's name; of a file that cannot be read, what was given: the run itself will say why."""
    try:
        return read_job(job).name
    except InvalidJobError:
        return job
