"""The types of the flows' parameters, from which the Prefect UI makes its forms."""

import os
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from nightscore.errors import InvalidJobError
from nightscore.inputs.job_lookup import listed_name, lookup_folders, offered_jobs
from nightscore.inputs.jobfile import load_job
from nightscore.operations.report import compare_link, performance_link, report_link
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import Manifest


class Mode(StrEnum):
    """Which partitions to score."""

    MISSING = "missing"
    FAILED = "failed"
    STALE = "stale"
    ALL = "all"


class Order(StrEnum):
    """Which end of the range to begin with."""

    NEWEST = "newest"
    OLDEST = "oldest"


JobName = Annotated[str, Field(json_schema_extra={"enum": offered_jobs(lookup_folders())})]
"""The form lists the jobs that existed at deployment, by their names and the paths of their files:
deployments name the path. From Python, any path or URL works."""

Minutes = Annotated[int, Field(ge=1, le=10_080)]
DEFAULT_TIMEOUT_MINUTES = 360
"""One night. Without a limit, a run that hangs would block all following nights."""


def allowed_parallel(wanted: int) -> int:
    """How many partitions of a backfill run at once: what it asks for, within this worker's limit.

    Raises:
        InvalidJobError: The limit, `NIGHTSCORE_MAX_PARALLEL`, is not a positive number.
    """
    limit = os.environ.get("NIGHTSCORE_MAX_PARALLEL", "")
    if not limit:
        return wanted

    if not limit.isdecimal() or int(limit) < 1:
        raise InvalidJobError(
            "The limit of partitions at once is not a number; nothing was scored.",
            "environment variable NIGHTSCORE_MAX_PARALLEL",
            expected="a whole number from 1",
            found=limit,
            next_step="correct or unset it where the worker starts",
        )

    return min(wanted, int(limit))


def read_job(job: str) -> ScoringJob:
    """The job with this name, path or URL."""
    return load_job(job)


def link_to_report(job: str, manifest: Manifest) -> str:
    """The URL of the run's report on the server of `nightscore pages`.

    Empty if `NIGHTSCORE_PAGES_URL` is not set, or if the job's file is in none of the folders whose
    jobs the server lists.
    """
    base = os.environ.get("NIGHTSCORE_PAGES_URL", "")
    name = listed_name(job, lookup_folders())
    return report_link(base, name, manifest) if base and name and manifest.drift else ""


def link_to_performance(job: str) -> str:
    """The URL of the job's performance over time on that server; empty as for a report."""
    base = os.environ.get("NIGHTSCORE_PAGES_URL", "")
    name = listed_name(job, lookup_folders())
    return performance_link(base, name) if base and name else ""


def link_to_compare(job: str) -> str:
    """The URL of the page of the job's challengers on that server; empty as for a report."""
    base = os.environ.get("NIGHTSCORE_PAGES_URL", "")
    name = listed_name(job, lookup_folders())
    return compare_link(base, name) if base and name else ""


def job_name(job: str) -> str:
    """The job's name, for the name of its run.

    If the job file cannot be read, what was given: the run itself then says what is wrong.
    """
    try:
        return read_job(job).name
    except InvalidJobError:
        return job
