"""The demo's lake and model, made once, and a stack over them that is up for all tests that need one."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from nightscore.engine.backends.local import WorkerPool
from nightscore.flows.demo.sample import Sample
from nightscore.flows.prefect_server import PrefectServer, prefect_server
from nightscore.flows.stack.settings import Settings, free_ports
from nightscore.flows.stack.state import State
from tests.support.lake import Lake
from tests.support.lent_pool import lender
from tests.support.models import KnownModel
from tests.support.prefect_database import make_database, place_database
from tests.support.releases import write_aliased_job
from tests.support.shared import made_once

WEBHOOK_SECRET = "a secret of more than sixteen characters"
WEBHOOKS = {
    "NIGHTSCORE_WEBHOOK_SECRET": WEBHOOK_SECRET,
    "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http",
    "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
}
"""Of the pages and of MLflow, which would deliver to public addresses over HTTPS alone."""


@dataclass(frozen=True)
class Stack:
    """One folder with what `nightscore up` keeps there, and ports of its own."""

    settings: Settings

    def call(self, command: str) -> subprocess.CompletedProcess[str]:
        """`nightscore up`, `down` or `status`, in a folder that has nothing else."""
        named = {"root": self.settings.root}
        if command == "up":
            named = {k: v for k, v in self.settings.as_dict().items() if not k.startswith("own_")}
        options = [
            part
            for name, value in named.items()
            for part in (f"--{name.replace('_', '-')}", str(value))
        ]
        environment = {
            k: v
            for k, v in os.environ.items()
            if not k.startswith(("PREFECT_", "MLFLOW_", "NIGHTSCORE_"))
        }
        return subprocess.run(
            [sys.executable, "-m", "nightscore.cli", command, *options],
            cwd=self.settings.root,
            env=environment | WEBHOOKS,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )

    @property
    def state(self) -> State | None:
        return State.read(self.settings.folder)

    def processes(self) -> list[psutil.Process]:
        """All of them, with everything below."""
        state = self.state
        assert state is not None
        owned = [process for name in state.processes if (process := state.process(name))]
        return list(
            {p.pid: p for one in owned for p in (one, *one.children(recursive=True))}.values()
        )


def assert_nothing_is_left(stack: Stack, processes: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(processes, timeout=60)
    assert not alive, [p.cmdline() for p in alive]
    assert stack.state is None
    stack.settings.check_ports()


def leave_dead_state(stack: Stack) -> None:
    """Leave what a supervisor leaves that was killed."""
    socket = stack.settings.folder / "left.sock"
    socket.touch()
    state = State(settings=stack.settings, status="up", temporary=[str(socket)])
    with psutil.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        state.add("supervisor", process)
        process.kill()


def a_stack(root: Path, store: str = "local", db: str = "sqlite") -> Stack:
    names = ("prefect_port", "mlflow_port", "s3_port", "postgres_port", "pages_port")
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    return Stack(Settings(root=str(root), store=store, db=db, **ports))


@pytest.fixture(scope="session")
def prefect_database(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database of Prefect, from pytest's cache."""
    cache = getattr(pytestconfig, "cache", None)
    return make_database(cache.mkdir("prefect") if cache else tmp_path_factory.mktemp("prefect"))


@pytest.fixture(scope="session")
def server(
    tmp_path_factory: pytest.TempPathFactory, prefect_database: Path
) -> Iterator[PrefectServer]:
    """A Prefect server without a worker, which drops events."""
    home = tmp_path_factory.mktemp("prefect")
    place_database(prefect_database, home)

    with ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:
            for service in ("EVENT_PERSISTER", "TRIGGERS"):
                patch.setenv(f"PREFECT_SERVER_SERVICES_{service}_ENABLED", "false")
            server = stack.enter_context(prefect_server(home))
        server.wait()
        yield server


@pytest.fixture(scope="module")
def flows_use_server(server: PrefectServer) -> Iterator[None]:
    """Flows of this process run on the server, without heartbeats; nothing is left to send."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker
    from prefect.settings import (
        PREFECT_API_URL,
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
        temporary_settings,
    )

    settings = {PREFECT_API_URL: server.api_url, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}
    with temporary_settings(settings):
        yield
        for worker in (APILogWorker, EventsWorker):
            worker.drain_all()


@pytest.fixture
def aliased_job(
    lake: Lake,
    models: dict[str, KnownModel],
    pool: WorkerPool,
    registry_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """The file of a job with a champion of its own; its flows use the session's workers."""
    monkeypatch.setattr("nightscore.flows.pools.open_pool", lender(pool))
    monkeypatch.setenv("NIGHTSCORE_CACHE", str(lake.cache.root))
    return write_aliased_job(lake, registry_root, tmp_path, is_pinned=True)


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory, shared: Path, empty_registry: Path) -> Sample:
    """Prepared once for all processes, which have a copy each.

    A process of its own prepares it: training imports much that tests shall not have imported.
    """
    script = (
        "import sys; from datetime import date; from pathlib import Path; "
        "from nightscore.flows.demo.sample import Sample; "
        "Sample(Path(sys.argv[1])).prepare(date(2013, 12, 31), print, print)"
    )

    def prepare(folder: Path) -> None:
        shutil.copyfile(empty_registry, folder / "mlflow.db")
        command = [sys.executable, "-c", script, str(folder)]
        subprocess.run(command, check=True, capture_output=True)

    prepared = Sample(made_once(shared / "sample", prepare))
    return Sample(copy_of(prepared, tmp_path_factory.mktemp("sample") / "root"))


@pytest.fixture(scope="session")
def stack(sample: Sample, prefect_database: Path) -> Iterator[Stack]:
    """Up on local files and SQLite, after a supervisor was killed; nothing is left at the end."""
    running = a_stack(sample.root)
    place_database(prefect_database, running.settings.folder / "prefect")
    leave_dead_state(running)
    started = running.call("up")
    assert started.returncode == 0, started.stdout + started.stderr
    assert running.settings.prefect_url in started.stdout
    assert not (running.settings.folder / "left.sock").exists()
    try:
        yield running
    finally:
        processes = running.processes()
        stopped = running.call("down")
    assert stopped.returncode == 0, stopped.stdout + stopped.stderr
    assert_nothing_is_left(running, processes)


def copy_of(sample: Sample, root: Path) -> Path:
    """A sample of one's own; the model's artifacts stay where the registry says that they are."""
    shutil.copytree(
        sample.root, root, ignore=shutil.ignore_patterns("stack", "jobs", "predictions*")
    )
    return root
