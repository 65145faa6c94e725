"""Real components for all tests: one registry, one S3 server, one warm pool a session."""

import os
import pickle
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import settings
from xdist.scheduler import LoadFileScheduling

from nightscore.engine.backends.local import WorkerPool
from nightscore.models.cache import ModelCache
from nightscore.storage.backend_catalog import registered
from nightscore.storage.store import Store
from tests.fakes.memory_store import MemoryBackend, memory_store
from tests.fakes.pool import InProcessPool
from tests.support.boosters import KnownBooster, register_boosters
from tests.support.lake import Lake
from tests.support.models import (
    KnownModel,
    make_empty_registry,
    register_saved,
    save_models,
)
from tests.support.seaweedfs import BUCKET, S3Server, seaweedfs
from tests.support.shared import made_once, with_machine_code

settings.register_profile("any machine", deadline=None)  # a busy one is no failure
settings.load_profile("any machine")

CLUSTERS = "tests/engine/clusters/"
LONG = ("tests/bench/", CLUSTERS, "tests/flows/", "tests/faults/")
"""Folders whose tests are long, in the order in which they begin."""
PROCESSES = {"any_lake", "boosters", "cluster", "models", "pool", "s3_server"}
"""Fixtures that start workers or servers or train many models, or stand for others that do."""

TRAINING = tuple(
    f"tests/models/compiled/test_{name}.py"
    for name in ("booster_exactness", "exactness", "linear", "pipelines", "variants")
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
    """Leave out what only a thorough run has, mark what is slow, and order what processes share."""
    if not config.getoption("--thorough"):
        left_out = [item for item in items if item.get_closest_marker("thorough")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("thorough")]

    for item in items:
        is_s3 = item.get_closest_marker("s3") is not None
        needs_processes = bool(PROCESSES & set(getattr(item, "fixturenames", ())))
        if is_s3 or needs_processes or item.nodeid.startswith(TRAINING):
            item.add_marker(pytest.mark.slow)

    # The long tests begin: what is left for one process at the end is short.
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=_turn)


def _turn(item: pytest.Item) -> int:
    """When a test's folder begins."""
    turns = (i for i, folder in enumerate(LONG) if item.nodeid.startswith(folder))
    return next(turns, len(LONG))


class OneProcessForClusters(LoadFileScheduling):
    """A file in either process; the files of clusters in one, which starts each cluster once."""

    def _split_scope(self, nodeid: str) -> str:
        return CLUSTERS if nodeid.startswith(CLUSTERS) else str(super()._split_scope(nodeid))


@pytest.hookimpl
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> OneProcessForClusters | None:
    """For `make test`."""
    is_by_file = config.getoption("dist") == "loadfile"
    return OneProcessForClusters(config, log) if is_by_file else None


@pytest.fixture(scope="session")
def thorough(pytestconfig: pytest.Config) -> bool:
    """Whether a test takes all of its cases, and no sample."""
    return bool(pytestconfig.getoption("--thorough"))


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of `make test` have."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def empty_registry(shared: Path) -> Path:
    """The database of a registry without models, to copy."""
    folder = made_once(
        shared / "empty-registry", lambda folder: make_empty_registry(folder / "mlflow.db")
    )
    return folder / "mlflow.db"


@pytest.fixture(scope="session")
def saved_models(shared: Path) -> Path:
    """All models, trained and saved, and `known.pickle` that has their estimators."""

    def save(folder: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            known = save_models(folder / "models")
        (folder / "known.pickle").write_bytes(pickle.dumps(known))

    return made_once(shared / "saved-models", save)


@pytest.fixture(scope="session")
def registry_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("registry")


@pytest.fixture(scope="session")
def models(registry_root: Path, saved_models: Path, empty_registry: Path) -> dict[str, KnownModel]:
    """The models in a registry of this process."""
    shutil.copytree(saved_models / "models", registry_root / "models")
    shutil.copy(empty_registry, registry_root / "mlflow.db")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        register_saved(registry_root)
    known: dict[str, KnownModel] = pickle.loads((saved_models / "known.pickle").read_bytes())
    return known


@pytest.fixture(scope="session")
def registry(registry_root: Path, models: dict[str, KnownModel]) -> str:
    return f"sqlite:///{registry_root}/mlflow.db"


@pytest.fixture(scope="session")
def boosters(registry_root: Path, registry: str) -> dict[str, KnownBooster]:
    return register_boosters(registry_root, registry)


@pytest.fixture(scope="session")
def machine_code(shared: Path) -> Path:
    """The kernels' machine code, which the caches of most tests share: compiling takes seconds."""
    folder = shared / "machine-code"
    folder.mkdir(exist_ok=True, mode=0o700)
    return folder


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory, machine_code: Path) -> ModelCache:
    return ModelCache(with_machine_code(tmp_path_factory.mktemp("cache"), machine_code))


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
def bare_lake(tmp_path: Path) -> Lake:
    """The same without models and workers, for tests that score nothing."""
    cache = ModelCache(tmp_path / "cache")
    return Lake(str(tmp_path / "lake"), {}, f"sqlite:///{tmp_path}/none.db", InProcessPool(), cache)


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
