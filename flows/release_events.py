"""The events of a registry's webhooks: an alias has moved, or there is a new version."""

import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from prefect.settings import PREFECT_API_URL

from nightscore.flows.prefect_api import Api, prefect_api
from nightscore.flows.ui.events import SIGNS, RunEvent
from nightscore.operations.webhooks.notices import Notice
from nightscore.schemas.text import printable

NEW_VERSION = "new-version"
"""Name of the flow that looks at a new version."""
_IDS = uuid.UUID("0f5a3a3c-6f0e-4b5e-9d39-6a1a3ce1a4d7")
"""Names the space of the events' ids. Any UUID does; it must not change."""


def emit_release_events(notices: Sequence[Notice]) -> None:
    """Send the events, and wait until the server has them.

    A server that is not named gets none. An event's id follows from the delivery and the job, so
    that a delivery that comes again, even to another process, is the same event.

    Raises:
        DeploymentError: The server does not answer, or refuses.
    """
    if not PREFECT_API_URL.value():
        return

    with prefect_api() as api:
        send_events(api, notices)


def send_events(api: Api, notices: Sequence[Notice]) -> None:
    """Send the events to a server."""
    documents = []
    for notice in notices:
        seed = f"{notice.event.delivery} {notice.job.name} {notice.source}"
        documents.append(event_document(release_event(notice), seed, _deployment(api, notice)))

    api.send("POST", "/events", documents)


def release_event(notice: Notice) -> RunEvent:
    """`nightscore.release.alias_moved` or `nightscore.release.version_created`.

    It sends a message if the version lacks something: somebody has a command to give.
    """
    severity = "warning" if notice.missing else "ok"
    kind = "alias_moved" if notice.role != "none" else "version_created"

    resource = {
        "prefect.resource.id": f"nightscore.job.{notice.job.name}",
        "prefect.resource.name": notice.job.name,
        "nightscore.severity": severity,
        "nightscore.notify": "true" if notice.missing else "false",
    }

    return RunEvent(f"nightscore.release.{kind}", resource, _payload(notice, severity))


def _payload(notice: Notice, severity: str) -> dict[str, Any]:
    event = notice.event

    what = {
        "job": notice.job.name,
        "model": event.model,
        "alias": event.alias,
        "version": event.version,
        "role": notice.role,
        "missing": [part.name for part in notice.missing],
        "commands": [part.command for part in notice.missing],
    }

    told = {
        "severity": severity,
        "sign": SIGNS[severity],
        "subject": printable(notice.subject),
        "message": " ".join(notice.lines),
        "text": "\n".join(notice.lines),
    }

    return what | told


def event_document(
    event: RunEvent, seed: str, related: Sequence[Mapping[str, str]] = ()
) -> dict[str, Any]:
    """An event as Prefect's API takes it.

    Args:
        event: The event.
        seed: What makes it this one: the same again is the same event.
        related: Resources that it names beside its own.
    """
    return {
        "id": str(uuid.uuid5(_IDS, seed)),
        "occurred": datetime.now(UTC).isoformat(),
        "event": event.name,
        "resource": event.resource,
        "related": list(related),
        "payload": event.payload,
    }


def _deployment(api: Api, notice: Notice) -> list[Mapping[str, str]]:
    """The job's deployment that looks at the version: automations run what an event names."""
    name = f"{notice.job.name}-{NEW_VERSION}"
    found = api.get(f"/deployments/name/{NEW_VERSION}/{quote(name, safe='')}")
    if found is None:
        return []

    return [
        {
            "prefect.resource.id": f"prefect.deployment.{found['id']}",
            "prefect.resource.role": "deployment",
            "prefect.resource.name": name,
        }
    ]
