"""What a server should have for a job: its deployments, as Prefect's API describes them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from prefect import Flow
from prefect.utilities.callables import parameter_schema

from nightscore.flows.backfill import backfill
from nightscore.flows.deployments.jobs import JobToDeploy
from nightscore.flows.evaluate import evaluate
from nightscore.flows.nightly import nightly
from nightscore.flows.partition import score_partition
from nightscore.flows.releases.decide import decide
from nightscore.flows.releases.demote import demote
from nightscore.flows.releases.new_version import new_version
from nightscore.flows.releases.promote import promote
from nightscore.flows.tag import TAG
from nightscore.inputs.job_lookup import lookup_folders, offered_jobs

NIGHTLY_QUEUE, BACKFILL_QUEUE = "nightly", "backfill"
"""The first has priority over the second: a nightly run never waits for a backfill."""
DEFAULT_TIMEZONE = "UTC"
DEFAULT_LAG_DAYS = 1
"""Tonight's run scores yesterday, the last day that is complete."""
DEFAULT_LOOK_BACK_DAYS = 3
"""Data that is up to three days late is scored when it is there. It costs a listing a night."""
HEARTBEAT = {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30"}
"""Seconds. The automation that ends runs without a worker waits for three heartbeats."""


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
    chosen = {
        "timezone": nights.timezone,
        "lag_days": nights.lag_days,
        "look_back_days": nights.look_back_days,
    }
    parameters = {name: value for name, value in chosen.items() if value is not None}
    every_night = {
        "description": f"Scores last night's partition of {job.name}, and late data before it.",
        "tags": [job.name, "nightly", TAG],
        "parameters": {"job": job.source, **parameters},
        "concurrency_limit": 1,
        "concurrency_options": {"collision_strategy": "ENQUEUE"},
    }
    dates = {
        "description": f"Scores a range of dates of {job.name}. It plans first, then scores each "
        "partition in a child run.",
        "tags": [job.name, "backfill", TAG],
        "parameters": {"job": job.source},
    }
    one = {
        "description": f"Scores one partition of {job.name}.",
        "tags": [job.name, TAG],
        "parameters": {"job": job.source},
    }
    defaults = {
        "timezone": DEFAULT_TIMEZONE,
        "lag_days": DEFAULT_LAG_DAYS,
        "look_back_days": DEFAULT_LOOK_BACK_DAYS,
    }

    deployments = [
        Deployment(
            flow=nightly.name,
            name=f"{job.name}-nightly",
            fields=every_night | _common(job, nightly, pool, NIGHTLY_QUEUE),
            defaults=defaults,
            schedule=Schedule(
                slug="nightly",
                cron=nights.cron,
                timezone=nights.timezone,
                option="--cron",
            ),
        ),
        Deployment(
            flow=backfill.name,
            name=f"{job.name}-backfill",
            fields=dates | _common(job, backfill, pool, BACKFILL_QUEUE),
            defaults={},
        ),
        Deployment(
            flow=score_partition.name,
            name=f"{job.name}-partition",
            fields=one | _common(job, score_partition, pool, BACKFILL_QUEUE),
            defaults={},
        ),
    ]
    if job.has_labels:
        deployments.append(_evaluation(job, nights, pool))
    if job.has_alias:
        deployments += _releases(job, pool)
    if job.follows_alias:
        deployments.append(_new_versions(job, pool))

    return deployments


def _new_versions(job: JobToDeploy, pool: str) -> Deployment:
    """The deployment that an automation runs when an alias has moved."""
    fields = {
        "description": f"Looks at a version that an alias of {job.name} means from now on, and "
        "scores with it.",
        "tags": [job.name, "release", TAG],
        "parameters": {"job": job.source},
        "concurrency_limit": 1,
        "concurrency_options": {"collision_strategy": "ENQUEUE"},
    }

    return Deployment(
        flow=new_version.name,
        name=f"{job.name}-{new_version.name}",
        fields=fields | _common(job, new_version, pool, BACKFILL_QUEUE),
        defaults={},
    )


def _releases(job: JobToDeploy, pool: str) -> list[Deployment]:
    """The deployments that move the alias of the job's model: forms for people."""
    purposes: dict[Flow[..., Any], str] = {
        promote: "Makes a model version live, and shows what is known of it. With dry_run it only "
        "shows that.",
        demote: "Takes the live model version back.",
    }
    if job.wants_approval:
        purposes[decide] = "Approves or rejects a model version that was proposed."

    deployments = []
    for flow, purpose in purposes.items():
        fields = {
            "description": f"{purpose} Job: {job.name}.",
            "tags": [job.name, "release", TAG],
            "parameters": {"job": job.source},
        }
        deployments.append(
            Deployment(
                flow=flow.name,
                name=f"{job.name}-{flow.name.removesuffix('-release')}",
                # Somebody waits for it, and a demotion must not wait for a backfill of days.
                fields=fields | _common(job, flow, pool, NIGHTLY_QUEUE),
                defaults={},
            )
        )

    return deployments


def _evaluation(job: JobToDeploy, nights: Nights, pool: str) -> Deployment:
    """The deployment that compares predictions with labels."""
    fields = {
        "description": f"Compares the published predictions of {job.name} with the labels that "
        "have become known.",
        "tags": [job.name, "evaluate", TAG],
        "parameters": {"job": job.source},
        "concurrency_limit": 1,
        "concurrency_options": {"collision_strategy": "ENQUEUE"},
    }
    return Deployment(
        flow=evaluate.name,
        name=f"{job.name}-evaluate",
        # It takes seconds, and must not wait for a backfill of days.
        fields=fields | _common(job, evaluate, pool, NIGHTLY_QUEUE),
        defaults={},
        schedule=Schedule(
            slug="evaluate",
            cron=nights.evaluate_cron,
            timezone=nights.timezone,
            option="--evaluate-cron",
        ),
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
