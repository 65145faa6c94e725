"""`nightscore up` and `down`: all services healthy, in use in a browser, and nothing left of them."""

import asyncio
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psutil
import pytest
import yaml

from nightscore.flows.demo.calendar import today_at
from nightscore.flows.demo.sample import Sample
from nightscore.flows.nightly import logical_date
from nightscore.flows.stack.http_calls import request
from nightscore.flows.stack.settings import Settings
from nightscore.inputs.jobfile import load_job
from nightscore.ledger.timeline import latest_publications, recorded_values
from nightscore.ledger.workspace import Workspace
from nightscore.operations.webhooks.route import PATH
from nightscore.schemas.manifest import Manifest
from tests.flows.conftest import (
    WEBHOOK_SECRET,
    Stack,
    a_stack,
    assert_nothing_is_left,
    copy_of,
)
from tests.flows.test_end_to_end import wait_for
from tests.support.browser import needs_browser, open_browser

PATIENCE_MS = 60_000
START, END, BROKEN = date(2013, 7, 8), date(2013, 7, 11), "2013-07-10"
SHOWN_START, SHOWN_END = date(2013, 7, 5), date(2013, 7, 14)
"""Of thorough runs, and of the pictures in the README."""
FINAL = ("COMPLETED", "FAILED", "CANCELLED", "CRASHED")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # a busy machine


def in_browser(test: Callable[..., None]) -> Callable[..., None]:
    return needs_browser(pytest.mark.filterwarnings("ignore::ResourceWarning")(test))


def nightscore(stack: Stack, *arguments: str) -> str:
    """The command, with what `nightscore up` says to export."""
    done = subprocess.run(
        [sys.executable, "-m", "nightscore.cli", *arguments],
        env=os.environ | stack.settings.client_environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_up_means_that_all_is_healthy(stack: Stack) -> None:
    for url in (stack.settings.prefect_url, stack.settings.mlflow_url):
        with urllib.request.urlopen(url, timeout=20) as page:
            assert page.status == 200
    assert {deployment["name"] for deployment in deployments(stack)} == {
        "flight_delay-nightly",
        "flight_delay-backfill",
        "flight_delay-partition",
        "flight_delay-evaluate",
        "flight_delay-promote",
        "flight_delay-demote",
        "flight_delay-new-version",
    }
    automations = request(stack.settings.api_url, "POST", "/automations/filter", {})
    assert sorted(automation["name"] for automation in automations) == [
        "Crash runs that stay pending",
        "Crash runs without a heartbeat",
        "Look at new model versions",
    ]
    queue = request(stack.settings.api_url, "GET", "/work_pools/local/queues/backfill")
    assert queue["concurrency_limit"] == 1
    state = stack.state
    assert state is not None
    mlflow = state.process("mlflow")
    assert mlflow is not None
    assert len([mlflow, *mlflow.children(recursive=True)]) == 2
    assert "up" in stack.call("status").stdout


def test_last_night_is_published_and_evaluated_by_scheduled_runs(stack: Stack) -> None:
    """By the schedules' own runs, which the stack has missed: it was not up."""

    def ended_runs(name: str) -> list[dict[str, Any]]:
        flow_runs = {"state": {"name": {"any_": ["Completed", "Failed", "Crashed"]}}}
        body = {"flow_runs": flow_runs, "deployments": {"name": {"any_": [f"flight_delay-{name}"]}}}
        return list(request(stack.settings.api_url, "POST", "/flow_runs/filter", body))

    (run,) = wait_for(lambda: ended_runs("nightly"), "the nightly run")
    (evaluation,) = wait_for(lambda: ended_runs("evaluate"), "its evaluation")
    state = stack.state
    worker = state.process("worker") if state else None
    assert worker is not None
    wait_for(lambda: not worker.children(), "the runs' processes to end")

    assert run["auto_scheduled"] is True
    assert run["state"]["message"].partition(";")[0].endswith("0 quarantined"), run["state"]
    scheduled = datetime.fromisoformat(run["expected_start_time"])
    assert scheduled < datetime.fromisoformat(run["start_time"])
    assert scheduled.astimezone(ZoneInfo("America/New_York")).hour == 3
    last_night = logical_date(scheduled, "America/New_York", 1)
    assert run["name"] == f"flight_delay · nightly {last_night}"

    assert evaluation["auto_scheduled"] is True
    assert evaluation["state"]["message"].startswith("4 partitions evaluated, 0 unchanged")
    page = f"{stack.settings.pages_url}/flight_delay/-/performance"
    with urllib.request.urlopen(page, timeout=20) as answer:
        html = answer.read().decode()
    assert str(last_night) in html
    assert "4 matured partitions" in html


def test_up_again_says_so(stack: Stack) -> None:
    before = stack.processes()
    again = stack.call("up")
    assert again.returncode == 0
    assert again.stdout.startswith("The stack is already running.")
    assert stack.settings.prefect_url in again.stdout
    other = Stack(Settings.from_dict(stack.settings.as_dict() | {"store": "s3"})).call("up")
    assert other.returncode == 1
    assert "found:    --store local --db sqlite" in other.stderr
    assert "to change them, stop it first: nightscore down" in other.stderr
    assert {p.pid for p in before} == {p.pid for p in stack.processes()}


def test_a_port_that_is_taken_is_named_before_anything_starts(stack: Stack, tmp_path: Path) -> None:
    elsewhere = Stack(Settings.from_dict(stack.settings.as_dict() | {"root": str(tmp_path)}))
    refused = elsewhere.call("up")
    assert refused.returncode == 1
    for name in ("prefect", "mlflow", "pages"):
        port = getattr(stack.settings, f"{name}_port")
        assert f"- {port} ({name}): --{name}-port sets another" in refused.stderr
    assert "nightscore up --prefect-port " in refused.stderr
    assert elsewhere.state is None


def test_the_command_finds_the_job_by_its_name(stack: Stack) -> None:
    printed = nightscore(
        stack, "backfill", "flight_delay", "--from", "2013-02-01", "--to", "2013-02-03", "--dry-run"
    )
    assert "3 of 3 partitions to score" in printed


@pytest.fixture
def trial(stack: Stack) -> Iterator[Path]:
    """The file of a job that tries `flight_delay@trial`, and its deployments."""
    raw = yaml.safe_load(stack.settings.job_file.read_text())
    output = {"uri": str(Path(stack.settings.root) / "predictions_of_trial")}
    release = {"challenger": "models:/flight_delay@trial"}
    path = stack.settings.jobs / "trial.yaml"
    path.write_text(yaml.safe_dump(raw | {"name": "trial", "output": output, "release": release}))
    nightscore(stack, "deploy", "trial", "--no-check")
    yield path
    path.unlink()
    for deployment in deployments(stack):
        if deployment["name"].startswith("trial-"):
            request(stack.settings.api_url, "DELETE", f"/deployments/{deployment['id']}")


def deployments(stack: Stack) -> list[dict[str, Any]]:
    return list(request(stack.settings.api_url, "POST", "/deployments/filter", {}))


def registry(stack: Stack, method: str, path: str, body: Any = None) -> Any:
    """What MLflow answers, which is called as by somebody who has no Python."""
    return request(f"{stack.settings.mlflow_url}/api/2.0/mlflow", method, path, body)


def add_version(stack: Stack) -> str:
    """Another version of the demo's model, the same but for its number."""
    first = registry(stack, "GET", "/model-versions/get?name=flight_delay&version=1")
    same = {name: first["model_version"][name] for name in ("name", "source", "tags")}
    same["model_id"] = same["source"].rpartition("/")[2]
    created = registry(stack, "POST", "/model-versions/create", same)
    return str(created["model_version"]["version"])


def test_an_alias_that_moves_in_mlflow_is_checked_and_scored_at_once(
    stack: Stack, trial: Path
) -> None:
    """MLflow, webhook, pages, event, automation, worker, flow, shadow run: all of them real."""
    version = add_version(stack)
    webhook = {
        "name": "nightscore",
        "url": f"{stack.settings.pages_url}{PATH}",
        "events": [{"entity": "MODEL_VERSION_ALIAS", "action": "CREATED"}],
        "secret": WEBHOOK_SECRET,
    }
    registry(stack, "POST", "/webhooks", webhook)
    alias = {"name": "flight_delay", "alias": "trial", "version": version}
    registry(stack, "POST", "/registered-models/alias", alias)

    def ended_run() -> Any:
        named = {"deployments": {"name": {"any_": ["trial-new-version"]}}}
        runs = request(stack.settings.api_url, "POST", "/flow_runs/filter", named)
        return next((run for run in runs if run["state_type"] in FINAL), None)

    run = wait_for(ended_run, "the version to be looked at")
    assert run["state"]["type"] == "COMPLETED", run["state"]
    assert run["name"] == f"trial · flight_delay@trial version {version}"
    message = run["state"]["message"]
    assert "by the job's model and by the challenger." in message
    assert f"; flight_delay v{version} in its shadow" in message

    (champions,), (challengers,) = newest(trial), newest(Path(f"{trial}@trial"))
    assert champions.challengers[0].status == "published"
    assert (champions.model.version, challengers.model.version) == ("1", version)
    assert challengers.champion_run_id == champions.run_id
    assert challengers.counts.rows_scored == champions.counts.rows_scored > 0


def newest(job: Path) -> list[Manifest]:
    workspace = Workspace(load_job(str(job)))
    return list(latest_publications(workspace, recorded_values(workspace)))


def test_down_when_nothing_is_up(tmp_path: Path) -> None:
    assert a_stack(tmp_path).call("down").stdout == "Nothing is running.\n"


def test_s3_and_postgres_and_a_supervisor_that_is_killed(
    sample: Sample, tmp_path: Path, thorough: bool
) -> None:
    stack = a_stack(copy_of(sample, tmp_path / "root"), "s3", "postgres")
    first = stack.call("up")
    assert first.returncode == 0, first.stdout + first.stderr
    assert "uploading the lake to the bucket" in first.stdout
    ran = nightscore(stack, "run", "flight_delay", "2013-02-01")
    assert "s3://lake/predictions/flight_delay" in ran
    day = ["--from", "2013-02-01", "--to", "2013-02-01"]
    nightscore(stack, "evaluate", "flight_delay", *day)
    assert "2013-02-01" in nightscore(stack, "history", "flight_delay", "roc_auc")
    assert asyncio.run(_flows_in_postgres(stack)) == {
        "nightly",
        "backfill",
        "score-partition",
        "evaluate",
        "promote",
        "demote",
        "new-version",
    }
    state = stack.state
    assert state is not None
    processes = stack.processes()
    named = {name: process.name() for name in state.processes if (process := state.process(name))}
    assert (named["seaweedfs"], named["postgres"]) == ("weed", "postgres")
    supervisor = state.process("supervisor")
    assert supervisor is not None

    supervisor.kill()

    _, alive = psutil.wait_procs(processes, timeout=60)
    assert not alive, [p.cmdline() for p in alive]
    if thorough:
        again = stack.call("up")
        assert again.returncode == 0, again.stdout + again.stderr
        unchanged = nightscore(stack, "run", "flight_delay", "2013-02-01")
        assert "unchanged" in unchanged  # the bucket is still the same
    left = stack.processes()
    assert stack.call("down").returncode == 0
    assert_nothing_is_left(stack, left)
    assert not list(Path("/tmp").glob(f"seaweedfs-*{stack.settings.s3_port}*"))
    assert not list((stack.settings.folder / "postgres").glob("*.pid"))


async def _flows_in_postgres(stack: Stack) -> set[str]:
    import asyncpg

    connection: Any = await asyncpg.connect(
        host="127.0.0.1", port=stack.settings.postgres_port, user="nightscore", database="postgres"
    )
    try:
        return {row["name"] for row in await connection.fetch("select name from flow")}
    finally:
        await connection.close()


@pytest.fixture(scope="module")
def page() -> Iterator[Any]:
    with open_browser() as browser:
        page = browser.new_page(viewport={"width": 1180, "height": 820})
        page.set_default_timeout(PATIENCE_MS)
        yield page


@pytest.fixture(scope="module")
def dates(thorough: bool) -> tuple[date, date]:
    """First and last date of the backfill."""
    is_long = thorough or "NIGHTSCORE_PICTURES" in os.environ
    return (SHOWN_START, SHOWN_END) if is_long else (START, END)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where screenshots go; NIGHTSCORE_PICTURES names the folder that the README shows."""
    folder = Path(os.environ.get("NIGHTSCORE_PICTURES") or tmp_path_factory.mktemp("pictures"))
    folder.mkdir(exist_ok=True)
    return folder


def picture(page: Any, folder: Path, name: str) -> None:
    page.wait_for_load_state("networkidle")
    path = folder / f"{name}.png"
    page.screenshot(path=path)
    assert 10_000 < path.stat().st_size < 300 << 10


def pick(page: Any, name: str, day: date) -> None:
    """Fill in a date as a person does: open the calendar, type it, apply."""
    page.get_by_text("Select date").first.click()
    page.locator("input[type=date]").fill(day.isoformat())
    page.get_by_role("button", name="Apply").click()
    page.locator("input[type=date]").wait_for(state="hidden")


def finished(stack: Stack, run_id: str) -> dict[str, Any]:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        run: dict[str, Any] = request(stack.settings.api_url, "GET", f"/flow_runs/{run_id}")
        if run["state_type"] in FINAL:
            return run
        time.sleep(0.5)
    raise AssertionError(f"run {run_id} did not end")


def newest_artifact(stack: Stack, key: str, text: str = "") -> str:
    artifacts = request(
        stack.settings.api_url, "POST", "/artifacts/filter", {"artifacts": {"key": {"any_": [key]}}}
    )
    return next(str(artifact["id"]) for artifact in artifacts if text in str(artifact["data"]))


@in_browser
def test_a_page_shows_estimates_beside_what_came_true(
    stack: Stack, page: Any, pictures: Path, dates: tuple[date, date]
) -> None:
    if dates == (SHOWN_START, SHOWN_END):
        yesterday = today_at(datetime.now(UTC)) - timedelta(days=1)
        fortnight = ["--from", str(yesterday - timedelta(days=14)), "--to", str(yesterday)]
        nightscore(stack, "backfill", "flight_delay", *fortnight)
        nightscore(stack, "evaluate", "flight_delay", *fortnight)

    page.goto(f"{stack.settings.pages_url}/flight_delay")
    page.get_by_text("Performance over time").click()
    page.get_by_text("matured partitions came true within the band").first.wait_for()
    page.get_by_text("estimated before labels came").wait_for()
    picture(page, pictures, "performance")


@in_browser
def test_a_backfill_from_the_form_to_its_matrix(
    stack: Stack, page: Any, pictures: Path, dates: tuple[date, date]
) -> None:
    ui = stack.settings.prefect_url
    start, end = dates
    n_days = (end - start).days + 1
    day = stack.settings.sample.features / f"ds={BROKEN}" / "part-0.parquet"
    whole = day.read_bytes()
    day.write_bytes(whole[:1_000])
    deployment = request(
        stack.settings.api_url, "GET", "/deployments/name/backfill/flight_delay-backfill"
    )

    page.goto(f"{ui}/deployments/deployment/{deployment['id']}/run")
    page.get_by_text("Last date, included.").wait_for()
    pick(page, "start", start)
    pick(page, "end", end)
    for help_text in ("One of the jobs", "What to score", "Newest or oldest first", "Only plan"):
        assert page.get_by_text(help_text).count(), help_text
    picture(page, pictures, "form")
    page.get_by_role("button", name="Submit").click()
    page.wait_for_url(f"**/deployments/deployment/{deployment['id']}")
    mine = {
        "deployments": {"id": {"any_": [deployment["id"]]}},
        "sort": "START_TIME_DESC",
        "limit": 1,
    }
    (run,) = request(stack.settings.api_url, "POST", "/flow_runs/filter", mine)
    run_id = run["id"]

    page.goto("about:blank")  # the page of the deployment would ask for news all the while
    run = finished(stack, run_id)
    counts = f"{n_days - 1} done, 1 failed, 0 not run"
    assert run["state"]["message"].startswith(f"{counts}; failed: {BROKEN}"), run["state"]
    assert run["name"] == f"flight_delay · backfill {start} to {end}"
    page.goto(f"{ui}/runs/flow-run/{run_id}")
    page.get_by_text(f"backfill {start} to {end}").first.wait_for()
    page.get_by_text("Subflow Runs").click()
    page.get_by_text(f"flight_delay · {BROKEN}").first.wait_for()
    picture(page, pictures, "backfill")

    page.goto(f"{ui}/artifacts/artifact/{newest_artifact(stack, 'flight-delay-backfill')}")
    for text in (
        counts,
        "10 ❌",
        "Failures",
        "Run again what is left",
        f"--to {end}",
    ):
        page.get_by_text(text).first.wait_for()
    picture(page, pictures, "matrix")

    page.goto(
        f"{ui}/artifacts/artifact/{newest_artifact(stack, 'flight-delay-run', 'ds=2013-07-08')}"
    )
    for text in (
        "published · flight_delay · ds=2013-07-08",
        "quarantined",
        "pinned",
        "scoring/flight_delay",
    ):
        page.get_by_text(text).first.wait_for()
    picture(page, pictures, "run")
    link = page.get_by_text("scoring/flight_delay").get_attribute("href")
    assert link.startswith(stack.settings.mlflow_url)
    page.goto(link)
    page.get_by_text("flight_delay · 2013-07-08").first.wait_for()
    page.get_by_text("prefect.flow_run_url").first.wait_for()
    run_id = link.split("/")[-1]
    with urllib.request.urlopen(
        f"{stack.settings.mlflow_url}/api/2.0/mlflow/runs/get?run_id={run_id}"
    ) as answer:
        inputs = json.load(answer)["run"]["inputs"]
    assert [model["model_id"].startswith("m-") for model in inputs["model_inputs"]] == [True]

    day.write_bytes(whole)


@in_browser
def test_the_reason_of_a_refusal_is_on_the_run_page(stack: Stack, page: Any) -> None:
    deployment = request(
        stack.settings.api_url, "GET", "/deployments/name/backfill/flight_delay-backfill"
    )
    parameters = {"start": "2013-07-10", "end": "2013-07-01"}  # of the job that is deployed
    created = request(
        stack.settings.api_url,
        "POST",
        f"/deployments/{deployment['id']}/create_flow_run",
        {"parameters": parameters},
    )
    page.goto("about:blank")
    run = finished(stack, created["id"])
    assert run["state_name"] == "Failed"
    page.goto(f"{stack.settings.prefect_url}/runs/flow-run/{created['id']}")
    page.get_by_text("Details").first.click()
    page.get_by_text("ends before it starts").first.wait_for()
