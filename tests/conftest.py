"""Real components for all tests: one registry, one S3 server, one warm pool a session."""

import contextlib
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nightscore.engine.backends.local import WorkerPool
from nightscore.inputs.jobfile import parse_job
from nightscore.ledger.layout import predictions_store
from nightscore.models.cache import ModelCache
from nightscore.run import run
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import Manifest
from nightscore.storage.store import Store
from tests.boosters import KnownBooster, register_boosters
from tests.models import NUMBERS, KnownModel, register_models

S3_KEY, S3_SECRET, BUCKET = "testadmin", "testadminsecret", "lake"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where two processes share the tests, the long ones begin: what is left for one of them at the end is short."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: not item.nodeid.startswith(("tests/faults/", "tests/flows/")))


@pytest.fixture(scope="session")
def registry_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("registry")


@pytest.fixture(scope="session")
def models(registry_root: Path) -> dict[str, KnownModel]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return register_models(registry_root)


@pytest.fixture(scope="session")
def registry(registry_root: Path, models: dict[str, KnownModel]) -> str:
    return f"sqlite:///{registry_root}/mlflow.db"


@pytest.fixture(scope="session")
def boosters(registry_root: Path, registry: str) -> dict[str, KnownBooster]:
    return register_boosters(registry_root, registry)


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> ModelCache:
    return ModelCache(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def pool() -> Iterator[WorkerPool]:
    with WorkerPool() as pool:
        yield pool


@dataclass(frozen=True)
class S3Server:
    """A running SeaweedFS."""

    endpoint: str
    options: dict[str, Any] = field(repr=False)


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    folder = tmp_path_factory.mktemp("weed")
    with seaweedfs(folder) as server:
        yield server


@contextlib.contextmanager
def seaweedfs(folder: Path) -> Iterator[S3Server]:
    """A SeaweedFS server of one process; its ports are free ones of this machine."""
    names = ("master.port", "volume.port", "filer.port", "s3.port", "admin.port")
    ports = dict(zip(names, _free_ports(2 * len(names) + 1), strict=False))
    rest = iter(_free_ports(len(names) + 1))
    arguments = [f"-{name}={port}" for name, port in ports.items()]
    arguments += [f"-{name}.grpc={next(rest)}" for name in names]
    arguments += [
        f"-s3.port.iceberg={next(rest)}",
        "-s3.port.lance=0",
        "-webdav=false",
        "-admin.ui=false",
    ]
    arguments += [
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        "-master.telemetry=false",
        f"-bucket={BUCKET}",
    ]
    environment = os.environ | {
        "AWS_ACCESS_KEY_ID": S3_KEY,
        "AWS_SECRET_ACCESS_KEY": S3_SECRET,
        "GOMEMLIMIT": "400MiB",
    }
    weed = Path(shutil.which("weed") or Path(os.sys.executable).with_name("weed"))
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [str(weed), "mini", f"-dir={folder}", *arguments],
            env=environment,
            stdout=log,
            stderr=log,
        )
    endpoint = f"http://127.0.0.1:{ports['s3.port']}"
    options = {"key": S3_KEY, "secret": S3_SECRET, "endpoint_url": endpoint}
    try:
        _wait_for_bucket(endpoint, options, process, folder / "log")
        yield S3Server(endpoint, options)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for_bucket(
    endpoint: str, options: dict[str, Any], process: subprocess.Popen[bytes], log: Path
) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(log.read_text()[-2000:])
        try:
            with urllib.request.urlopen(endpoint, timeout=2):
                pass
        except urllib.error.HTTPError as answer:
            answer.close()
            with contextlib.suppress(Exception):
                Store(f"s3://{BUCKET}/probe", options).write_bytes("x", b"x")
                return
        except OSError:
            pass
        time.sleep(0.1)
    raise RuntimeError(f"SeaweedFS did not start; see {log}")


def _free_ports(n: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(n)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


@dataclass
class Lake:
    """Inputs and outputs of one test, on one kind of storage."""

    root: str
    options: dict[str, Any]
    registry: str
    pool: WorkerPool
    cache: ModelCache
    formats: str = "delta"

    @property
    def features(self) -> Store:
        return Store(f"{self.root}/features", self.options)

    def write(
        self, partition: str, frame: pd.DataFrame | pa.Table, name: str = "part-0", **options: Any
    ) -> None:
        """Write one input file."""
        table = (
            frame
            if isinstance(frame, pa.Table)
            else pa.Table.from_pandas(frame, preserve_index=False)
        )
        with self.features.open_output(f"ds={partition}/{name}.parquet") as file:
            pq.write_table(table.replace_schema_metadata(None), file, **options)

    def job(self, model: str = "hgb_binary", **changes: Any) -> ScoringJob:
        """A job on this lake."""
        if model.endswith("_numpy"):
            changes = {"features": NUMBERS} | changes
        raw: dict[str, Any] = {
            "name": "test",
            "model": model if model.startswith("models:") else f"models:/{model}/1",
            "registry": self.registry,
            "input": {"uri": self.features.uri, "storage_options": self.options},
            "output": {
                "uri": f"{self.root}/predictions",
                "format": self.formats,
                "storage_options": self.options,
            },
            "keys": ["id"],
        }
        return parse_job(raw | changes)

    def run(
        self, job: ScoringJob, partition: str | None = "2024-02-29", **options: Any
    ) -> Manifest:
        """Score one partition with the session's pool."""
        return run(
            job, partition, pool=self.pool, cache=self.cache, now=datetime.now(UTC), **options
        )

    def read(self, job: ScoringJob) -> pd.DataFrame:
        """All predictions, as a reader gets them."""
        store = predictions_store(job)
        if job.output.format == "delta":
            from deltalake import DeltaTable

            return DeltaTable(store.url, storage_options=store.table_options()).to_pandas()
        frames = []
        for entry in store.list_files():
            with pq.ParquetFile(store.open_input(entry.path)) as file:
                frames.append(
                    file.read().to_pandas().assign(ds=entry.path.split("/")[0].partition("=")[2])
                )
        return pd.concat(frames, ignore_index=True)


MakeLake = Callable[..., Lake]


@pytest.fixture
def lake(tmp_path: Path, registry: str, pool: WorkerPool, cache: ModelCache) -> Lake:
    """A lake on local files with a Delta table."""
    return Lake(str(tmp_path / "lake"), {}, registry, pool, cache)


@pytest.fixture
def s3_lake(
    request: pytest.FixtureRequest, registry: str, pool: WorkerPool, cache: ModelCache
) -> Lake:
    """The same on the S3 server, under a prefix of its own."""
    server: S3Server = request.getfixturevalue("s3_server")
    prefix = "".join(c if c.isalnum() else "-" for c in request.node.name)
    return Lake(f"s3://{BUCKET}/{prefix}", server.options, registry, pool, cache)


PLACES = [
    pytest.param(("lake", "delta"), id="local-delta"),
    pytest.param(("lake", "parquet"), id="local-parquet"),
    pytest.param(("s3_lake", "delta"), id="s3-delta", marks=pytest.mark.s3),
    pytest.param(("s3_lake", "parquet"), id="s3-parquet", marks=pytest.mark.s3),
]


@pytest.fixture(params=PLACES)
def any_lake(request: pytest.FixtureRequest) -> Lake:
    """Each kind of storage with each output format."""
    fixture, formats = request.param
    lake: Lake = request.getfixturevalue(fixture)
    lake.formats = formats
    return lake
