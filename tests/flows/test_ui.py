"""The Prefect UI in a browser: a backfill from the form to its matrix, as a person sees it."""

import json
import os
import time
import urllib.request
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from nightscore.flows.stack.http_calls import request
from tests.flows.conftest import Stack
from tests.support.browser import needs_browser, open_browser

PATIENCE_MS = 60_000
START, END, BROKEN = date(2013, 7, 5), date(2013, 7, 14), "2013-07-10"
FINAL = ("COMPLETED", "FAILED", "CANCELLED", "CRASHED")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.alone,
    needs_browser,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture(scope="module")
def page() -> Iterator[Any]:
    with open_browser() as browser:
        page = browser.new_page(viewport={"width": 1180, "height": 820})
        page.set_default_timeout(PATIENCE_MS)
        yield page


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


def test_a_backfill_from_the_form_to_its_matrix(stack: Stack, page: Any, pictures: Path) -> None:
    ui = stack.settings.prefect_url
    day = stack.settings.sample.features / f"ds={BROKEN}" / "part-0.parquet"
    whole = day.read_bytes()
    day.write_bytes(whole[:1_000])
    deployment = request(
        stack.settings.api_url, "GET", "/deployments/name/backfill/flight_delay-backfill"
    )

    page.goto(f"{ui}/deployments/deployment/{deployment['id']}/run")
    page.get_by_text("Last date, included.").wait_for()
    pick(page, "start", START)
    pick(page, "end", END)
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

    run = finished(stack, run_id)
    assert run["state"]["message"].startswith(f"9 done, 1 failed, 0 not run; failed: {BROKEN}"), (
        run["state"]
    )
    assert run["name"] == f"flight_delay · backfill {START} to {END}"
    page.goto(f"{ui}/runs/flow-run/{run_id}")
    page.get_by_text(f"backfill {START} to {END}").first.wait_for()
    page.get_by_text("Subflow Runs").click()
    page.get_by_text(f"flight_delay · {BROKEN}").first.wait_for()
    picture(page, pictures, "backfill")

    page.goto(f"{ui}/artifacts/artifact/{newest_artifact(stack, 'flight-delay-backfill')}")
    for text in (
        "9 done, 1 failed, 0 not run",
        "10 ❌",
        "Failures",
        "Run again what is left",
        f"--to {END}",
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

    # What the matrix says to do next: mend the file, run the same again.
    day.write_bytes(whole)
    again = request(
        stack.settings.api_url,
        "POST",
        f"/deployments/{deployment['id']}/create_flow_run",
        {"parameters": {"job": "flight_delay", "start": str(START), "end": str(END)}},
    )
    assert finished(stack, again["id"])["state"]["message"] == "1 done, 0 failed, 0 not run"


def test_the_reason_of_a_refusal_is_on_the_run_page(stack: Stack, page: Any) -> None:
    deployment = request(
        stack.settings.api_url, "GET", "/deployments/name/backfill/flight_delay-backfill"
    )
    parameters = {"job": "flight_delay", "start": "2013-07-10", "end": "2013-07-01"}
    created = request(
        stack.settings.api_url,
        "POST",
        f"/deployments/{deployment['id']}/create_flow_run",
        {"parameters": parameters},
    )
    run = finished(stack, created["id"])
    assert run["state_name"] == "Failed"
    page.goto(f"{stack.settings.prefect_url}/runs/flow-run/{created['id']}")
    page.get_by_text("Details").first.click()
    page.get_by_text("ends before it starts").first.wait_for()
