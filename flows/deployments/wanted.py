"""What a server should have for a job: its deployments, as Prefect's API describes them."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from prefect import Flow
from prefect.utilities.callables import parameter_schema

from nightscore.flows.deployments.jobs import JobToDeploy
from nightscore.flows.deployments.kinds import (
    DATES,
    DECISION,
    DEMOTION,
    EVALUATION,
    EVERY_NIGHT,
    NEW_VERSIONS,
    ONE_PARTITION,
    PROMOTION,
    Kind,
)
from nightscore.flows.tag import TAG
from nightscore.inputs.job_lookup import lookup_folders, offered_jobs

DEFAULT_TIMEZONE = "UTC"
DEFAULT_LAG_DAYS = 1
"""Tonight's run scores yesterday, the last day that is complete."""
DEFAULT_LOOK_BACK_DAYS = 3
"""Data that is up to three days late is scored when it is there. It costs a listing a night."""
HEARTBEAT = {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30"}
"""Seconds. The automation that ends runs without a worker waits for three heartbeats."""
SINGLE = {"concurrency_limit": 1, "concurrency_options": {"collision_strategy": "ENQUEUE"}}
"""One run at a time; the next waits for it."""
NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Nights:
    """When a job runs, and what for. None: as it is on the server, or else the default."""

    cron: str | None = None
    evaluate_cron: str | None = None
    """When jobs with labels are evaluated."""
    timezone: str | None = None
    lag_days: int | None = None
    look_back_days: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When a deployment runs."""

    slug: str
    """What tells it from schedules that somebody has added on the server."""
    cron: str | None
    """None: as it is on the server, or else none."""
    timezone: str | None
    """None: as it is on the server, or else that of the deployment's parameters."""
    option: str
    """The option of the command that sets it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """One deployment of a job."""

    flow: str
    """The flow's name in Prefect."""
    name: str
    fields: Mapping[str, Any]
    defaults: Mapping[str, Any]
    """Parameters that a new deployment gets, and an old one keeps as they are."""
    schedule: Schedule | None = None
    """None: it runs when somebody asks for it."""


def deployments_of(job: JobToDeploy, nights: Nights, pool: str) -> list[Deployment]:
    """The deployments of a job: every night, a range of dates, and a single partition.

    A job with labels has one that evaluates, too. One whose model is an alias has forms that
    promote and demote, and one that decides where the job wants approval. One with an alias, also
    of a challenger, has one that looks at new versions.
    """
    deployments = [
        _every_night(job, nights, pool),
        _deployment(job, DATES, pool),
        _deployment(job, ONE_PARTITION, pool),
    ]

    if job.has_labels:
        deployments.append(_evaluation(job, nights, pool))

    kinds = []

    if job.has_alias:
        kinds += [PROMOTION, DEMOTION]
    if job.has_alias and job.wants_approval:
        kinds.append(DECISION)
    if job.follows_alias:
        kinds.append(NEW_VERSIONS)

    return [*deployments, *(_deployment(job, kind, pool) for kind in kinds)]


def _every_night(job: JobToDeploy, nights: Nights, pool: str) -> Deployment:
    """The deployment that scores last night's partition."""
    chosen = {
        "timezone": nights.timezone,
        "lag_days": nights.lag_days,
        "look_back_days": nights.look_back_days,
    }
    parameters = {name: value for name, value in chosen.items() if value is not None}

    defaults = {
        "timezone": DEFAULT_TIMEZONE,
        "lag_days": DEFAULT_LAG_DAYS,
        "look_back_days": DEFAULT_LOOK_BACK_DAYS,
    }

    return _deployment(
        job,
        EVERY_NIGHT,
        pool,
        parameters=parameters,
        defaults=defaults,
        schedule=Schedule(
            slug="nightly",
            cron=nights.cron,
            timezone=nights.timezone,
            option="--cron",
        ),
    )


def _evaluation(job: JobToDeploy, nights: Nights, pool: str) -> Deployment:
    """The deployment that compares predictions with labels."""
    return _deployment(
        job,
        EVALUATION,
        pool,
        schedule=Schedule(
            slug="evaluate",
            cron=nights.evaluate_cron,
            timezone=nights.timezone,
            option="--evaluate-cron",
        ),
    )


def _deployment(
    job: JobToDeploy,
    kind: Kind,
    pool: str,
    *,
    parameters: Mapping[str, Any] = NOTHING,
    defaults: Mapping[str, Any] = NOTHING,
    schedule: Schedule | None = None,
) -> Deployment:
    """A job's deployment of one kind."""
    fields: dict[str, Any] = {
        "description": kind.description.format(job=job.name),
        "tags": [job.name, *kind.tags, TAG],
        "parameters": {"job": job.source, **parameters},
    }
    if kind.is_single:
        fields |= SINGLE

    return Deployment(
        flow=kind.flow.name,
        name=f"{job.name}-{kind.suffix}",
        fields=fields | _common(job, kind.flow, pool, kind.queue),
        defaults=defaults,
        schedule=schedule,
    )


def _common(job: JobToDeploy, flow: Flow[..., Any], pool: str, queue: str) -> dict[str, Any]:
    steps = []
    if job.folder is not None:
        step = "prefect.deployments.steps.set_working_directory"
        steps = [{step: {"directory": job.folder}}]

    return {
        # A module is found wherever the package is installed, a file only in a checkout.
        "entrypoint": f"{flow.fn.__module__}.{flow.fn.__name__}",
        "path": None,
        "pull_steps": steps,
        "job_variables": {"env": {**HEARTBEAT, **job.environment}},
        "work_pool_name": pool,
        "work_queue_name": queue,
        "parameter_openapi_schema": _form(job, flow),
        "enforce_parameter_schema": True,
    }


def _form(job: JobToDeploy, flow: Flow[..., Any]) -> dict[str, Any]:
    """The form as `prefect deploy` makes it of the flow, so that the two never undo each other.

    It offers the jobs of the folder, and this one wherever it is. `enforce_parameter_schema`
    refuses others.
    """
    form = parameter_schema(flow).model_dump(mode="json", exclude_unset=True)
    offered = offered_jobs(lookup_folders())
    elsewhere = [job.source] if job.source not in offered else []
    form["properties"]["job"]["enum"] = [*offered, *elsewhere]
    return form
