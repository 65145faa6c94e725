"""Tags deployments of earlier versions: the automations know our runs by it."""

from collections.abc import Mapping
from typing import Any

from nightscore.flows.deployments.changes import Change, change_between
from nightscore.flows.prefect_api import Api
from nightscore.flows.tag import TAG

FLOWS = (
    "nightly",
    "backfill",
    "score-partition",
    "evaluate",
    "promote",
    "demote",
    "decide-release",
    "new-version",
)
"""Names of the flows that are deployed. Another team may have flows of these names, too."""
MODULES = "nightscore.flows."
"""How the entrypoints of our own flows begin."""
PAGE = 100
"""Deployments that are asked for at once."""


def tag_deployments(api: Api, *, dry_run: bool) -> list[Change]:
    """Give our deployments the tag where an earlier version made them without it.

    Args:
        api: The server.
        dry_run: Only say which would be changed.

    Returns:
        What happened to those that did not have the tag.
    """
    changes = []
    for found in _deployments(api):
        entrypoint = found["entrypoint"] or ""
        if TAG in found["tags"] or not entrypoint.startswith(MODULES):
            continue

        tags = [*found["tags"], TAG]
        old, new = {"tags": found["tags"]}, {"tags": tags}
        changes.append(change_between("deployment", found["name"], old, new))
        if not dry_run:
            api.send("PATCH", f"/deployments/{found['id']}", new)

    return changes


def _deployments(api: Api) -> list[Mapping[str, Any]]:
    """The deployments of flows that are called as ours are, also those of other teams."""
    named = {"flows": {"name": {"any_": [*FLOWS]}}}
    deployments: list[Mapping[str, Any]] = []

    while True:
        part = {"offset": len(deployments), "limit": PAGE}
        page = api.send("POST", "/deployments/filter", named | part)
        deployments += page
        if len(page) < PAGE:
            return deployments
