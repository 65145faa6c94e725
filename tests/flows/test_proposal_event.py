"""The event of a proposed version, which alerts those who may decide."""

from datetime import UTC, datetime

import pytest
import yaml
from prefect.settings import PREFECT_API_URL, temporary_settings

from nightscore.deploy import AUTOMATIONS
from nightscore.flows.proposal_event import emit_proposal_event, proposal_event
from nightscore.schemas.release_entry import ReleaseEntry, VersionRecord
from tests.flows.test_release_events import JOB

PROPOSAL = ReleaseEntry(
    number=3,
    kind="promoted",
    registry="sqlite:///mlflow.db",
    model="delay",
    alias="champion",
    before=VersionRecord(version="1", digest=""),
    after=VersionRecord(version="2", digest=""),
    job="late",
    by="anna@host",
    at=datetime(2026, 11, 24, tzinfo=UTC),
    proposed_at=datetime(2026, 11, 24, tzinfo=UTC),
    engine="1.0",
    note="on June\n🔴 forged",
    jobs=("late", "later"),
)
LINES = [
    "Version 2 is proposed by anna@host at 2026-11-24 00:00 UTC. Somebody else makes it live with "
    "`nightscore approve late --release 2`, or drops it with `nightscore reject late --release 2`.",
    "In Prefect it is the form decide-release/late-decide.",
]


def test_it_names_the_commands_and_the_form_that_decide() -> None:
    event = proposal_event(JOB, PROPOSAL)

    assert event.name == "nightscore.release.proposed"
    assert event.resource["prefect.resource.id"] == "nightscore.job.late"
    assert event.resource["nightscore.notify"] == "true"
    payload = event.payload
    assert payload["subject"] == "late: version 2 waits for approval as delay@champion"
    assert payload["commands"] == [
        "nightscore approve late --release 2",
        "nightscore reject late --release 2",
    ]
    assert payload["form"] == "decide-release/late-decide"
    *lines, note, jobs = payload["text"].split("\n")
    assert lines == LINES
    assert note.startswith("Note: on June"), "and forges no line"
    assert jobs == "Jobs that it would move: late, later."


@pytest.mark.parametrize("channel", ["webhook", "slack", "email"])
def test_all_channels_send_it(channel: str) -> None:
    automation = yaml.safe_load((AUTOMATIONS / f"drift-{channel}.yaml").read_text())
    assert "nightscore.release.proposed" in automation["trigger"]["expect"]


def test_without_a_server_nothing_is_sent() -> None:
    with temporary_settings({PREFECT_API_URL: None}):
        emit_proposal_event(JOB, PROPOSAL)
