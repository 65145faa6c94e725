"""A real Prefect server and worker: deployments, schedules, backfills, cancellation, and what is killed midway."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from nightscore.flows.prefect_server import PrefectServer, prefect_server
from nightscore.flows.stack.http_calls import request
from nightscore.flows.stack.postgres import postgres
from nightscore.flows.stack.service import Service
from nightscore.flows.stack.settings import Settings, free_ports
from nightscore.flows.stack.supervisor import end, remove
from nightscore.ledger.layout import state_store
from nightscore.ledger.workspace import Workspace
from nightscore.operations.history import run_history
from nightscore.outputs.publish import open_publisher
from tests.support.lake import Lake
from tests.support.models import make_frame
from tests.support.seaweedfs import S3_SECRET

ROOT = Path(__file__).parent.parent.parent
POLL_S = 0.5
PATIENCE_S = 150
FINAL = ("COMPLETED", "FAILED", "CANCELLED", "CRASHED")
JOBS = ("flight_delay", "broken", "cancelled", "twice", "during", "killed", "abandoned")
"""The form lists the jobs that there are when it is deployed."""
BACKFILL = "backfill/flight_delay-backfill"
NIGHTLY = "nightly/flight_delay-nightly"
ZOMBIES = "deploy/automations/zombies.yaml"

pytestmark = [pytest.mark.slow, pytest.mark.alone]


@dataclass
class Prefect:
    """A server with the deployments, and a worker."""

    server: PrefectServer
    environment: dict[str, str]
    home: Path
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def worker(self) -> subprocess.Popen[bytes]:
        return self.workers[-1]

    def start_worker(self) -> None:
        with (self.home / f"worker-{len(self.workers)}.log").open("w") as log:
            command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "local"]
            self.workers.append(
                subprocess.Popen(
                    command,
                    env=self.environment,
                    cwd=ROOT,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            )

    def call(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "prefect", "--no-prompt", *arguments]
        subprocess.run(command, env=self.environment, cwd=ROOT, check=True, capture_output=True)

    def api(self, method: str, path: str, body: Any = None) -> Any:
        return request(self.server.api_url, method, path, body)

    def trigger(self, deployment: str, **parameters: Any) -> str:
        details = self.api("GET", f"/deployments/name/{deployment}")
        created = self.api(
            "POST", f"/deployments/{details['id']}/create_flow_run", {"parameters": parameters}
        )
        return str(created["id"])

    def run(self, run_id: str) -> dict[str, Any]:
        return dict(self.api("GET", f"/flow_runs/{run_id}"))

    def runs(self, **filters: Any) -> list[dict[str, Any]]:
        return list(self.api("POST", "/flow_runs/filter", {"flow_runs": filters}))

    def children(self, run_id: str) -> dict[str, str]:
        return {
            r["name"]: r["state_name"] for r in self.runs(parent_flow_run_id={"any_": [run_id]})
        }

    def finished(self, run_id: str) -> dict[str, Any]:
        def is_final() -> dict[str, Any] | None:
            flow_run = self.run(run_id)
            return flow_run if flow_run["state_type"] in FINAL else None

        return wait_for(is_final, f"run {run_id} to end")

    def all_final(self, run_id: str) -> dict[str, str]:
        """The states of the children once none goes on."""

        def settled() -> dict[str, str] | None:
            children = self.runs(parent_flow_run_id={"any_": [run_id]})
            is_settled = children and all(run["state_type"] in FINAL for run in children)
            return {run["name"]: run["state_name"] for run in children} if is_settled else None

        return wait_for(settled, f"the children of {run_id} to end")

    def impatient_automation(self) -> str:
        """One like the deployed one, which waits for 40 s and not for three heartbeats; its id."""
        deployed = yaml.safe_load((ROOT / ZOMBIES).read_text())
        assert deployed["trigger"]["within"] == 90
        changed = deployed | {"name": "Impatient", "trigger": deployed["trigger"] | {"within": 40}}
        path = self.home / "impatient.yaml"
        path.write_text(yaml.safe_dump(changed))
        self.call("automation", "create", "--from-file", str(path))
        (automation,) = [
            a for a in self.api("POST", "/automations/filter", {}) if a["name"] == "Impatient"
        ]
        return str(automation["id"])

    def engine(self) -> psutil.Process:
        """The process of the one flow run that the worker has started."""
        (process,) = wait_for(
            lambda: psutil.Process(self.worker.pid).children(), "a flow's process"
        )
        return process  # type: ignore[no-any-return]


def wait_for(condition: Callable[[], Any], what: str, patience_s: float = PATIENCE_S) -> Any:
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        # On SQLite the server may be busy writing for longer than a request waits: the next look
        # will do.
        with contextlib.suppress(TimeoutError):
            if answer := condition():
                return answer
        time.sleep(POLL_S)
    raise AssertionError(f"waited {patience_s} s for {what}")


def family(process: psutil.Process) -> list[psutil.Process]:
    return [process, *process.children(recursive=True)]


def assert_gone(processes: list[psutil.Process]) -> None:
    assert processes
    _, alive = psutil.wait_procs(processes, timeout=30)
    assert not alive, [p.cmdline() for p in alive]


def has_pool(processes: list[psutil.Process]) -> bool:
    return any("popen_loky" in " ".join(p.cmdline()) for p in processes)


@pytest.fixture(scope="module")
def prefect(tmp_path_factory: pytest.TempPathFactory, cache: Any) -> Iterator[Prefect]:
    home = tmp_path_factory.mktemp("prefect")
    (home / "jobs").mkdir()
    settings = Settings(root=str(home), db="postgres", postgres_port=free_ports(1)[0])
    for name in JOBS:
        (home / "jobs" / f"{name}.yaml").touch()
    # On SQLite the server may stand still for a minute while two backfills write.
    with running(postgres(settings), home), prefect_server(home, settings.database_url) as server:
        server.wait()
        environment = os.environ | server.environment
        environment |= {
            "NIGHTSCORE_CACHE": str(cache.root),
            "NIGHTSCORE_JOBS": str(home / "jobs"),
            "PREFECT_WORKER_QUERY_SECONDS": "1",
        }
        started = Prefect(server, environment, home)
        started.call("work-pool", "create", "local", "--type", "process")
        started.call("work-pool", "set-concurrency-limit", "local", "4")
        started.call("deploy", "--all", "--prefect-file", "deploy/prefect.yaml")
        started.call("automation", "create", "--from-file", ZOMBIES)
        started.start_worker()
        try:
            yield started
        finally:
            for worker in started.workers:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(worker.pid, signal.SIGTERM)
                worker.wait(30)


@contextlib.contextmanager
def running(service: Service, home: Path) -> Iterator[None]:
    """One service of the stack by itself."""
    with (home / f"{service.name}.log").open("w") as log:
        process = psutil.Popen(
            service.command,
            cwd="/",
            stdout=log,
            stderr=log,
            user=service.user,
            start_new_session=True,
        )
    try:
        wait_for(service.is_healthy, service.name)
        yield
    finally:
        end(process, service.stop_signal)
        for path in service.temporary:
            remove(path)


WriteJob = Callable[..., str]


@pytest.fixture
def write_job(prefect: Prefect) -> WriteJob:
    def write(name: str, lake: Lake, **changes: Any) -> str:
        raw = lake.job(**changes).model_dump(mode="json") | {"name": name}
        (prefect.home / "jobs" / f"{name}.yaml").write_text(yaml.safe_dump(raw))
        return name

    return write


def test_a_cron_deployment_gets_its_scheduled_runs(prefect: Prefect) -> None:
    nightly = prefect.api("GET", f"/deployments/name/{NIGHTLY}")
    scheduled = wait_for(
        lambda: [
            r
            for r in prefect.runs(state={"name": {"any_": ["Scheduled"]}})
            if r["deployment_id"] == nightly["id"]
        ],
        "scheduled runs",
    )
    assert all(
        run["expected_start_time"].split("T")[1].startswith(("07:00", "08:00")) for run in scheduled
    )
    assert nightly["concurrency_options"]["collision_strategy"] == "ENQUEUE"
    assert nightly["enforce_parameter_schema"] is True


def test_the_forms_have_pickers_choices_and_help(prefect: Prefect) -> None:
    schema = prefect.api("GET", f"/deployments/name/{BACKFILL}")["parameter_openapi_schema"]
    properties = schema["properties"]
    assert properties["start"]["format"] == properties["end"]["format"] == "date"
    assert properties["job"]["enum"] == sorted(JOBS)
    assert schema["definitions"]["Order"]["enum"] == ["newest", "oldest"]
    assert all(properties[name].get("description") for name in properties)


def test_an_unknown_job_is_refused_by_the_form(prefect: Prefect) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        prefect.trigger(BACKFILL, job="nowhere", start="2024-03-01", end="2024-03-02")
    with refused.value:
        assert b"is not one of" in refused.value.read()


def test_a_broken_backfill_is_repaired_by_running_it_again(
    prefect: Prefect, s3_lake: Lake, write_job: WriteJob
) -> None:
    lake = s3_lake
    days = [f"2024-03-{i:02d}" for i in range(1, 11)]
    for i, day in enumerate(days):
        lake.write(day, make_frame(50, seed=i))
    broken = (days[2], days[5])
    for day in broken:
        lake.features.write_bytes(f"ds={day}/part-0.parquet", b"broken")
    parameters = {"job": write_job("broken", lake), "start": days[0], "end": days[-1]}

    first = prefect.trigger(BACKFILL, **parameters)
    ended = prefect.finished(first)

    assert ended["state_name"] == "Failed"
    assert ended["state"]["message"].startswith(
        f"8 done, 2 failed, 0 not run; failed: {', '.join(broken)}; causes"
    )
    assert ended["name"] == f"broken · backfill {days[0]} to {days[-1]}"
    expected = {f"broken · {day}": "Failed" if day in broken else "Completed" for day in days}
    assert prefect.children(first) == expected
    (matrix,) = prefect.api(
        "POST", "/artifacts/filter", {"artifacts": {"key": {"any_": ["broken-backfill"]}}}
    )
    assert all(
        f"**{day}**\n\n```\n1 of 1 files cannot be read as Parquet" in matrix["data"]
        for day in broken
    )
    lake.write(broken[0], make_frame(50))
    retry = {"type": "SCHEDULED", "name": "AwaitingRetry"}  # the button of the run's page
    prefect.api("POST", f"/flow_runs/{first}/set_state", {"state": retry})
    wait_for(lambda: prefect.run(first)["run_count"] == 2, "the run to begin again")
    assert prefect.finished(first)["state"]["message"].startswith(
        f"1 done, 1 failed, 0 not run; failed: {broken[1]}"
    )
    lake.write(broken[1], make_frame(50))
    second = prefect.trigger(BACKFILL, **parameters)
    assert prefect.finished(second)["state"]["message"] == "1 done, 0 failed, 0 not run"
    assert set(prefect.children(second)) == {f"broken · {broken[1]}"}
    assert lake.read(lake.job()).groupby("ds").size().to_dict() == dict.fromkeys(days, 50)


def test_prefect_keeps_no_secret(prefect: Prefect) -> None:
    """Of the runs on the S3 server before: database, results, logs of server and workers."""
    wait_for(
        lambda: "s3://lake/" in json.dumps(prefect.api("POST", "/artifacts/filter", {})),
        "the artifacts",
    )
    kept = {
        kind: json.dumps(prefect.api("POST", f"/{kind}/filter", {"limit": 50}))
        for kind in ("flow_runs", "task_runs", "artifacts", "logs", "events")
    }
    assert all(len(text) > 1_000 for text in kept.values()), {
        kind: len(text) for kind, text in kept.items()
    }
    assert not [kind for kind, text in kept.items() if S3_SECRET in text]
    files = [
        p
        for p in prefect.home.rglob("*")
        if p.is_file() and "jobs" not in p.relative_to(prefect.home).parts
    ]
    assert {"server.log", "worker-0.log"} <= {path.name for path in files}
    assert not [path for path in files if S3_SECRET.encode() in path.read_bytes()]


def test_a_cancelled_backfill_leaves_no_process_and_can_be_run_again(
    prefect: Prefect, lake: Lake, write_job: WriteJob
) -> None:
    days = [f"2024-04-{i:02d}" for i in range(1, 31)]
    for i, day in enumerate(days):
        lake.write(day, make_frame(60_000, seed=i))
    parameters = {"job": write_job("cancelled", lake), "start": days[0], "end": days[-1]}
    parent = prefect.trigger(BACKFILL, **parameters)
    wait_for(lambda: "Completed" in prefect.children(parent).values(), "a first day to be done")
    processes = family(prefect.engine())
    assert has_pool(processes)

    prefect.api(
        "POST",
        f"/flow_runs/{parent}/set_state",
        {"state": {"type": "CANCELLING", "name": "Cancelling"}},
    )

    assert prefect.finished(parent)["state_name"] == "Cancelled"
    assert_gone(processes)
    states = prefect.all_final(parent)
    assert set(states.values()) <= {"Completed", "Cancelled"}, states
    done = set(open_publisher(Workspace(lake.job())).all_live())
    assert 0 < len(done) < len(days)
    again = prefect.trigger(BACKFILL, **parameters, max_parallel=4)
    ended = prefect.finished(again)
    assert ended["state_name"] == "Completed", ended["state"]["message"]
    assert len(prefect.children(again)) == len(days) - len(done)
    assert lake.read(lake.job()).groupby("ds").size().to_dict() == dict.fromkeys(days, 60_000)


def test_two_overlapping_backfills_publish_each_partition_once(
    prefect: Prefect, lake: Lake, write_job: WriteJob
) -> None:
    days = [f"2024-05-{i:02d}" for i in range(1, 13)]
    for i, day in enumerate(days):
        lake.write(day, make_frame(500, seed=i))
    parameters = {"job": write_job("twice", lake), "start": days[0], "end": days[-1]}
    both = [prefect.trigger(BACKFILL, **parameters, order=order) for order in ("newest", "oldest")]
    ended = [prefect.finished(run_id) for run_id in both]
    published = lake.read(lake.job())
    assert published.groupby("ds").size().to_dict() == dict.fromkeys(days, 500)
    assert published.groupby("ds")["run_id"].nunique().max() == 1
    # Where both were scoring one partition, the later one says so and leaves it alone: at most a
    # few, no storm.
    failed = [m for m in run_history(lake.job().model_copy(update={"name": "twice"})) if m.error]
    assert all(m.error and m.error.type == "ConflictError" for m in failed)
    assert len(failed) <= len(days) // 2, [run["state"]["message"] for run in ended]


def test_the_nightly_run_starts_at_once_during_a_backfill(
    prefect: Prefect, lake: Lake, write_job: WriteJob
) -> None:
    days = [f"2024-06-{i:02d}" for i in range(1, 21)]
    for i, day in enumerate(days):
        lake.write(day, make_frame(60_000, seed=i))
    job = write_job("during", lake)
    prefect.call("work-queue", "set-concurrency-limit", "backfill", "2", "--pool", "local")
    backfills = [
        prefect.trigger(BACKFILL, job=job, start=days[i * 5], end=days[i * 5 + 4], max_parallel=1)
        for i in range(3)
    ]
    wait_for(
        lambda: any("Running" in prefect.children(b).values() for b in backfills),
        "a backfill to be under way",
    )
    began = time.monotonic()
    nightly = prefect.trigger(NIGHTLY, job=job, date=days[-1], look_back_days=0)
    ended = prefect.finished(nightly)
    assert ended["state_name"] == "Completed", ended["state"]["message"]
    assert ended["state"]["message"].startswith(f"{days[-1]}: 60,000 rows scored")
    still = [prefect.run(b)["state_name"] for b in backfills]
    assert "Completed" not in still[2:], f"it waited {time.monotonic() - began:.0f} s"
    for run_id in backfills:
        assert prefect.finished(run_id)["state_name"] == "Completed"


def write_large(lake: Lake, day: str) -> None:
    """What takes seconds with the library's own predictor: time enough for what happens in the midst of it."""
    for i in range(16):
        lake.write(day, make_frame(100_000, seed=i), f"p{i:02d}")


def n_finished_shards(lake: Lake) -> int:
    return sum(
        entry.path.endswith(".json") for entry in state_store(lake.job()).list_files("checkpoints")
    )


def test_a_killed_engine_crashes_its_runs_and_the_next_goes_on(
    prefect: Prefect, lake: Lake, write_job: WriteJob
) -> None:
    day = "2024-02-28"
    write_large(lake, day)
    parameters = {
        "job": write_job("killed", lake, engine="library"),
        "date": day,
        "look_back_days": 0,
    }
    nightly = prefect.trigger(NIGHTLY, **parameters)
    wait_for(lambda: n_finished_shards(lake) >= 2, "two shards to be scored")
    processes = family(prefect.engine())
    assert has_pool(processes)
    processes[0].kill()
    assert_gone(processes)
    assert prefect.finished(nightly)["state_name"] == "Crashed"
    assert set(prefect.all_final(nightly).values()) == {"Crashed"}
    again = prefect.finished(prefect.trigger(NIGHTLY, **parameters))
    assert again["state_name"] == "Completed", again["state"]["message"]
    (manifest,) = run_history(lake.job())
    assert manifest.attempts == 2
    assert manifest.measures.n_shards_resumed >= 2
    assert len(lake.read(lake.job())) == 1_600_000


def test_no_run_is_left_running_when_its_worker_is_gone(
    prefect: Prefect, lake: Lake, write_job: WriteJob
) -> None:
    """A worker that is stopped, and one that is killed together with its flow: the automation ends their runs."""
    days = ("2024-02-26", "2024-02-27")
    for day in days:
        write_large(lake, day)
    job = write_job("abandoned", lake, engine="library")
    impatient = prefect.impatient_automation()
    runs = []
    for day, kill_all in zip(days, (False, True), strict=True):
        before = n_finished_shards(lake)
        runs.append(prefect.trigger(NIGHTLY, job=job, date=day, look_back_days=0))
        wait_for(lambda before=before: n_finished_shards(lake) > before, "a shard to be scored")
        processes = family(psutil.Process(prefect.worker.pid))
        assert has_pool(processes)
        if kill_all:
            for process in processes[:2]:
                process.kill()
        else:
            prefect.worker.terminate()
        prefect.worker.wait(60)
        assert_gone(processes)
        prefect.start_worker()
    for run_id in runs:
        ended = prefect.finished(run_id)
        assert ended["state_name"] in ("Crashed", "Cancelled"), ended["state"]
        assert set(prefect.all_final(run_id).values()) <= {"Crashed", "Cancelled"}
    prefect.call("automation", "delete", "--id", impatient)
    for day in days:
        again = prefect.finished(prefect.trigger(NIGHTLY, job=job, date=day, look_back_days=0))
        assert again["state_name"] == "Completed", again["state"]["message"]
    assert lake.read(lake.job()).groupby("ds").size().to_dict() == dict.fromkeys(days, 1_600_000)
