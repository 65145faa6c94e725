"""The automations that are shipped, and what becomes of them on a server."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from prefect.events.schemas.automations import AutomationCore

from nightscore.deploy import AUTOMATIONS
from nightscore.flows.deployments.changes import Change, change_between
from nightscore.flows.prefect_api import Api


def read_automations(folder: Path = AUTOMATIONS) -> list[dict[str, Any]]:
    """The automations in the files of a folder."""
    return [yaml.safe_load(path.read_text()) for path in sorted(folder.glob("*.yaml"))]


def blocks_of(raw: Mapping[str, Any]) -> set[str]:
    """Names of the blocks whose address an automation sends to."""
    named = {action.get("block_document_id") for action in raw["actions"]}
    return {name for name in named if name is not None}


def save_automation(
    api: Api, raw: Mapping[str, Any], blocks: Mapping[str, str], *, dry_run: bool
) -> Change:
    """Create an automation, or update the one of its name.

    One that somebody has paused stays so.

    Args:
        api: The server.
        raw: The automation, with names of blocks.
        blocks: Names of blocks to their ids.
        dry_run: Only say what would become of it.
    """
    wanted = _fields(_with_ids(raw, blocks))
    named = {"automations": {"name": {"any_": [raw["name"]]}}}
    existing = api.send("POST", "/automations/filter", named)

    current = None
    if existing:
        current = _fields(existing[0])
        wanted["enabled"] = current["enabled"]

    change = change_between("automation", raw["name"], current, wanted)
    if dry_run:
        return change

    if change.action == "created":
        api.send("POST", "/automations/", wanted)
    elif change.action == "changed":
        api.send("PUT", f"/automations/{existing[0]['id']}", wanted)

    for duplicate in existing[1:]:
        api.send("DELETE", f"/automations/{duplicate['id']}", None)

    return change


def _with_ids(raw: Mapping[str, Any], blocks: Mapping[str, str]) -> dict[str, Any]:
    actions = []
    for action in raw["actions"]:
        name = action.get("block_document_id")
        replaced = {"block_document_id": blocks[name]} if name in blocks else {}
        actions.append({**action, **replaced})

    return {**raw, "actions": actions}


def _fields(raw: Mapping[str, Any]) -> dict[str, Any]:
    """An automation as JSON, with all its defaults and its sets in order."""
    # Prefect's server refuses an update that names the owner.
    document = AutomationCore.model_validate(raw).model_dump(
        mode="json", exclude={"owner_resource"}
    )
    return {name: _ordered(value) for name, value in document.items()}


def _ordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _ordered(inner) for key, inner in value.items()}
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return sorted(value)
    if isinstance(value, list):
        return [_ordered(item) for item in value]
    return value
