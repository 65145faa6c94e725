"""Real clusters: a Dask scheduler with two workers, and a Ray node, all processes of their own."""

import contextlib
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from nightscore.engine.backends.local import WorkerPool
from nightscore.engine.backends.ray import RayCluster
from nightscore.models.cache import ModelCache
from tests.support.lake import Lake
from tests.support.seaweedfs import BUCKET, S3_KEY, S3_SECRET, S3Server
from tests.support.shared import with_machine_code

ROOT = Path(__file__).parents[3]
CHILD = "nightscore.engine.remote.child"
SECRETS = {"CLUSTER_KEY": S3_KEY, "CLUSTER_SECRET": S3_SECRET}
RAY_ACCESS = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
"""The cluster's own: it listens on all interfaces, and whoever reaches it could run code."""
OPTIONS = {
    "key": "${CLUSTER_KEY}",
    "secret": "${CLUSTER_SECRET}",
    "endpoint_url": "${CLUSTER_ENDPOINT}",
}


def environment(cache: Path, endpoint: str, **changes: str) -> dict[str, str]:
    """Of a process of a cluster."""
    return {
        **os.environ,
        **SECRETS,
        "CLUSTER_ENDPOINT": endpoint,
        "PYTHONPATH": str(ROOT),
        "NIGHTSCORE_CACHE": str(cache),
        "RAY_USAGE_STATS_ENABLED": "0",
        **changes,
    }


@contextlib.contextmanager
def started(
    command: list[str], env: dict[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """A process, ended with all that it has started."""
    with log.open("w") as file:
        process = subprocess.Popen(command, env=env, stdout=file, stderr=file, cwd=log.parent)
    try:
        yield process
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            family = [
                *psutil.Process(process.pid).children(recursive=True),
                psutil.Process(process.pid),
            ]
            process.terminate()
            _, alive = psutil.wait_procs(family, 10)
            for left in alive:
                with contextlib.suppress(psutil.NoSuchProcess):
                    left.kill()
        process.wait()


def until(is_so: Callable[[], Any], seconds: float = 240.0, every_s: float = 0.02) -> Any:
    """What the function says once it is true: of other processes nobody tells an event."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if answer := is_so():
            return answer
        time.sleep(every_s)
    raise AssertionError(f"not so after {seconds:g} s")


def children(pid: int) -> list[psutil.Process]:
    """Processes that run calls, below one of a cluster."""
    processes = []
    with contextlib.suppress(psutil.NoSuchProcess):
        for process in psutil.Process(pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                if CHILD in process.cmdline():
                    processes.append(process)
    return processes


@dataclass
class RunningCluster:
    """A cluster, and where its processes are."""

    backend: str
    address: str
    pid: int
    cache: Path
    logs: Path
    endpoint: str
    workers: list[int] = field(default_factory=list)

    def spec(self, **changes: Any) -> dict[str, Any]:
        """`workers` of a job."""
        return {"backend": self.backend, "address": self.address, **changes}

    def children(self) -> list[psutil.Process]:
        """Processes that run calls, or wait for some."""
        return [child for pid in (self.pid, *self.workers) for child in children(pid)]

    @contextlib.contextmanager
    def to_lose(self) -> Iterator[int]:
        """Below this process no child is warm, and a worker may be killed: Ray starts another, Dask has one more."""
        for idle in self.children():
            idle.kill()
        if self.backend == "ray":
            yield self.pid
            return
        with self.dask_worker("to-lose") as pid:
            yield pid

    @contextlib.contextmanager
    def dask_worker(
        self, name: str, cache: Path | None = None, without: tuple[str, ...] = (), **changes: str
    ) -> Iterator[int]:
        """One more worker of a Dask cluster, without a nanny: nobody starts it again."""
        import distributed

        command = [
            sys.executable,
            "-m",
            "distributed.cli.dask_worker",
            self.address,
            "--no-nanny",
            "--no-dashboard",
        ]
        command += ["--nthreads", "1", "--name", name, "--local-directory", str(self.logs)]
        variables = environment(cache or self.cache, self.endpoint, **changes)
        variables = {
            variable: value for variable, value in variables.items() if variable not in without
        }
        with distributed.Client(self.address, set_as_default=False) as client:

            def is_there() -> bool:
                return any(
                    worker["name"] == name for worker in client.scheduler_info()["workers"].values()
                )

            with started(command, variables, self.logs / f"{name}.log") as process:
                until(is_there, every_s=0.1)
                yield process.pid
            with contextlib.suppress(OSError, KeyError):  # the scheduler may be gone as well
                until(lambda: not is_there(), every_s=0.1)


@contextlib.contextmanager
def dask_cluster(folder: Path, endpoint: str) -> Iterator[RunningCluster]:
    """A scheduler without workers."""
    (port,) = free_ports(1)
    command = [
        sys.executable,
        "-m",
        "distributed.cli.dask_scheduler",
        "--no-dashboard",
        "--no-show",
    ]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    with started(
        command, environment(folder / "cache", endpoint), folder / "scheduler.log"
    ) as process:
        until(lambda: accepts(port) or process.poll() is not None)
        yield RunningCluster(
            "dask", f"tcp://127.0.0.1:{port}", process.pid, folder / "cache", folder, endpoint
        )


@pytest.fixture(scope="package")
def dask(tmp_path_factory: pytest.TempPathFactory, s3_server: S3Server) -> Iterator[RunningCluster]:
    """Two workers that share a cache of models, as two processes of one node do."""
    folder = tmp_path_factory.mktemp("dask")
    with dask_cluster(folder, s3_server.endpoint) as cluster, contextlib.ExitStack() as stack:
        cluster.workers = [
            stack.enter_context(cluster.dask_worker(name)) for name in ("first", "second")
        ]
        yield cluster


@pytest.fixture(scope="package")
def ray(
    tmp_path_factory: pytest.TempPathFactory, s3_server: S3Server, machine_code: Path
) -> Iterator[RunningCluster]:
    """A head node with two CPUs."""
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
    cache = with_machine_code(tmp_path_factory.mktemp("ray") / "cache", machine_code)
    (port,) = free_ports(1)
    command = [
        sys.executable,
        "-m",
        "ray.scripts.scripts",
        "start",
        "--head",
        "--block",
        f"--port={port}",
    ]
    command += [
        "--num-cpus=2",
        "--object-store-memory=80000000",
        "--include-dashboard=false",
        "--no-monitor",
    ]
    command += [f"--temp-dir={folder}", "--disable-usage-stats"]
    log = folder / "head.log"
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in RAY_ACCESS.items():
                patch.setenv(name, value)
            with started(command, environment(cache, s3_server.endpoint), log) as process:
                address = until(
                    lambda: re.search(r"--address='([^']+)'", log.read_text()) or process.poll(),
                    every_s=0.1,
                )
                assert isinstance(address, re.Match), log.read_text()
                yield RunningCluster(
                    "ray", address[1], process.pid, cache, folder, s3_server.endpoint
                )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def connected_ray(ray: RunningCluster) -> Iterator[RunningCluster]:
    """With a connection that this process keeps: Ray starts workers anew for each one."""
    connection = RayCluster(ray.address)
    yield ray
    connection.close()


@pytest.fixture(params=["dask", "ray"])
def cluster(request: pytest.FixtureRequest) -> RunningCluster:
    """Each kind."""
    running: RunningCluster = request.getfixturevalue(request.param)
    return running


@pytest.fixture
def cluster_lake(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    s3_server: S3Server,
    registry: str,
    pool: WorkerPool,
    cache: ModelCache,
) -> Lake:
    """A lake on the S3 server whose options name variables only."""
    for name, value in {**SECRETS, "CLUSTER_ENDPOINT": s3_server.endpoint}.items():
        monkeypatch.setenv(name, value)
    prefix = "".join(c if c.isalnum() else "-" for c in request.node.name)
    return Lake(f"s3://{BUCKET}/{prefix}", OPTIONS, registry, pool, cache)


def accepts(port: int) -> bool:
    """Whether something listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_ports(n: int) -> list[int]:
    """Ports that nobody has."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(n)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
