"""`nightscore up` and `nightscore down`: all services, healthy, and nothing left of them."""

import asyncio
import os
import subprocess
import sys
import urllib.request
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psutil
import pytest

from nightscore.flows.demo.sample import Sample
from nightscore.flows.nightly import logical_date
from nightscore.flows.stack.http_calls import request
from nightscore.flows.stack.settings import Settings
from tests.flows.conftest import Stack, a_stack, assert_nothing_is_left, copy_of
from tests.flows.test_end_to_end import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.alone]


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
    deployments = {
        deployment["name"]
        for deployment in request(stack.settings.api_url, "POST", "/deployments/filter", {})
    }
    assert deployments == {
        "flight_delay-nightly",
        "flight_delay-backfill",
        "flight_delay-partition",
    }
    automations = request(stack.settings.api_url, "POST", "/automations/filter", {})
    assert sorted(automation["name"] for automation in automations) == [
        "Crash runs that stay pending",
        "Crash runs without a heartbeat",
    ]
    queue = request(stack.settings.api_url, "GET", "/work_pools/local/queues/backfill")
    assert queue["concurrency_limit"] == 1
    state = stack.state
    assert state is not None
    mlflow = state.process("mlflow")
    assert mlflow is not None
    assert len([mlflow, *mlflow.children(recursive=True)]) == 2
    assert "up" in stack.call("status").stdout


def test_last_night_is_published_by_a_scheduled_run(stack: Stack) -> None:
    """By the nightly schedule's own run, which the stack has missed: it was not up."""

    def nightly_runs() -> list[dict[str, Any]]:
        flow_runs = {"state": {"name": {"any_": ["Completed", "Failed", "Crashed"]}}}
        deployments = {"name": {"any_": ["flight_delay-nightly"]}}
        body = {"flow_runs": flow_runs, "deployments": deployments}
        return list(request(stack.settings.api_url, "POST", "/flow_runs/filter", body))

    (run,) = wait_for(nightly_runs, "the nightly run")
    state = stack.state
    worker = state.process("worker") if state else None
    assert worker is not None
    wait_for(lambda: not worker.children(), "the run's process to end")

    assert run["auto_scheduled"] is True
    assert run["state"]["message"].partition(";")[0].endswith("0 quarantined"), run["state"]
    scheduled = datetime.fromisoformat(run["expected_start_time"])
    assert scheduled < datetime.fromisoformat(run["start_time"])
    assert scheduled.astimezone(ZoneInfo("America/New_York")).hour == 3
    last_night = logical_date(scheduled, "America/New_York", 1)
    assert run["name"] == f"flight_delay · nightly {last_night}"


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


def test_down_when_nothing_is_up(tmp_path: Path) -> None:
    assert a_stack(tmp_path).call("down").stdout == "Nothing is running.\n"


def test_s3_and_postgres_and_a_supervisor_that_is_killed(sample: Sample, tmp_path: Path) -> None:
    stack = a_stack(copy_of(sample, tmp_path / "root"), "s3", "postgres")
    first = stack.call("up")
    assert first.returncode == 0, first.stdout + first.stderr
    assert "uploading the lake to the bucket" in first.stdout
    ran = nightscore(stack, "run", "flight_delay", "2013-02-01")
    assert "s3://lake/predictions/flight_delay" in ran
    assert asyncio.run(_flows_in_postgres(stack)) == {"nightly", "backfill", "score-partition"}
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
