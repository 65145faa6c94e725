"""The events of webhooks, and that a delivery that comes again is the same event."""

from typing import Any

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from nightscore.flows.prefect_server import PrefectServer
from nightscore.flows.release_events import emit_release_events, release_event, send_events
from nightscore.inputs.jobfile import parse_job
from nightscore.operations.missing_parts import MissingPart
from nightscore.operations.webhooks.notices import Notice
from nightscore.operations.webhooks.registry_event import RegistryEvent
from tests.fakes.prefect_api import MemoryPrefect

JOB = parse_job(
    {
        "name": "late",
        "model": "models:/delay@champion",
        "input": {"uri": "/lake/features"},
        "output": {"uri": "/lake/predictions"},
        "keys": ["id"],
    }
)
MOVED = RegistryEvent(
    delivery="0b1ad7bd", kind="alias_moved", model="delay", version="2", alias="champion"
)
PIN = MissingPart("pin", "nightscore pin models:/delay/2")


def notice(**changes: Any) -> Notice:
    fields = {"event": MOVED, "job": JOB, "source": "late", "role": "champion"}
    return Notice(**(fields | changes))


def test_an_event_says_what_is_missing_and_asks_for_a_message() -> None:
    event = release_event(notice(missing=(PIN,)))

    assert event.name == "nightscore.release.alias_moved"
    assert event.resource == {
        "prefect.resource.id": "nightscore.job.late",
        "prefect.resource.name": "late",
        "nightscore.severity": "warning",
        "nightscore.notify": "true",
    }
    assert event.payload == {
        "job": "late",
        "model": "delay",
        "alias": "champion",
        "version": "2",
        "role": "champion",
        "severity": "warning",
        "sign": "🟠",
        "subject": "late: delay@champion means version 2 now",
        "message": "late: delay@champion means version 2 now. It has no pin; "
        "`nightscore pin models:/delay/2` adds it.",
        "text": "late: delay@champion means version 2 now.\nIt has no pin; "
        "`nightscore pin models:/delay/2` adds it.",
        "missing": ["pin"],
        "commands": ["nightscore pin models:/delay/2"],
    }


def test_a_version_that_lacks_nothing_sends_no_message() -> None:
    event = release_event(notice())
    assert (event.resource["nightscore.notify"], event.payload["severity"]) == ("false", "ok")

    created = RegistryEvent(delivery="1", kind="version_created", model="delay", version="3")
    event = release_event(notice(event=created, role="none"))
    assert event.name == "nightscore.release.version_created"
    assert event.payload["subject"] == "late: delay has a new version 3"


def test_names_forge_no_line_of_a_message() -> None:
    moved = RegistryEvent(
        delivery="1", kind="alias_moved", model="a\nb", version="2", alias="c\x1b"
    )
    event = release_event(notice(event=moved))
    assert "\n" not in event.payload["subject"]
    assert len(event.payload["text"].splitlines()) == 1


def test_a_delivery_that_comes_again_is_the_same_event() -> None:
    prefect = MemoryPrefect()
    for _ in range(2):
        send_events(prefect, [notice(), notice(job=JOB.model_copy(update={"name": "later"}))])

    first, other, again, _ = (event["id"] for event in prefect.events)
    assert first == again
    assert first != other


@pytest.mark.slow
def test_a_real_server_takes_them(server: PrefectServer) -> None:
    with temporary_settings({PREFECT_API_URL: server.api_url}):
        emit_release_events([notice(missing=(PIN,))])


def test_without_a_server_nothing_is_sent() -> None:
    with temporary_settings({PREFECT_API_URL: None}):
        emit_release_events([notice()])
