"""The parts of Prefect's API that deploying needs, in memory."""

import copy
import itertools
import urllib.parse
from typing import Any


class MemoryPrefect:
    """Answers as the server does, and keeps what it was sent."""

    def __init__(self) -> None:
        self.pools: dict[str, dict[str, Any]] = {}
        self.queues: dict[tuple[str, str], dict[str, Any]] = {}
        self.flows: dict[str, str] = {}
        self.deployments: dict[str, dict[str, Any]] = {}
        self.automations: dict[str, dict[str, Any]] = {}
        self.events: list[dict[str, Any]] = []
        self.workers: list[dict[str, str]] = []
        self.sent: list[tuple[str, str]] = []
        """Requests that change something."""
        self._ids = map(str, itertools.count(1))

    def get(self, path: str) -> Any:
        match self._parts(path):
            case ["work_pools", pool]:
                return copy.deepcopy(self.pools.get(pool))
            case ["work_pools", pool, "queues", name]:
                return copy.deepcopy(self.queues.get((pool, name)))
            case ["deployments", "name", flow, name]:
                found = [
                    deployment
                    for deployment in self.deployments.values()
                    if (deployment["flow_id"], deployment["name"]) == (self.flows.get(flow), name)
                ]
                return copy.deepcopy(found[0]) if found else None
        raise AssertionError(path)

    def send(self, method: str, path: str, body: Any) -> Any:
        parts = self._parts(path)
        if parts[-1] != "filter":
            self.sent.append((method, path))
        body = copy.deepcopy(body)
        match [method, *parts]:
            case ["POST", "work_pools", _, "workers", "filter"]:
                return self.workers
            case ["POST", "deployments", "filter"]:
                return copy.deepcopy([*self.deployments.values()])
            case ["POST", "automations", "filter"]:
                names = body["automations"]["name"]["any_"]
                return [
                    a for a in copy.deepcopy([*self.automations.values()]) if a["name"] in names
                ]
            case ["POST", "events"]:
                self.events += body
            case ["POST", "work_pools"]:
                self.pools[body["name"]] = {"id": next(self._ids), **body}
            case ["POST", "work_pools", pool, "queues"]:
                self.queues[pool, body["name"]] = body
            case ["POST", "flows"]:
                return {"id": self.flows.setdefault(body["name"], next(self._ids))}
            case ["POST", "deployments"]:
                deployment_id = next(self._ids)
                limit = body.pop("concurrency_limit", None)
                body["global_concurrency_limit"] = {"limit": limit} if limit else None
                self.deployments[deployment_id] = {"id": deployment_id, "schedules": [], **body}
                return {"id": deployment_id}
            case ["PATCH", "deployments", deployment_id]:
                self.deployments[deployment_id] |= body
            case ["POST", "deployments", deployment_id, "schedules"]:
                created = [{"id": next(self._ids), **schedule} for schedule in body]
                self.deployments[deployment_id]["schedules"] += created
            case ["PATCH", "deployments", deployment_id, "schedules", schedule_id]:
                for schedule in self.deployments[deployment_id]["schedules"]:
                    if schedule["id"] == schedule_id:
                        schedule |= body
            case ["POST", "automations"]:
                automation_id = next(self._ids)
                self.automations[automation_id] = {"id": automation_id, **body}
            case ["PUT", "automations", automation_id]:
                assert "owner_resource" not in body, "Prefect's server refuses it: 422"
                self.automations[automation_id] = {"id": automation_id, **body}
            case ["DELETE", "automations", automation_id]:
                del self.automations[automation_id]
            case _:
                raise AssertionError((method, path))
        return None

    @staticmethod
    def _parts(path: str) -> list[str]:
        return [urllib.parse.unquote(part) for part in path.strip("/").split("/")]
