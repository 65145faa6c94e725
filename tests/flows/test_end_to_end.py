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
from nightscore.flows.tag import TAG
from nightscore.ledger.layout import state_store
from nightscore.ledger.workspace import Workspace
from nightscore.operations.history import run_history
from nightscore.outputs.publish import open_publisher
from tests.support.lake import Lake
from tests.support.models import make_frame
from tests.support.seaweedfs import S3_SECRET
from tests.support.waiting_model import WaitingModel, register_waiting_model

ROOT = Path(__file__).parent.parent.parent
POLL_S = 0.5
PATIENCE_S = 150
FINAL = ("COMPLETED", "FAILED", "CANCELLED", "CRASHED")
JOBS = ("flight_delay", "broken", "twice", "cancelled", "abandoned")
"""The form lists the jobs that there are when it is deployed."""
BACKFILL = "backfill/flight_delay-backfill"
NIGHTLY = "nightly/flight_delay-nightly"
ZOMBIES = "deploy/automations/zombies.yaml"
PENDING = "deploy/automations/pending.yaml"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # a busy machine


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

    def limit_backfills(self, n_runs: int) -> None:
        """Let so many runs of the queue `backfill` be under way at once."""
        path = "/work_pools/local/queues/backfill"
        self.api("PATCH", path, {"concurrency_limit": n_runs})

    def create_impatient_automation(self, file: str, within_s: int, **match: str) -> None:
        """Create one like a deployed one, which waits for so long and not for minutes."""
        deployed = yaml.safe_load((ROOT / file).read_text())
        trigger = deployed["trigger"] | {"within": within_s}
        trigger["match"] |= match
        path = self.home / "impatient.yaml"
        path.write_text(
            yaml.safe_dump(deployed | {"name": f"Impatient {file}", "trigger": trigger})
        )
        self.call("automation", "create", "--from-file", str(path))

    def create_pending_run(self, name: str) -> str:
        """A run of ours that nobody starts."""
        flow = self.api("POST", "/flows/", {"name": "score-partition"})
        run = {"name": name, "flow_id": flow["id"], "state": {"type": "PENDING"}, "tags": [TAG]}
        return str(self.api("POST", "/flow_runs/", run)["id"])

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
        pool = {"name": "local", "type": "process", "concurrency_limit": 4}
        started.api("POST", "/work_pools/", pool)
        started.call("deploy", "--all", "--prefect-file", "deploy/prefect.yaml")
        started.start_worker()
        try:
            yield started
        finally:
            for worker in started.workers:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(worker.pid, signal.SIGTERM)
                worker.wait(PATIENCE_S)


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


@pytest.fixture(scope="module")
def waiting(
    prefect: Prefect, registry: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[WaitingModel]:
    folder = tmp_path_factory.mktemp("waiting")
    model = register_waiting_model(registry, folder, make_frame(20))
    yield model
    model.open()  # what is left of a test that failed


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
    in_checkout = list(Path("deploy/jobs").glob("*.yaml"))
    named = sorted({*JOBS, *(path.stem for path in in_checkout)})
    files = [prefect.home / "jobs" / f"{name}.yaml" for name in JOBS]
    paths = sorted({str(path.absolute()) for path in (*files, *in_checkout)})
    assert properties["job"]["enum"] == [*named, *paths]
    assert schema["definitions"]["Order"]["enum"] == ["newest", "oldest"]
    assert all(properties[name].get("description") for name in properties)


def test_an_unknown_job_is_refused_by_the_form(prefect: Prefect) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        prefect.trigger(BACKFILL, job="nowhere", start="2024-03-01", end="2024-03-02")
    with refused.value:
        assert b"is not one of" in refused.value.read()


def test_a_broken_backfill_is_repaired_by_running_it_again(
    prefect: Prefect, s3_lake: Lake, write_job: WriteJob, thorough: bool
) -> None:
    lake = s3_lake
    days = [f"2024-03-{i:02d}" for i in range(1, 11 if thorough else 7)]
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
        f"{len(days) - 2} done, 2 failed, 0 not run; failed: {', '.join(broken)}; causes"
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


def test_two_overlapping_backfills_publish_each_partition_once(
    prefect: Prefect, lake: Lake, write_job: WriteJob, thorough: bool
) -> None:
    days = [f"2024-05-{i:02d}" for i in range(1, 13 if thorough else 9)]
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


def test_a_backfill_delays_only_the_next_and_leaves_nothing_when_it_is_cancelled(
    prefect: Prefect, lake: Lake, waiting: WaitingModel, write_job: WriteJob
) -> None:
    days = [f"2024-04-{i:02d}" for i in range(1, 7)]
    frames = {day: make_frame(500, seed=i) for i, day in enumerate(days)}
    held = days[2:4]
    for day in held:
        frames[day] = waiting.held(frames[day])
    for day, frame in frames.items():
        lake.write(day, frame)
    tonight = "2024-06-20"
    lake.write(tonight, make_frame(60_000))
    waiting.close()
    prefect.limit_backfills(1)
    job = write_job("cancelled", lake, model=waiting.name)
    parameters = {"job": job, "start": days[0], "end": days[-1]}

    # It scores the newest two days, then is held at two. The next backfill waits for it.
    parent = prefect.trigger(BACKFILL, **parameters)
    wait_for(
        lambda: sorted(prefect.children(parent).values()) == ["Completed"] * 2 + ["Running"] * 2,
        "two days to be done, and two to be under way",
    )
    next_backfill = prefect.trigger(BACKFILL, **parameters, max_parallel=4)
    processes = family(prefect.engine())
    assert has_pool(processes)

    # The nightly run waits for none of them.
    nightly = prefect.trigger(NIGHTLY, job=job, date=tonight, look_back_days=0)
    ended = prefect.finished(nightly)
    assert ended["state_name"] == "Completed", ended["state"]["message"]
    assert ended["state"]["message"].startswith(f"{tonight}: 60,000 rows scored")
    assert prefect.run(parent)["state_name"] == "Running"
    assert prefect.run(next_backfill)["state_name"] in ("Scheduled", "Late")

    # Its place in the queue is free from now on, while it still ends.
    prefect.limit_backfills(0)
    prefect.api(
        "POST",
        f"/flow_runs/{parent}/set_state",
        {"state": {"type": "CANCELLING", "name": "Cancelling"}},
    )

    assert prefect.finished(parent)["state_name"] == "Cancelled"
    assert_gone(processes)
    states = prefect.all_final(parent)
    assert {name for name, state in states.items() if state == "Cancelled"} == {
        f"{job} · {day}" for day in held
    }
    assert sorted(states.values()) == ["Cancelled"] * 2 + ["Completed"] * 2, states
    assert set(open_publisher(Workspace(lake.job())).all_live()) == {*days[4:], tonight}

    # The next one does what is left.
    waiting.open()
    prefect.limit_backfills(1)
    ended = prefect.finished(next_backfill)
    assert ended["state_name"] == "Completed", ended["state"]["message"]
    assert set(prefect.children(next_backfill)) == {f"{job} · {day}" for day in days[:4]}
    n_rows = dict.fromkeys(days, 500) | {tonight: 60_000}
    assert lake.read(lake.job()).groupby("ds").size().to_dict() == n_rows


def write_held(lake: Lake, waiting: WaitingModel, day: str) -> None:
    """Three shards; the model waits in the last one."""
    for i in range(3):
        frame = make_frame(66_000, seed=i)
        lake.write(day, waiting.held(frame) if i == 2 else frame, f"p{i}")


def n_finished_shards(lake: Lake) -> int:
    return sum(
        entry.path.endswith(".json") for entry in state_store(lake.job()).list_files("checkpoints")
    )


def test_no_run_is_left_running_when_its_process_or_worker_is_gone(
    prefect: Prefect, lake: Lake, waiting: WaitingModel, write_job: WriteJob
) -> None:
    """A run's process is killed; a worker is stopped; a worker is killed together with its run.

    The worker ends the first run, an automation ends the others, and a backfill resumes them all.
    Another automation ends a run that nobody starts.
    """
    days = ("2024-02-26", "2024-02-27", "2024-02-28")
    for day in days:
        write_held(lake, waiting, day)
    waiting.close()
    job = write_job("abandoned", lake, model=waiting.name)
    prefect.create_impatient_automation(ZOMBIES, 40)
    prefect.create_impatient_automation(PENDING, 10, **{"prefect.resource.name": "forgotten"})

    def start(day: str) -> str:
        before = n_finished_shards(lake)
        run_id = prefect.trigger(NIGHTLY, job=job, date=day, look_back_days=0)
        wait_for(lambda: n_finished_shards(lake) == before + 2, "two shards to be scored")
        return run_id

    killed = start(days[0])
    processes = family(prefect.engine())
    assert has_pool(processes)
    processes[0].kill()
    assert_gone(processes)
    assert prefect.finished(killed)["state_name"] == "Crashed"
    assert set(prefect.all_final(killed).values()) == {"Crashed"}

    stopped = start(days[1])
    processes = family(psutil.Process(prefect.worker.pid))
    assert has_pool(processes)
    prefect.worker.terminate()
    prefect.worker.wait(PATIENCE_S)
    assert_gone(processes)
    prefect.start_worker()

    abandoned = start(days[2])
    processes = family(psutil.Process(prefect.worker.pid))
    assert has_pool(processes)
    for process in processes[:2]:
        process.kill()
    prefect.worker.wait(PATIENCE_S)
    assert_gone(processes)
    prefect.start_worker()

    forgotten = prefect.create_pending_run("forgotten")

    for run_id in (stopped, abandoned, forgotten):
        ended = prefect.finished(run_id)
        assert ended["state_name"] in ("Crashed", "Cancelled"), ended["state"]

    for run_id in (stopped, abandoned):
        assert set(prefect.all_final(run_id).values()) <= {"Crashed", "Cancelled"}

    waiting.open()
    again = prefect.finished(prefect.trigger(BACKFILL, job=job, start=days[0], end=days[-1]))
    assert again["state_name"] == "Completed", again["state"]["message"]
    newest = {manifest.partition: manifest for manifest in reversed(run_history(lake.job()))}
    assert {day: newest[day].measures.n_shards_resumed for day in days} == dict.fromkeys(days, 2)
    assert newest[days[0]].attempts == newest[days[2]].attempts == 2
    assert lake.read(lake.job()).groupby("ds").size().to_dict() == dict.fromkeys(days, 198_000)
