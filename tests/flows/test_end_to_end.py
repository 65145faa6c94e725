"""A real Prefect server and worker: deployments, schedules, a broken backfill, cancellation."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from flows.server import PrefectServer, prefect_server
from scoring.outputs.publish import open_publisher
from tests.conftest import Lake
from tests.models import make_frame

ROOT = Path(__file__).parent.parent.parent
POLL_S = 0.5
PATIENCE_S = 150

pytestmark = pytest.mark.slow


@dataclass
class Prefect:
    """A server with the deployments, and a worker."""

    server: PrefectServer
    worker: subprocess.Popen[bytes]

    def api(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.server.api_url}{path}", data, headers, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def trigger(self, deployment: str, **parameters: Any) -> str:
        found = self.api("GET", f"/deployments/name/{deployment}")
        created = self.api("POST", f"/deployments/{found['id']}/create_flow_run", {"parameters": parameters})
        return str(created["id"])

    def run(self, run_id: str) -> dict[str, Any]:
        return dict(self.api("GET", f"/flow_runs/{run_id}"))

    def runs(self, **filters: Any) -> list[dict[str, Any]]:
        return list(self.api("POST", "/flow_runs/filter", {"flow_runs": filters}))

    def children(self, run_id: str) -> dict[str, str]:
        return {r["name"]: r["state_name"] for r in self.runs(parent_flow_run_id={"any_": [run_id]})}

    def finished(self, run_id: str) -> dict[str, Any]:
        def is_final() -> dict[str, Any] | None:
            found = self.run(run_id)
            return found if found["state_type"] in ("COMPLETED", "FAILED", "CANCELLED", "CRASHED") else None

        return wait_for(is_final, f"run {run_id} to end")


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        # On SQLite the server may be busy writing for longer than a request waits: the next look will do.
        with contextlib.suppress(TimeoutError):
            if found := condition():
                return found
        time.sleep(POLL_S)
    raise AssertionError(f"waited {PATIENCE_S} s for {what}")


@pytest.fixture(scope="module")
def prefect(tmp_path_factory: pytest.TempPathFactory, cache: Any) -> Iterator[Prefect]:
    home = tmp_path_factory.mktemp("prefect")
    with prefect_server(home) as server:
        server.wait()
        environment = os.environ | server.environment
        environment |= {"NIGHTSCORE_CACHE": str(cache.root), "PREFECT_WORKER_QUERY_SECONDS": "1"}
        command = [sys.executable, "-m", "prefect", "--no-prompt"]
        deploy = ["deploy", "--all", "--prefect-file", "deploy/prefect.yaml"]
        for arguments in (["work-pool", "create", "local", "--type", "process"], deploy):
            subprocess.run([*command, *arguments], env=environment, cwd=ROOT, check=True, capture_output=True)
        with (home / "worker.log").open("w") as log:
            worker = subprocess.Popen(
                [sys.executable, "-m", "prefect", "worker", "start", "--pool", "local", "--limit", "4"],
                env=environment,
                cwd=ROOT,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            yield Prefect(server, worker)
        finally:
            os.killpg(worker.pid, signal.SIGTERM)
            worker.wait(30)


@pytest.fixture
def job_file(lake: Lake, tmp_path: Path) -> str:
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(lake.job().model_dump(mode="json")))
    return str(path)


def test_a_cron_deployment_gets_its_scheduled_runs(prefect: Prefect) -> None:
    nightly = prefect.api("GET", "/deployments/name/nightly/flight_delay-nightly")
    scheduled = wait_for(
        lambda: [
            r for r in prefect.runs(state={"name": {"any_": ["Scheduled"]}}) if r["deployment_id"] == nightly["id"]
        ],
        "scheduled runs",
    )
    assert all(run["expected_start_time"].split("T")[1].startswith(("07:00", "08:00")) for run in scheduled)
    assert nightly["concurrency_options"]["collision_strategy"] == "ENQUEUE"
    assert nightly["enforce_parameter_schema"] is True


def test_the_forms_have_pickers_choices_and_help(prefect: Prefect) -> None:
    schema = prefect.api("GET", "/deployments/name/backfill/flight_delay-backfill")["parameter_openapi_schema"]
    properties = schema["properties"]
    assert properties["dates"]["$ref"].endswith("DateRange")
    assert schema["definitions"]["DateRange"]["properties"]["start"]["format"] == "date"
    assert schema["definitions"]["Order"]["enum"] == ["newest", "oldest"]
    assert all(properties[name].get("description") for name in properties)


def test_a_broken_backfill_is_repaired_by_running_it_again(prefect: Prefect, lake: Lake, job_file: str) -> None:
    days = [f"2024-03-{i:02d}" for i in range(1, 11)]
    for i, day in enumerate(days):
        lake.write(day, make_frame(50, seed=i))
    broken = (days[2], days[5])
    for day in broken:
        lake.features.write_bytes(f"ds={day}/part-0.parquet", b"broken")
    parameters = {"job": job_file, "dates": {"start": days[0], "end": days[-1]}}

    first = prefect.trigger("backfill/flight_delay-backfill", **parameters)
    ended = prefect.finished(first)

    assert (ended["state_name"], ended["state"]["message"]) == ("Failed", "8 done, 2 failed, 0 not run")
    assert ended["name"] == f"test · {days[0]} to {days[-1]}"
    expected = {f"test · {day}": "Failed" if day in broken else "Completed" for day in days}
    assert prefect.children(first) == expected
    for day in broken:
        lake.write(day, make_frame(50))
    second = prefect.trigger("backfill/flight_delay-backfill", **parameters)
    assert prefect.finished(second)["state"]["message"] == "2 done, 0 failed, 0 not run"
    assert set(prefect.children(second)) == {f"test · {day}" for day in broken}
    assert lake.read(lake.job()).groupby("ds").size().to_dict() == dict.fromkeys(days, 50)


def test_a_cancelled_backfill_leaves_no_process_and_can_be_run_again(
    prefect: Prefect, lake: Lake, job_file: str
) -> None:
    days = [f"2024-04-{i:02d}" for i in range(1, 31)]
    for i, day in enumerate(days):
        lake.write(day, make_frame(60_000, seed=i))
    parameters = {"job": job_file, "dates": {"start": days[0], "end": days[-1]}}
    parent = prefect.trigger("backfill/flight_delay-backfill", **parameters)
    wait_for(lambda: "Completed" in prefect.children(parent).values(), "a first day to be done")
    family = psutil.Process(prefect.worker.pid).children(recursive=True)
    assert any("popen_loky" in " ".join(p.cmdline()) for p in family)

    prefect.api("POST", f"/flow_runs/{parent}/set_state", {"state": {"type": "CANCELLING", "name": "Cancelling"}})

    assert prefect.finished(parent)["state_name"] == "Cancelled"
    gone, alive = psutil.wait_procs(family, timeout=30)
    assert not alive, [p.cmdline() for p in alive]
    assert gone
    done = set(open_publisher(lake.job()).all_live())
    assert 0 < len(done) < len(days)
    again = prefect.trigger("backfill/flight_delay-backfill", **parameters, max_parallel=4)
    ended = prefect.finished(again)
    assert ended["state_name"] == "Completed", ended["state"]["message"]
    assert len(prefect.children(again)) == len(days) - len(done)
    assert lake.read(lake.job()).groupby("ds").size().to_dict() == dict.fromkeys(days, 60_000)
