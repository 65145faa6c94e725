"""A real Prefect server tells a webhook, Slack and a mail server what changed: once, and not what merely goes on."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path
from queue import Queue
from typing import Any

import pandas as pd
import pytest
import yaml
from prefect.settings import PREFECT_API_URL, temporary_settings

from nightscore.engine.backends.local import WorkerPool
from nightscore.flows.prefect_server import PrefectServer, prefect_server
from nightscore.flows.release_events import emit_release_events
from nightscore.flows.stack.http_calls import request
from nightscore.flows.tag import TAG
from nightscore.inputs.jobfile import parse_job
from nightscore.models.cache import ModelCache
from nightscore.operations.baseline import record_baseline
from nightscore.operations.webhooks.notices import Notice
from nightscore.operations.webhooks.registry_event import RegistryEvent
from tests.flows.test_end_to_end import ROOT, wait_for
from tests.support.lake import Lake
from tests.support.models import copy_registry, make_frame
from tests.support.prefect_database import place_database
from tests.support.receivers import PATIENCE_S, SLACK, HttpReceiver, MailReceiver, Post

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # a busy machine

SECRET = "T00000000/B00000000/aVerySecretToken"
RUNS = """
import asyncio, sys
from datetime import date
from nightscore.flows.backfill import backfill
from nightscore.flows.nightly import nightly
from nightscore.flows.partition import score_partition
for job, *days in (word.split() for word in sys.argv[1:]):
    if len(days) == 1:
        state = asyncio.run(score_partition(job, days[0], report=False, return_state=True))
    else:
        state = asyncio.run(backfill(job, *map(date.fromisoformat, days), return_state=True))
    assert state.is_completed() or "held" in state.message, state.message
night = date(2024, 3, 7)
state = asyncio.run(nightly("broken", night, look_back_days=1, return_state=True))
assert state.is_failed(), state.message
print(state.message)
"""
"""In a process of its own that ends at once: events that were not sent by then would be lost."""


@dataclass
class Told:
    """What the runs of the fixture have sent."""

    server: PrefectServer
    environment: dict[str, str]
    posts: list[Post]
    slack: list[Post]
    mails: list[EmailMessage]
    registered: list[str]
    night: str
    """What the state of the failed nightly run says."""

    def api(self, path: str, body: Any = None) -> Any:
        return request(self.server.api_url, "POST", path, body or {})


def make_alerts(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "nightscore.cli", "alerts"]
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


def output_of(process: subprocess.CompletedProcess[str]) -> str:
    """What a command printed, without the line with which Prefect waits for its own events."""
    lines = (process.stdout + process.stderr).splitlines(keepends=True)
    return "".join(line for line in lines if "Still processing items" not in line)


def shifted(seed: int) -> pd.DataFrame:
    frame = make_frame(4_000, seed=seed)
    frame["a"] += 2
    return frame


def crash(api: str, flow: str, *, deployed: bool, tags: Sequence[str] = ()) -> str:
    """Create a run, and say that it crashed, as the worker or an automation does; returns its id."""
    flow_id = request(api, "POST", "/flows/", {"name": flow})["id"]
    path, body = (
        "/flow_runs/",
        {"flow_id": flow_id, "name": "lost", "parameters": {"job": "nights"}},
    )
    if deployed:
        named = {"name": "nights-nightly", "flow_id": flow_id, "tags": [*tags]}
        deployment = request(api, "POST", "/deployments/", named)["id"]
        path = f"/deployments/{deployment}/create_flow_run"
        del body["flow_id"]
    run_id: str = request(api, "POST", path, body)["id"]
    state = {"type": "CRASHED", "name": "Crashed", "message": 'killed by "<OOM>"'}
    request(api, "POST", f"/flow_runs/{run_id}/set_state", {"state": state, "force": True})
    return run_id


def move_alias(api: str) -> None:
    """Pass on that MLflow has moved an alias of a job that is deployed, and of one that is not."""
    flow_id = request(api, "POST", "/flows/", {"name": "new-version"})["id"]
    named = {"name": "nights-new-version", "flow_id": flow_id, "parameters": {"job": "nights"}}
    request(api, "POST", "/deployments/", named)

    moved = RegistryEvent(
        delivery="1", kind="alias_moved", model="delay", version="2", alias="champion"
    )
    jobs = [
        parse_job(
            {
                "name": name,
                "model": "models:/delay@champion",
                "input": {"uri": "/lake/features"},
                "output": {"uri": "/lake/predictions"},
                "keys": ["id"],
            }
        )
        for name in ("nights", "elsewhere")
    ]
    notices = [Notice(event=moved, job=job, source=job.name, role="champion") for job in jobs]

    with temporary_settings({PREFECT_API_URL: api}):
        for _ in range(2):  # a delivery that comes again is the same event
            emit_release_events(notices)


def take(queue: "Queue[Any]", n: int) -> list[Any]:
    return [queue.get(timeout=PATIENCE_S) for _ in range(n)]


@pytest.fixture(scope="module")
def told(
    tmp_path_factory: pytest.TempPathFactory,
    prefect_database: Path,
    registry_root: Path,
    registry: str,
    pool: WorkerPool,
    cache: ModelCache,
    thorough: bool,
) -> Iterator[Told]:
    """Quiet, shifted, still shifted, a backfill of some of these, quiet again; and a shift that a gate holds.

    Then a night that fails, with its late data, and runs that crash.
    """
    root = tmp_path_factory.mktemp("alerts")
    http, mail = HttpReceiver(root), MailReceiver()
    lake = Lake(
        str(root / "lake"), {}, copy_registry(registry_root, root / "registry"), pool, cache
    )
    jobs = root / "jobs"
    jobs.mkdir()
    for name in ("nights", "past", "gated", "broken"):
        output = {"uri": f"{lake.root}/{name}"}
        job = lake.job(output=output, drift={"gate": "hold" if name == "gated" else "warn"})
        (jobs / f"{name}.yaml").write_text(
            yaml.safe_dump(job.model_dump(mode="json") | {"name": name})
        )
    (root / "training").mkdir()
    make_frame(20_000, seed=1).to_parquet(root / "training" / "part.parquet")
    record_baseline(lake.job(), str(root / "training"), pool, cache)
    frames = [make_frame(4_000, seed=2), shifted(3), shifted(4), make_frame(4_000, seed=5)]
    for day, frame in enumerate(frames, 1):
        lake.write(f"2024-03-0{day}", frame)
    lake.write("2024-03-06", make_frame(5).drop(columns="a"))
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        for receiver in (http, mail):
            stack.enter_context(receiver.listening())
        for variable, value in http.environment.items():
            patch.setenv(variable, value)  # of the server
        place_database(prefect_database, root / "prefect")
        server = stack.enter_context(prefect_server(root / "prefect"))
        for variable in http.environment:
            patch.delenv(variable)
        server.wait()
        environment = os.environ | server.environment
        environment |= {"NIGHTSCORE_CACHE": str(cache.root), "NIGHTSCORE_JOBS": str(jobs)}
        addresses = {
            "NIGHTSCORE_ALERT_WEBHOOK": f"{http.url}/hook",
            "NIGHTSCORE_ALERT_SLACK": f"https://{SLACK}/services/{SECRET}",
            "NIGHTSCORE_ALERT_EMAIL": mail.url,
        }
        registered = [make_alerts(environment | addresses) for _ in range(2)]
        runs = [
            "nights 2024-03-01",
            "nights 2024-03-02",
            "nights 2024-03-03",
            f"past 2024-03-01 2024-03-0{4 if thorough else 2}",
        ]
        runs += ["nights 2024-03-04", "gated 2024-03-02"]
        done = subprocess.run(
            [sys.executable, "-c", RUNS, *runs],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        posts = take(http.posts, 8)
        mails = take(mail.mails, 4)
        crash(server.api_url, "score-partition", deployed=False)  # a child of a run that crashed
        crash(server.api_url, "nightly", deployed=True)  # another team's, of the same name
        crash(server.api_url, "nightly", deployed=True, tags=[TAG])
        posts += take(http.posts, 2)
        mails += take(mail.mails, 1)
        move_alias(server.api_url)
        received = Told(
            server,
            environment | addresses,
            [post for post in posts if post.path == "/hook"],
            [post for post in posts if post.path != "/hook"],
            mails,
            [output_of(one) for one in registered],
            done.stdout,
        )
        executed = {"filter": {"event": {"name": ["prefect.automation.action.executed"]}}}
        wait_for(
            lambda: received.api("/events/filter", executed)["total"] >= 16,
            "all actions to be recorded",
        )
        yield received
        assert received.api("/events/filter", executed)["total"] == 16
        assert http.posts.empty()
        assert mail.mails.empty()


def test_each_change_is_told_once_and_what_goes_on_is_not(told: Told) -> None:
    told_by_webhook = [
        (post.body["event"], post.body["run"].get("partition")) for post in told.posts
    ]
    assert told_by_webhook == [
        ("nightscore.drift.critical", "2024-03-02"),
        ("nightscore.drift.resolved", "2024-03-04"),
        ("nightscore.run.held", "2024-03-02"),
        ("nightscore.run.failed", "2024-03-07, 2024-03-06"),
        ("prefect.flow-run.Crashed", None),
    ]
    subjects = ["nights 2024-03-02: drift critical: a", "nights 2024-03-04: drift resolved: a"]
    subjects.append("gated 2024-03-02: held by drift; drift critical: a")
    subjects += ["broken: 2 partitions failed: 2024-03-07, 2024-03-06", "lost: crashed"]
    for mail, subject in zip(told.mails, subjects, strict=True):
        assert mail["Subject"].startswith(subject)
    for post, subject in zip(told.slack, subjects, strict=True):
        assert subject in json.dumps(post.body)


def test_a_webhook_gets_the_findings(told: Told) -> None:
    first = told.posts[0]
    assert first.content_type == "application/json"
    run = first.body["run"]
    assert (run["job"], run["severity"], run["status"], run["model_version"]) == (
        "nights",
        "critical",
        "published",
        "1",
    )
    finding = run["new"][0]
    assert (finding["column"], finding["severity"], finding["was"]) == ("a", "critical", None)
    assert (finding["since"], bool(finding["impact"]), bool(finding["reasons"])) == (
        "2024-03-02",
        True,
        True,
    )
    assert run["report"] == "nightscore report nights 2024-03-02"
    flow_run = run["flow_run_url"].rpartition("/")[2]
    assert (
        request(told.server.api_url, "GET", f"/flow_runs/{flow_run}")["name"]
        == "nights · 2024-03-02"
    )


def test_a_person_can_read_it(told: Told) -> None:
    (message,) = (part for part in [told.mails[0].get_body(("plain",))] if part)
    lines = message.get_content().splitlines()
    assert told.mails[0]["To"] == "oncall@example.com"
    assert "New, against the model's baseline:" in lines
    assert any(line.startswith("• a: critical, moves the mean score by ") for line in lines), lines
    assert any(line.startswith("Run: http://127.0.0.1:") for line in lines)
    assert "    nightscore report nights 2024-03-02" in lines
    slack = told.slack[0]
    assert (slack.host, slack.path) == (SLACK, f"/services/{SECRET}")
    (attachment,) = slack.body["attachments"]
    assert attachment["title"].startswith("🔴 nights 2024-03-02: drift critical: a")
    assert "• a: critical, moves the mean score by " in attachment["text"]
    assert "\nRun: http://127.0.0.1:" in attachment["text"]
    held = told.slack[2].body["attachments"][0]["text"]
    assert "    nightscore approve gated 2024-03-02, or nightscore reject gated 2024-03-02" in held


def test_a_failed_night_says_why_and_what_to_run(told: Told) -> None:
    assert (
        "; late data: 1 more partition, 1 failed (2024-03-06); causes and what to run again: "
        in (told.night)
    )
    run = told.posts[3].body["run"]
    assert run["commands"] == [
        "nightscore run broken 2024-03-07",
        "nightscore run broken 2024-03-06",
    ]
    missing, broken = run["failures"]
    assert missing["what"].startswith("There is no partition"), missing
    assert missing["next"]
    assert (broken["partition"], broken["expected"][:10]) == ("2024-03-06", "5 features"), broken
    assert broken["next"]
    for command in run["commands"]:
        assert f"    {command}" in run["text"]
    assert "a: is missing (double)" in run["text"]
    night = request(
        told.server.api_url, "GET", f"/flow_runs/{run['flow_run_url'].rpartition('/')[2]}"
    )
    assert night["name"] == "broken · nightly 2024-03-07"
    named = {"artifacts": {"key": {"any_": ["broken-nightly"]}}}
    (page,) = told.api("/artifacts/filter", named)
    assert (page["description"], page["flow_run_id"]) == ("0 done, 2 failed", night["id"])
    for shown in ("**2024-03-06**", "a: is missing (double)", *run["commands"]):
        assert shown in page["data"]
    logs = told.api("/logs/filter", {"logs": {"flow_run_id": {"any_": [night["id"]]}}})
    assert any("a: is missing (double)" in line["message"] for line in logs)


def test_a_crashed_run_is_told_by_its_state(told: Told) -> None:
    run = told.posts[4].body["run"]
    assert (run["job"], run["status"], run["subject"]) == ("nights", "crashed", "lost: crashed")
    assert run["message"] == 'killed by "<OOM>"'
    lost = request(told.server.api_url, "GET", f"/flow_runs/{run['flow_run_url'].split('/')[-1]}")
    assert (lost["name"], lost["state_type"]) == ("lost", "CRASHED")
    slack = json.dumps(told.slack[4].body)
    assert "killed by " in slack
    assert "<OOM>" not in slack, "no link, and no call of a whole channel"
    assert "&lt;OOM&gt;" in slack, "escaped once: readers see <OOM>"


def test_every_change_is_an_event_of_its_run(told: Told) -> None:
    prefixes = ["nightscore.drift.", "nightscore.performance.", "nightscore.run."]
    found = told.api("/events/filter", {"filter": {"event": {"prefix": prefixes}}})
    events = found["events"]
    by_job = {
        job: sorted(
            (e["event"], e["payload"]["partition"]) for e in events if e["payload"]["job"] == job
        )
        for job in ("nights", "past", "gated")
    }
    assert by_job["nights"] == [
        ("nightscore.drift.critical", "2024-03-02"),
        ("nightscore.drift.resolved", "2024-03-04"),
    ]
    assert by_job["gated"] == [
        ("nightscore.drift.critical", "2024-03-02"),
        ("nightscore.run.held", "2024-03-02"),
    ]
    assert by_job["past"], "a backfill's are kept, and sent to nobody"
    assert all(
        event["resource"]["nightscore.notify"] == "false"
        for event in events
        if event["payload"]["job"] == "past"
    )
    assert all(
        any(related["prefect.resource.role"] == "flow-run" for related in event["related"])
        for event in events
    )
    assert SECRET not in json.dumps(told.api("/events/filter", {"limit": 50}))


def test_an_alias_that_moves_starts_one_run_that_looks_at_the_version(told: Told) -> None:
    named = {"flows": {"name": {"any_": ["new-version"]}}}
    (run,) = told.api("/flow_runs/filter", named)
    assert run["parameters"] == {
        "job": "nights",
        "model": "delay",
        "alias": "champion",
        "version": "2",
    }
    assert run["state_type"] == "SCHEDULED"
    moved = {"filter": {"event": {"prefix": ["nightscore.release."]}}}
    events = told.api("/events/filter", moved)["events"]
    assert sorted(event["payload"]["job"] for event in events) == ["elsewhere", "nights"]


def test_registering_again_changes_nothing(told: Told) -> None:
    first, again = told.registered
    lines = first.splitlines()
    kinds = [line.split()[0] for line in lines[:-1]]
    assert kinds == ["block"] * 3 + ["automation"] * 9
    assert all(line.endswith("  created") for line in lines[:-1]), first
    assert lines[-1] == "12 things created."
    unchanged = first.replace("12 things created.", "Nothing changed.")
    assert again == unchanged.replace("created", "unchanged")
    automations = told.api("/automations/filter")
    assert sorted(automation["name"] for automation in automations) == [
        "Crash runs that stay pending",
        "Crash runs without a heartbeat",
        "Look at new model versions",
        "Nightscore alerts by e-mail",
        "Nightscore alerts by webhook",
        "Nightscore alerts in Slack",
        "Nightscore crashes by e-mail",
        "Nightscore crashes by webhook",
        "Nightscore crashes in Slack",
    ]
    assert len(told.api("/block_documents/filter")) == 3


def test_what_has_no_address_is_left_as_it_is(told: Told) -> None:
    bare = {k: v for k, v in told.environment.items() if not k.startswith("NIGHTSCORE_ALERT")}
    told_again = " ".join(make_alerts(bare).stdout.split())
    assert "alerts by e-mail skipped: NIGHTSCORE_ALERT_EMAIL is not set" in told_again
    assert len(told.api("/automations/filter")) == 9


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "PREFECT_API_URL is not set"),
        ({"PREFECT_API_URL": "http://127.0.0.1:9/api"}, "The Prefect server does not answer"),
        (
            {"NIGHTSCORE_ALERT_EMAIL": "oncall secret"},
            "NIGHTSCORE_ALERT_EMAIL is not an address that Apprise knows",
        ),
        ({"NIGHTSCORE_ALERT_WEBHOOK": "a secret"}, "NIGHTSCORE_ALERT_WEBHOOK is not a URL"),
    ],
)
def test_what_cannot_be_registered_is_said(told: Told, changes: dict[str, str], said: str) -> None:
    bare = {
        k: v
        for k, v in told.environment.items()
        if not k.startswith(("NIGHTSCORE_ALERT", "PREFECT_API_URL"))
    }
    server = {"PREFECT_API_URL": told.server.api_url} if "NIGHTSCORE" in "".join(changes) else {}
    done = make_alerts(bare | server | changes)
    assert done.returncode == (2 if "NIGHTSCORE_ALERT" in said else 1)
    assert done.stderr.startswith(said), done.stderr
    assert "  next:     " in done.stderr
    assert "Traceback" not in done.stderr
    assert "secret" not in done.stderr
