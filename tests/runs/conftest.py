"""A run whose steps are taken one by one, without a model and without workers."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nightscore.engine.events import Event
from nightscore.engine.shard import ShardResult
from nightscore.inputs.jobfile import parse_job
from nightscore.ledger.workspace import Workspace
from nightscore.models.cache import ModelCache
from nightscore.models.flavor_catalog import registered
from nightscore.outputs.writer import WrittenPart
from nightscore.runs.execution import Execution
from nightscore.runs.run_plan import RunPlan, SourceRows
from nightscore.schemas.contract import Contract
from nightscore.schemas.manifest import FileRecord
from nightscore.schemas.partition import MemoryPlan, Partition, Plan, Shard
from tests.fakes import tiny_flavor
from tests.fakes.pool import InProcessPool
from tests.fakes.registry import StubRegistry, stub_registry

DAY = "2024-02-29"


class StubDriftCheck:
    """Compares nothing, and fails if the test wants that."""

    def __init__(self) -> None:
        self.failure = ""
        self.n_stored = 0

    def add_profiles(self, tasks: list[Any], contract: Contract, n_at_once: int) -> list[Any]:
        return tasks

    def store(self) -> None:
        self.n_stored += 1


class StubPublisher:
    """Knows what is live, and publishes whatever it is given."""

    def __init__(self) -> None:
        self.answer: Any = None
        self.failure: Exception | None = None
        self.published: list[Any] = []
        self.deleted: set[str] = set()

    def live(self, value: str | None) -> Any:
        if self.failure is not None:
            raise self.failure
        return self.answer

    def gone(self, live: Any) -> set[str]:
        return self.deleted

    def publish(self, publication: Any, planned: Any) -> tuple[tuple[WrittenPart, ...], int]:
        publication.check()
        self.published.append((publication, planned))
        return publication.parts, 7


@pytest.fixture
def make_execution(tmp_path: Path) -> Callable[..., Execution]:
    """A new run of one partition; options are those of the job."""

    def make(events: list[Event] | None = None, **options: Any) -> Execution:
        raw = {
            "name": "test",
            "model": "models:/m/1",
            "input": {"uri": str(tmp_path / "features")},
            "output": {"uri": str(tmp_path / "predictions"), "format": "delta"},
            "keys": ["id"],
        }
        return Execution(
            Workspace(parse_job(raw | options)),
            DAY,
            pool=InProcessPool(),
            cache=ModelCache(tmp_path / "cache"),
            now=datetime(2024, 3, 1, tzinfo=UTC),
            listeners=[] if events is None else [events.append],
        )

    return make


@pytest.fixture
def tiny_models(tmp_path: Path) -> Iterator[StubRegistry]:
    """A registry with version 1 of the model `m`: the sum of `2 a - b`, and nulls are refused."""
    tiny_flavor.save(tmp_path / "model")
    with registered(tiny_flavor.FLAVOR), stub_registry() as registry:
        registry.add("m", tmp_path / "model")
        yield registry


def write_features(execution: Execution, name: str, table: pa.Table) -> None:
    """Write one file of the partition's input."""
    path = Path(execution.job.input.uri, execution.folder, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


@pytest.fixture
def execution(make_execution: Callable[..., Execution]) -> Execution:
    return make_execution()


def part(path: str, rows: int) -> WrittenPart:
    return WrittenPart(FileRecord(path=path, rows=rows, size_bytes=100, sha256="x"), "{}")


def result(index: int, rows_in: int = 10, n_quarantined: int = 0, **fields: Any) -> ShardResult:
    """What a worker says of a shard."""
    known: dict[str, Any] = {
        "index": index,
        "part": part(f"ds={DAY}/{index}.parquet", rows_in - n_quarantined),
        "rows_in": rows_in,
        "rows_quarantined": n_quarantined,
        "by_reason": {"null": n_quarantined} if n_quarantined else {},
        "by_column": {"a: null": n_quarantined} if n_quarantined else {},
        "columns": (),
        "examples": (),
        "quarantine_files": (),
        "profile": "",
        "profile_errors": {},
        "profile_cpu_s": 0.0,
        "n_unprofiled": 0,
        "give_up_reason": "",
        "pid": 1,
        "peak_bytes": 50,
        "stages_s": {"read": 0.5},
    }
    return ShardResult(**(known | fields))


def run_plan(execution: Execution, n_shards: int = 2, **fields: Any) -> RunPlan:
    """A plan of shards with ten rows each."""
    n_rows = 10 * n_shards
    shards = Plan(
        partition=Partition("ds", DAY, execution.folder, ()),
        fingerprint="sha256:1",
        n_rows=n_rows,
        n_bytes=1_000,
        shards=tuple(Shard(index, (), 10, 500) for index in range(n_shards)),
        cut_for=2,
        memory=MemoryPlan(
            n_workers=2,
            batch_rows=5,
            driver_bytes=1,
            worker_bytes=1,
            model_bytes=1,
            stream_bytes=1,
        ),
        fallback_reason="a test",
    )
    known: dict[str, Any] = {
        "model": None,
        "facts": None,
        "source": SourceRows(job=execution.job, n_rows=n_rows),
        "shards": shards,
        "contract": Contract(features=(), passthrough=(), predictions=(), has_position=True),
        "fingerprint": "sha256:1",
        "publisher": StubPublisher(),
        "live": None,
        "drift_check": StubDriftCheck(),
    }
    return RunPlan(**(known | fields))
