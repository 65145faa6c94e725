"""Real components for all tests: one registry, one S3 server, one warm pool a session."""

import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import settings

from nightscore.engine.backends.local import WorkerPool
from nightscore.models.cache import ModelCache
from nightscore.storage.backend_catalog import registered
from nightscore.storage.store import Store
from tests.fakes.memory_store import MemoryBackend, memory_store
from tests.support.boosters import KnownBooster, register_boosters
from tests.support.lake import Lake
from tests.support.models import KnownModel, register_models
from tests.support.seaweedfs import BUCKET, S3Server, seaweedfs

settings.register_profile("any machine", deadline=None)  # a busy one is no failure
settings.load_profile("any machine")

# Of all processes, before the libraries that read it are imported. Threads of OpenMP spin while
# they wait for each other: where tests share the cores, that costs several times the work.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

ALONE = "tests/flows/"
"""Folder whose tests may be alone."""
LONG = (ALONE, "tests/faults/", "tests/bench/", "tests/engine/clusters/")
"""Folders whose tests are long."""
PROCESSES = {"any_lake", "boosters", "cluster", "models", "pool", "s3_server"}
"""Fixtures that start workers or servers or train many models, or stand for others that do."""

TRAINING = tuple(
    f"tests/models/compiled/test_{name}.py"
    for name in ("booster_exactness", "exactness", "linear", "pipelines")
)
"""Tests that train one random model after another."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--thorough`, which `make faults` and `make stores` give."""
    parser.addoption(
        "--thorough",
        action="store_true",
        help="all stores, kills, moments and cases, where other runs take a sample",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what only a thorough run has, mark what is slow, and order what two processes share."""
    misplaced = [
        item.nodeid
        for item in items
        if item.get_closest_marker("alone") and not item.nodeid.startswith(ALONE)
    ]
    if misplaced:
        raise pytest.UsageError(f"`make test` runs tests that are alone in {ALONE}: {misplaced}")

    if not config.getoption("--thorough"):
        left_out = [item for item in items if item.get_closest_marker("thorough")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("thorough")]

    for item in items:
        is_s3 = item.get_closest_marker("s3") is not None
        needs_processes = bool(PROCESSES & set(getattr(item, "fixturenames", ())))
        if is_s3 or needs_processes or item.nodeid.startswith(TRAINING):
            item.add_marker(pytest.mark.slow)

    # The long tests begin: what is left for one of two processes at the end is short.
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: not item.nodeid.startswith(LONG))


@pytest.fixture(scope="session")
def thorough(pytestconfig: pytest.Config) -> bool:
    """Whether a test takes all of its cases, and no sample."""
    return bool(pytestconfig.getoption("--thorough"))


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
def machine_code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="session")
def pool() -> Iterator[WorkerPool]:
    with WorkerPool() as pool:
        yield pool


@pytest.fixture
def memory() -> Iterator[Store]:
    """An empty store in this process's memory, for tests in which the store is not the point."""
    with registered(MemoryBackend):
        yield memory_store(f"bucket/{uuid4().hex}")


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    folder = tmp_path_factory.mktemp("weed")
    with seaweedfs(folder) as server:
        yield server


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
    pytest.param(("lake", "parquet"), id="local-parquet", marks=pytest.mark.thorough),
    pytest.param(("s3_lake", "delta"), id="s3-delta", marks=[pytest.mark.s3, pytest.mark.thorough]),
    pytest.param(("s3_lake", "parquet"), id="s3-parquet", marks=pytest.mark.s3),
]


@pytest.fixture(params=PLACES)
def any_lake(request: pytest.FixtureRequest) -> Lake:
    """Each kind of storage, and each output format.

    Each pair of them is what `tests/contracts/test_outputs.py` is about; other tests take all pairs
    in a thorough run.
    """
    fixture, formats = request.param
    lake: Lake = request.getfixturevalue(fixture)
    lake.formats = formats
    return lake
