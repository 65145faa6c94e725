"""Creates and updates what a server needs to run jobs every night."""

import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any

from nightscore.flows.deployments.automations import (
    blocks_of,
    read_automations,
    save_automation,
)
from nightscore.flows.deployments.changes import Change, change_between, first_keys, merged
from nightscore.flows.deployments.jobs import JobToDeploy
from nightscore.flows.deployments.kinds import BACKFILL_QUEUE, NIGHTLY_QUEUE
from nightscore.flows.deployments.tags import tag_deployments
from nightscore.flows.deployments.wanted import (
    DEFAULT_TIMEZONE,
    Deployment,
    Nights,
    Schedule,
    deployments_of,
)
from nightscore.flows.prefect_api import Api

POOL_RUNS = 8
"""Runs at once in a new pool."""
BACKFILL_RUNS = 4
"""Runs at once in a new pool's queue of backfills. The rest is kept for nightly runs."""
KEPT_WHOLE = ("parameter_openapi_schema", "pull_steps")
"""Fields that are replaced. Of others, what somebody has added stays."""


def deploy(
    api: Api, jobs: Sequence[JobToDeploy], nights: Nights, pool: str, *, dry_run: bool
) -> list[Change]:
    """Make the server have the pool, its queues, the jobs' deployments and the automations.

    What is right already is not touched, so that a second call changes nothing. Limits, paused
    schedules and what somebody has added on the server stay as they are.

    Args:
        api: The server.
        jobs: What to deploy.
        nights: When they run.
        pool: Name of the work pool.
        dry_run: Only say what would change.

    Returns:
        What happened to each thing, in the order in which it is needed.
    """
    server = _Server(api, pool, dry_run=dry_run)
    changes = [
        server.save_pool(),
        server.save_queue(NIGHTLY_QUEUE, None),
        server.save_queue(BACKFILL_QUEUE, BACKFILL_RUNS),
    ]

    for job in jobs:
        for deployment in deployments_of(job, nights, pool):
            changes += server.save_deployment(deployment)

    changes += tag_deployments(api, dry_run=dry_run)
    for raw in read_automations():
        if not blocks_of(raw):
            changes.append(save_automation(api, raw, {}, dry_run=dry_run))

    return changes


def online_workers(api: Api, pool: str) -> list[str]:
    """Names of the workers that take runs of a pool."""
    if api.get(f"/work_pools/{_quoted(pool)}") is None:
        return []

    workers = api.send("POST", f"/work_pools/{_quoted(pool)}/workers/filter", {})
    return [str(worker["name"]) for worker in workers if worker["status"] == "ONLINE"]


class _Server:
    """One server, and whether anything is to be changed there."""

    def __init__(self, api: Api, pool: str, *, dry_run: bool) -> None:
        self._api, self._pool, self._dry_run = api, pool, dry_run

    def save_pool(self) -> Change:
        """The pool. One that exists stays as it is, of whatever type."""
        body = {"name": self._pool, "type": "process", "concurrency_limit": POOL_RUNS}
        path = f"/work_pools/{_quoted(self._pool)}"
        existing = self._api.get(path)
        return self._create_missing("work pool", self._pool, existing, "/work_pools/", body)

    def save_queue(self, name: str, limit: int | None) -> Change:
        """A queue. Those that are created first have priority."""
        path = f"/work_pools/{_quoted(self._pool)}/queues"
        existing = self._api.get(f"{path}/{name}")
        body = {"name": name, "concurrency_limit": limit}
        return self._create_missing("queue", f"{self._pool}/{name}", existing, path, body)

    def _create_missing(
        self, kind: str, name: str, existing: Any, path: str, body: Mapping[str, Any]
    ) -> Change:
        """Create what is not there. What exists stays as it is."""
        change = change_between(kind, name, existing, existing or {})
        if change.action == "created":
            self._send("POST", path, body)
        return change

    def save_deployment(self, deployment: Deployment) -> list[Change]:
        """A deployment, and its schedule if it is one that runs by itself."""
        flow, name = deployment.flow, deployment.name
        existing = self._api.get(f"/deployments/name/{_quoted(flow)}/{_quoted(name)}")
        current = None if existing is None else _managed(existing, deployment.fields)
        wanted = _wanted(current, deployment)

        change = change_between("deployment", f"{flow}/{name}", current, wanted)
        deployment_id = existing["id"] if existing else None
        if change.action == "created" and not self._dry_run:
            deployment_id = self._create(deployment, wanted)
        elif change.action == "changed":
            fields = first_keys(change.fields)
            self._send("PATCH", f"/deployments/{deployment_id}", _update(wanted, fields))

        if deployment.schedule is None:
            return [change]

        schedules = existing["schedules"] if existing else []
        default = {"timezone": wanted["parameters"].get("timezone") or DEFAULT_TIMEZONE}
        path = f"/deployments/{deployment_id}/schedules"
        return [change, self._save_schedule(name, deployment.schedule, schedules, default, path)]

    def _create(self, deployment: Deployment, wanted: Mapping[str, Any]) -> str:
        flow = self._api.send("POST", "/flows/", {"name": deployment.flow})
        body = {"name": deployment.name, "flow_id": flow["id"], **wanted}
        return str(self._api.send("POST", "/deployments/", body)["id"])

    def _save_schedule(
        self,
        name: str,
        schedule: Schedule,
        schedules: Sequence[Mapping[str, Any]],
        default: Mapping[str, Any],
        path: str,
    ) -> Change:
        """The schedule of a deployment, among those that it has on the server."""
        named = [found for found in schedules if found.get("slug") == schedule.slug]
        existing = named[0] if named else None
        if existing is None and schedule.cron is None:
            reason = f"none; {schedule.option} sets one"
            return Change(kind="schedule", name=name, action="skipped", reason=reason)

        current = None if existing is None else existing["schedule"]
        chosen = {"cron": schedule.cron, "timezone": schedule.timezone}
        named_now = {key: value for key, value in chosen.items() if value is not None}
        wanted = merged(current or default, named_now)

        change = change_between("schedule", name, current, wanted)
        if existing is None:
            body = [{"slug": schedule.slug, "active": True, "schedule": wanted}]
            self._send("POST", path, body)
        elif change.action == "changed":
            self._send("PATCH", f"{path}/{existing['id']}", {"schedule": wanted})

        return change

    def _send(self, method: str, path: str, body: Any) -> None:
        if not self._dry_run:
            self._api.send(method, path, body)


def _managed(existing: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that we set, of a deployment as the server describes it."""
    managed = {name: existing.get(name) for name in fields}
    if "concurrency_limit" in managed:
        limit = existing.get("global_concurrency_limit") or {}
        managed["concurrency_limit"] = limit.get("limit", existing.get("concurrency_limit"))
    return managed


def _wanted(current: Mapping[str, Any] | None, deployment: Deployment) -> dict[str, Any]:
    """The fields that a deployment should have; what somebody has added to them stays."""
    if current is None:
        return merged({"parameters": deployment.defaults}, deployment.fields)

    parameters = {**deployment.defaults, **current["parameters"]}
    wanted = merged({**current, "parameters": parameters}, deployment.fields)
    tags = deployment.fields["tags"]
    wanted["tags"] = [*current["tags"], *(tag for tag in tags if tag not in current["tags"])]
    return wanted | {name: deployment.fields[name] for name in KEPT_WHOLE}


def _update(wanted: Mapping[str, Any], fields: set[str]) -> dict[str, Any]:
    """The fields to send. Some are understood only together."""
    for together in (
        {"work_pool_name", "work_queue_name"},
        {"parameters", "parameter_openapi_schema", "enforce_parameter_schema"},
    ):
        if fields & together:
            fields = fields | together

    return {name: wanted[name] for name in sorted(fields)}


def _quoted(name: str) -> str:
    return urllib.parse.quote(name, safe="")
