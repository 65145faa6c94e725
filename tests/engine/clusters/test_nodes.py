"""What nodes need: the model by themselves, the driver's versions, variables, folders, an end to what hangs."""

import http.server
import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import urllib.parse
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pytest
import yaml
from dask import config

from nightscore.engine.backends.dask import DaskCluster
from nightscore.engine.backends.ray import RayCluster
from nightscore.engine.model_facts import learn_facts
from nightscore.engine.planning import shards
from nightscore.engine.planning.plan import PlannedWorkers, plan_partition
from nightscore.engine.remote.calls import Call, pack
from nightscore.engine.remote.node import run_call
from nightscore.engine.remote.requirements import NodeReport, NodeRequirements, process_versions
from nightscore.engine.worker_backend_catalog import open_pool
from nightscore.errors import ClusterError, InvalidJobError, WorkerError
from nightscore.inputs.partitions import find_partition
from nightscore.ledger.layout import state_store
from nightscore.ledger.manifest_files import list_manifests
from nightscore.ledger.workspace import Workspace
from nightscore.models.cache import digest_tree
from nightscore.models.pinned import PinnedModel
from nightscore.models.registries.protocol import DIGEST_TAG
from nightscore.schemas.job import Workers
from tests.engine.clusters.conftest import (
    RunningCluster,
    children,
    dask_cluster,
    environment,
    free_ports,
    started,
    until,
)
from tests.engine.clusters.test_cluster_runs import DAY, score, write_day
from tests.support.lake import Lake
from tests.support.models import make_frame
from tests.support.seaweedfs import S3_SECRET, S3Server
from tests.support.shared import with_machine_code

pytestmark = pytest.mark.s3


@pytest.fixture(autouse=True)
def _many_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nightscore.engine.planning.shards.MIN_SHARD_ROWS", 1_000)


class MlflowServer(http.server.ThreadingHTTPServer):
    """As much of MLflow's REST interface as resolving and fetching one version takes; counts what it hands out."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.folder = folder
        self.downloads: Counter[str] = Counter()

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Answers(http.server.BaseHTTPRequestHandler):
    server: MlflowServer

    def do_GET(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        artifacts = "/api/2.0/mlflow-artifacts/artifacts"
        if url.path.endswith("model-versions/get"):
            tag = {"key": DIGEST_TAG, "value": digest_tree(self.server.folder)}
            return self._say(
                {
                    "model_version": {
                        "name": query["name"],
                        "version": "1",
                        "source": "",
                        "tags": [tag],
                    }
                }
            )
        if url.path.endswith("model-versions/get-download-uri"):
            return self._say({"artifact_uri": "mlflow-artifacts:/here"})
        if url.path == artifacts:
            inner = query.get("path", "").removeprefix("here").strip("/")
            paths = sorted(Path(self.server.folder, inner).iterdir())
            files = [
                {"path": p.name, "is_dir": p.is_dir(), "file_size": p.stat().st_size} for p in paths
            ]
            return self._say({"files": files})
        name = url.path.removeprefix(f"{artifacts}/here/")
        self.server.downloads[name] += 1
        return self._send(Path(self.server.folder, name).read_bytes())

    def _say(self, answer: object) -> None:
        self._send(json.dumps(answer).encode())

    def _send(self, content: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def mlflow_server(registry: str, registry_root: Path) -> Iterator[MlflowServer]:
    """Hands out a model that no other test here uses."""
    server = MlflowServer(registry_root / "models" / "hgb_regressor")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.slow
def test_a_node_fetches_a_model_once(
    dask: RunningCluster,
    cluster_lake: Lake,
    mlflow_server: MlflowServer,
    tmp_path: Path,
    machine_code: Path,
) -> None:
    write_day(cluster_lake)
    cache = with_machine_code(tmp_path / "cache", machine_code)
    job = cluster_lake.job(
        "hgb_regressor", workers=dask.spec(), registry=mlflow_server.uri, drift={"profile": False}
    )
    # What the model is, is known: all workers want it first for their first shards, at the same
    # time.
    learn_facts(PinnedModel.resolve(job, cluster_lake.cache), cluster_lake.cache, cluster_lake.pool)
    for idle in dask.children():
        idle.kill()
    with (
        dask.dask_worker("other-node", cache) as other,
        open_pool(job.workers) as pool,
    ):
        assert score(cluster_lake, pool, job).error is None
        assert all(children(pid) for pid in (*dask.workers, other))  # each has scored
    # By the driver, which checks the pin; by the node of two workers, by the node of one.
    assert mlflow_server.downloads["MLmodel"] == 3
    assert set(mlflow_server.downloads.values()) == {3}
    digest = digest_tree(mlflow_server.folder).removeprefix("sha256:")
    assert (dask.cache / digest).is_dir()
    assert (cache / digest).is_dir()


def fake_versions(folder: Path, **packages: str) -> str:
    """A path for Python that makes installed packages report other versions."""
    for name, version in packages.items():
        info = folder / f"{name}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    return f"{folder}{os.pathsep}{Path(__file__).parents[3]}"


def assert_differences_named(message: str, worker: str) -> None:
    here = process_versions()
    assert f"pyarrow 1.2.3 (driver: {here['pyarrow']})" in message
    assert f"numpy 0.1 (driver: {here['numpy']})" in message
    assert worker in message
    assert "scikit-learn" not in message
    assert "next:" in message


def test_other_versions_on_a_dask_worker_are_refused(
    dask: RunningCluster, cluster_lake: Lake, tmp_path: Path
) -> None:
    write_day(cluster_lake)
    path = fake_versions(tmp_path / "fake", pyarrow="1.2.3", numpy="0.1")
    job = cluster_lake.job(workers=dask.spec())
    with dask.dask_worker("older", PYTHONPATH=path), open_pool(job.workers) as pool:
        manifest = score(cluster_lake, pool, job)
    assert manifest.error is not None
    assert manifest.error.type == "ClusterError"
    assert not manifest.error.retryable
    assert_differences_named(manifest.error.message, "tcp://127.0.0.1")


@pytest.mark.slow
def test_other_versions_on_a_ray_node_are_refused(ray: RunningCluster, tmp_path: Path) -> None:
    path = fake_versions(tmp_path / "fake", pyarrow="1.2.3", numpy="0.1")
    command = [
        sys.executable,
        "-m",
        "ray.scripts.scripts",
        "start",
        "--block",
        f"--address={ray.address}",
    ]
    command += ["--num-cpus=1", "--object-store-memory=80000000", "--disable-usage-stats"]
    env = environment(tmp_path / "cache", ray.endpoint, PYTHONPATH=path)
    log = tmp_path / "node.log"
    with started(command, env, log) as process:
        until(
            lambda: "Ray runtime started" in log.read_text() or process.poll() is not None,
            every_s=0.1,
        )
        with pytest.raises(ClusterError) as refused, open_pool(Workers(**ray.spec())) as pool:
            until(lambda: pool.capacity == 3, every_s=0.1)
    assert_differences_named(str(refused.value), "node ")


def test_a_process_with_other_versions_runs_nothing() -> None:
    payload = pack(os.abort, (), {})
    call = Call("one", payload, process_versions() | {"pyarrow": "1.2.3"}, {})
    reply = run_call(call, "here")
    assert reply.outcome == "mismatched"
    assert "driver: 1.2.3" in reply.cause
    died = run_call(replace(call, versions=process_versions()), "here")
    assert (died.outcome, died.cause) == (
        "died",
        f"its process ended by signal {signal.SIGABRT.value}",
    )
    alive = run_call(Call("two", pack(os.getpid, (), {}), process_versions(), {}), "here")
    assert pickle.loads(alive.content) == alive.pid != os.getpid()


def test_a_worker_without_a_variable_is_named(dask: RunningCluster, cluster_lake: Lake) -> None:
    write_day(cluster_lake)
    job = cluster_lake.job(workers=dask.spec())
    with dask.dask_worker("poor", without=("CLUSTER_SECRET",)), open_pool(job.workers) as pool:
        manifest = score(cluster_lake, pool, job)
    assert manifest.error is not None
    assert manifest.error.type == "ClusterError"
    assert (
        manifest.error.message.count(
            "the variable CLUSTER_SECRET, which storage_options name, is not set"
        )
        == 1
    )
    assert S3_SECRET not in manifest.model_dump_json()


def test_workers_say_what_they_do_not_see(cluster: RunningCluster, tmp_path: Path) -> None:
    kind = {"dask": DaskCluster, "ray": RayCluster}[cluster.backend]
    before = signal.getsignal(signal.SIGTERM)
    opened = kind(cluster.address)
    try:
        assert signal.getsignal(signal.SIGTERM) == before  # Ray takes it otherwise
        assert opened.n_slots() == 2
        reports = opened.report_nodes(
            NodeRequirements(
                ("CLUSTER_KEY", "NOBODY_SETS_THIS"), (str(tmp_path), str(tmp_path / "none"))
            )
        )
        assert reports
        for said in reports.values():
            assert isinstance(said, NodeReport), said
            assert said.versions == process_versions()
            assert said.missing_variables == ("NOBODY_SETS_THIS",)
            assert said.missing_folders == (str(tmp_path / "none"),)
    finally:
        opened.close()


def test_a_disk_that_the_workers_share(
    dask: RunningCluster, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.write(DAY, make_frame(5_000))
    job = lake.job(workers=dask.spec())
    with open_pool(job.workers) as pool:
        assert score(lake, pool, job).counts.rows_scored == 5_000
        monkeypatch.chdir(Path(lake.root).parent)
        relative = replace(lake, root="lake")
        manifest = score(relative, pool, relative.job(workers=dask.spec()), force=True)
    assert manifest.error is not None
    assert manifest.error.type == "InvalidJobError"
    assert "lake/features" in manifest.error.message


def test_memory_is_planned_for_each_process_of_a_cluster(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "MIN_SHARD_ROWS", 64)
    lake.write(DAY, make_frame(5_000), row_group_size=64)  # a shard for each worker, and more
    plans = {}
    for backend, address in (("loky", None), ("dask", "tcp://nowhere:1")):
        workers = {"backend": backend, "address": address}
        job = lake.job(workers=workers, limits={"memory_bytes": 900 << 20}, engine="library")
        model = PinnedModel.resolve(job, lake.cache)
        measured = learn_facts(model, lake.cache, lake.pool)
        facts = measured.model_copy(
            update={"model_bytes": 120 << 20}
        )  # a warm worker measures less
        partition, _ = find_partition(Workspace(job), DAY)
        plans[backend] = plan_partition(job, model, facts, partition, PlannedWorkers(64))[0].memory
    assert plans["loky"].n_workers < 5
    assert plans["loky"].total_bytes <= 900 << 20
    assert plans["dask"].n_workers == 64
    assert plans["dask"].bytes_per_worker <= 900 << 20 < plans["dask"].total_bytes


def test_a_process_takes_no_more_memory_than_the_job_says(dask: RunningCluster, lake: Lake) -> None:
    text = pa.array(["x" * 50_000_000])  # kilobytes that decode to 100 GB
    column = pa.DictionaryArray.from_arrays(pa.array(np.zeros(2_000, np.int32)), text)
    table = pa.Table.from_pandas(make_frame(2_000), preserve_index=False).drop(["color"])
    lake.write(DAY, table.append_column("color", column), compression="zstd", store_schema=False)
    job = lake.job(
        workers=dask.spec(),
        limits={"memory_bytes": 600 << 20},
        pass_through=["color"],
        drift={"profile": False},
    )
    workers = [psutil.Process(pid) for pid in dask.workers]
    with open_pool(job.workers) as pool:
        manifest = score(lake, pool, job)
        assert manifest.error is not None
        assert manifest.error.type == "MemoryLimitError"
        assert "at most 629,145,600 bytes a process" in manifest.error.message
        lake.write(DAY, make_frame(2_000))
        assert score(lake, pool, job).error is None
    assert all(worker.is_running() for worker in workers)


@pytest.fixture(scope="module")
def silent(
    tmp_path_factory: pytest.TempPathFactory, s3_server: S3Server
) -> Iterator[RunningCluster]:
    """A cluster with one worker, for which the store takes requests and never answers; the driver's answers."""
    folder = tmp_path_factory.mktemp("silent")
    with socket.create_server(("127.0.0.1", 0)) as store:
        endpoint = f"http://127.0.0.1:{store.getsockname()[1]}"
        with dask_cluster(folder, endpoint) as cluster, cluster.dask_worker("deaf") as pid:
            cluster.workers = [pid]
            yield cluster


def test_a_shard_that_hangs_is_ended_twice(silent: RunningCluster, cluster_lake: Lake) -> None:
    cluster_lake.write(DAY, make_frame(500))
    changes = {"drift": {"profile": False}, "limits": {"shard_minutes": 0.05}}
    job = cluster_lake.job(workers=silent.spec(), **changes)
    with open_pool(job.workers) as pool:
        manifest = score(cluster_lake, pool, job)
        assert manifest.error is not None
        assert manifest.error.type == "WorkerError"
        assert "hung" in manifest.error.message
        assert "deaf at tcp://" in manifest.error.message
        assert "no end, 2 times" in manifest.error.message
    assert not silent.children()


@pytest.mark.slow
@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL])
def test_a_driver_that_ends_leaves_nothing_running(
    silent: RunningCluster, cluster_lake: Lake, tmp_path: Path, ending: signal.Signals
) -> None:
    cluster_lake.write(DAY, make_frame(500))
    job = cluster_lake.job(workers=silent.spec(), drift={"profile": False})
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(job.model_dump(mode="json")))
    for idle in silent.children():
        idle.kill()
    with open_pool(job.workers) as pool:
        learn_facts(PinnedModel.resolve(job, cluster_lake.cache), cluster_lake.cache, pool)
    command = [sys.executable, "-m", "nightscore.cli", "run", str(path), DAY, "--json"]
    env = os.environ | {"NIGHTSCORE_CACHE": str(cluster_lake.cache.root)}
    with subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as driver:
        try:
            (child,) = until(
                lambda: [c for c in silent.children() if _is_connected(c)], every_s=0.1
            )
            driver.send_signal(ending)
            output, errors = driver.communicate(timeout=60)
        finally:
            driver.kill()
    _, alive = psutil.wait_procs([child], 30)
    assert not alive
    if ending == signal.SIGTERM:
        assert driver.returncode == 130, errors.decode()
        assert json.loads(output)["error"]["type"] == "InterruptedRunError"
        manifests, _ = list_manifests(state_store(job), f"ds={DAY}")
        assert [manifest.status for manifest in manifests] == ["failed"]


def _is_connected(child: psutil.Process) -> bool:
    """Whether its shard has asked the store."""
    try:
        return any(c.status == psutil.CONN_ESTABLISHED for c in child.net_connections("tcp"))
    except psutil.Error:
        return False


def test_no_cluster_at_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nightscore.engine.backends.dask.CONNECT_S", 1)
    (port,) = free_ports(1)
    with (
        pytest.raises(WorkerError, match="does not answer") as failed,
        open_pool(Workers(backend="dask", address=f"tcp://127.0.0.1:{port}")) as pool,
    ):
        _ = pool.capacity
    assert failed.value.retryable
    assert str(port) in str(failed.value)


@pytest.mark.parametrize(("backend", "module"), [("dask", "distributed"), ("ray", "ray")])
def test_a_missing_library_names_the_extra(
    backend: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with (
        pytest.raises(InvalidJobError, match=rf"nightscore\[{backend}\]"),
        open_pool(Workers(backend=backend, address="127.0.0.1:1")) as pool,
    ):
        _ = pool.capacity


@pytest.mark.parametrize(
    ("workers", "said"),
    [
        ({"backend": "dask"}, "dask needs the address of a cluster"),
        (
            {"backend": "loky", "address": "tcp://a:1"},
            "loky runs on this machine and takes no address",
        ),
        ({"backend": "ray", "address": "ray://user:canary@a:1"}, "carries credentials"),
    ],
)
def test_workers_that_make_no_sense(lake: Lake, workers: dict[str, str], said: str) -> None:
    with pytest.raises(InvalidJobError, match=said) as refused:
        lake.job(workers=workers)
    assert "canary" not in str(refused.value)


HASTY = """
from distributed.worker import Worker

close = Worker.close
Worker.close = lambda self, *_, **options: close(self, **(options | {"timeout": 1}))
"""
"""Lets a Dask worker that has lost its scheduler wait one second for its calls, and not thirty."""


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["workers", "scheduler"])
def test_a_cluster_that_is_lost_fails_the_run(
    s3_server: S3Server,
    cluster_lake: Lake,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    lost: str,
) -> None:
    monkeypatch.setattr("nightscore.engine.remote.cluster_pool.NO_WORKERS_S", 2.0)
    monkeypatch.setattr("nightscore.engine.remote.cluster_pool.LOOK_S", 0.5)
    cluster_lake.write(DAY, make_frame(500))
    hasty = tmp_path / "hasty.py"
    hasty.write_text(HASTY)
    with (
        socket.create_server(("127.0.0.1", 0)) as store,
        dask_cluster(tmp_path, f"http://127.0.0.1:{store.getsockname()[1]}") as cluster,
        cluster.dask_worker("only", DASK_DISTRIBUTED__WORKER__PRELOAD=str(hasty)) as pid,
    ):
        job = cluster_lake.job(workers=cluster.spec(), drift={"profile": False})

        def lose() -> None:
            until(lambda: any(map(_is_connected, children(pid))), every_s=0.1)
            psutil.Process(pid if lost == "workers" else cluster.pid).kill()

        threading.Thread(target=lose, daemon=True).start()
        # For so long a client looks for a scheduler that is gone.
        with (
            config.set({"distributed.comm.timeouts.connect": "3s"}),
            open_pool(job.workers) as pool,
        ):
            manifest = score(cluster_lake, pool, job)
        assert manifest.error is not None
        assert manifest.error.type == "WorkerError"
        assert manifest.error.retryable
        until(lambda: not children(pid), every_s=0.1)
