"""The deployments of a stack: the demo's job every night, or the user's own jobs."""

import subprocess
import sys
import urllib.error
import urllib.parse
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any

from nightscore.errors import StackError
from nightscore.flows.demo.calendar import TIMEZONE
from nightscore.flows.demo.sample import JOB_NAME
from nightscore.flows.stack.http_calls import request
from nightscore.flows.stack.last_night import schedule_last_night
from nightscore.flows.stack.settings import Settings
from nightscore.inputs.job_lookup import job_files

CRON = "0 3 * * *"
"""When the demo's job runs: at night where its flights leave."""
EVALUATE_CRON = "0 5 * * *"
"""When its predictions are compared with the labels, which are known by then."""
POOL_RUNS = {"sqlite": 3, "postgres": 8}
"""Runs at once in the pool, by database."""
BACKFILL_RUNS = {"sqlite": 1, "postgres": 4}
"""Runs at once in the queue `backfill`, by database. The nightly run always finds a place. On
SQLite the server may stall for a minute while two backfills write. These are limits of the server:
a worker with a `--limit` of its own dies if a run is retried while its process is still ending
(Prefect 3.8)."""
POOL = "/work_pools/local"
QUEUES = ("nightly", "backfill")
"""The first has priority."""
DEMO_DEPLOYMENTS = (
    *("nightly", "backfill", "score-partition", "evaluate"),
    *("promote", "demote", "decide-release", "new-version"),
)
"""Their flows. The stack's own job has no `decide-release`; `prefect deploy` may have made one."""


def deploy_jobs(settings: Settings, environment: dict[str, str]) -> None:
    """Deploy what the stack is for, then set the limits of runs.

    The user's own jobs keep the schedules that they have; a new one has none.

    Raises:
        StackError: A job cannot be deployed.
    """
    if settings.has_demo:
        schedules = ["--cron", CRON, "--evaluate-cron", EVALUATE_CRON, "--timezone", TIMEZONE]
        _deploy([settings.job_file], schedules, environment)
    else:
        _remove_demo(settings)
        own_jobs = sorted(job_files(settings.jobs))
        if own_jobs:
            _deploy(own_jobs, [], environment)
        else:
            _make_pool(settings.api_url)

    limits = {POOL: POOL_RUNS, f"{POOL}/queues/backfill": BACKFILL_RUNS}
    for path, runs in limits.items():
        request(settings.api_url, "PATCH", path, {"concurrency_limit": runs[settings.db]})

    if settings.has_demo:
        schedule_last_night(settings.api_url, datetime.now(UTC))


def _deploy(jobs: list[Path], options: list[str], environment: dict[str, str]) -> None:
    words = [*map(str, jobs), *options, "--no-check"]
    command = [sys.executable, "-m", "nightscore.cli", "deploy", *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    if done.returncode:
        raise StackError(
            "The jobs cannot be deployed; all services are stopped.",
            ", ".join(map(str, jobs)),
            problems=f"{done.stdout}{done.stderr}".splitlines(),
            next_step="correct what it says, then run: nightscore up",
        )


def _make_pool(api_url: str) -> None:
    """The pool and its queues, for a worker that has no job yet."""
    if _find(api_url, POOL) is None:
        request(api_url, "POST", "/work_pools/", {"name": "local", "type": "process"})

    for queue in QUEUES:
        if _find(api_url, f"{POOL}/queues/{queue}") is None:
            request(api_url, "POST", f"{POOL}/queues", {"name": queue})


def _remove_demo(settings: Settings) -> None:
    """Remove the deployments that a stack with the demo has left; their runs stay.

    Nobody adds days to the demo's data now, so that its nightly run would fail.
    """
    for flow in DEMO_DEPLOYMENTS:
        name = f"{JOB_NAME}-{flow.removeprefix('score-').removesuffix('-release')}"
        path = f"/deployments/name/{urllib.parse.quote(f'{flow}/{name}')}"
        deployment = _find(settings.api_url, path)
        if deployment and deployment["parameters"].get("job") == str(settings.job_file):
            request(settings.api_url, "DELETE", f"/deployments/{deployment['id']}")


def _find(api_url: str, path: str) -> Any:
    """What the server has there; None if there is no such thing."""
    try:
        return request(api_url, "GET", path)
    except urllib.error.HTTPError as refused:
        if refused.code != HTTPStatus.NOT_FOUND:
            raise
        refused.close()
        return None
