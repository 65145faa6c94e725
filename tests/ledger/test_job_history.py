"""The runs of a job in short: what the index says of them is what their records say."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from nightscore.inputs.jobfile import parse_job
from nightscore.ledger.history import PartitionHistory
from nightscore.ledger.job_history import JobHistory
from nightscore.ledger.layout import RUNS_INDEX, manifest_path
from nightscore.ledger.listing_index import READ_ANYWAY
from nightscore.ledger.live import Live
from nightscore.ledger.manifest_files import write_manifest
from nightscore.ledger.run_record import RunRecord, new_run_id
from nightscore.ledger.run_summaries import summarize
from nightscore.ledger.workspace import Workspace
from nightscore.schemas.manifest import ErrorRecord, FileRecord, Manifest, read_record
from nightscore.schemas.run_summary import digest_inputs
from nightscore.storage.store import Store

START = datetime(2024, 3, 3, tzinfo=UTC)
GOLDENS = sorted((Path(__file__).parents[1] / "golden").glob("manifest-*.json"))
N_DAYS = READ_ANYWAY + 6


@pytest.fixture
def workspace(memory: Store) -> Workspace:
    raw = {
        "name": "test",
        "model": "models:/m/1",
        "input": {"uri": f"{memory.uri}/features"},
        "output": {"uri": f"{memory.uri}/predictions", "format": "parquet"},
        "keys": ["id"],
    }
    return Workspace(parse_job(raw))


def add(workspace: Workspace, n: int, value: str, **fields: Any) -> Manifest:
    """Record the n-th run, as a process that is gone has left it."""
    record = RunRecord(workspace, value, START + timedelta(minutes=n), "1")
    record.update(pid=2**22 + 1, **fields)
    return write_manifest(workspace.state, workspace.folder(value), record.manifest)


def day(n: int) -> str:
    return f"{datetime(2024, 1, 1) + timedelta(days=n):%Y-%m-%d}"


@pytest.fixture
def published(workspace: Workspace) -> list[Manifest]:
    """More records than are read each time, newest first."""
    records = [
        add(workspace, n, day(n), status="published", fingerprint="x") for n in range(N_DAYS)
    ]
    return records[::-1]


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Paths that are read from stores."""
    paths: list[str] = []
    read_bytes = Store.read_bytes
    monkeypatch.setattr(
        Store, "read_bytes", lambda self, path: (paths.append(path), read_bytes(self, path))[1]
    )
    yield paths


def test_summaries_come_from_the_index_and_say_what_the_records_say(
    workspace: Workspace, published: list[Manifest], read: list[str]
) -> None:
    for _ in range(2):
        assert JobHistory(Workspace(workspace.job)).summaries() == list(map(summarize, published))

    assert read.count(RUNS_INDEX) == 2
    assert len(read) == N_DAYS + 2


@pytest.mark.parametrize("golden", GOLDENS, ids=lambda path: path.stem)
def test_outputs_of_older_versions_get_an_index(workspace: Workspace, golden: Path) -> None:
    manifest = read_record(golden.read_text(), Manifest)
    for n in range(N_DAYS):
        run_id = new_run_id(START + timedelta(minutes=n))
        path = manifest_path(workspace.folder(day(n)), run_id)
        text = golden.read_text().replace(manifest.run_id, run_id)
        workspace.state.write_bytes(path, text.encode())

    first = JobHistory(Workspace(workspace.job)).summaries()
    assert workspace.state.exists(RUNS_INDEX)
    history = JobHistory(Workspace(workspace.job))
    assert history.summaries() == first
    assert first == list(map(summarize, history.newest(0)))
    assert first[0].inputs == digest_inputs(manifest.inputs.files)


def test_the_newest_are_read_and_the_others_counted(
    workspace: Workspace, published: list[Manifest], read: list[str]
) -> None:
    broken = add(workspace, 500, day(3), status="failed")
    path = manifest_path(workspace.folder(day(3)), broken.run_id)
    workspace.state.write_bytes(path, b"{")

    history = JobHistory(workspace)
    assert history.newest(5) == published[:5]
    assert history.n_runs == N_DAYS + 1
    assert len(read) <= 10
    assert history.newest(0) == published
    assert history.unreadable() == [path]


def test_a_deleted_record_and_a_new_one_are_seen_at_once(
    workspace: Workspace, published: list[Manifest]
) -> None:
    JobHistory(workspace).summaries()
    gone = published.pop(7)
    workspace.state.delete([manifest_path(workspace.folder(gone.partition), gone.run_id)])
    assert JobHistory(workspace).summaries() == list(map(summarize, published))

    new = add(workspace, 900, day(0), status="held")
    assert JobHistory(workspace).summaries()[0] == summarize(new)
    ended = new.model_copy(update={"status": "rejected"})
    write_manifest(workspace.state, workspace.folder(day(0)), ended)
    assert JobHistory(workspace).summaries()[0].status == "rejected"


def test_only_the_asked_for_partitions_are_listed(
    workspace: Workspace, published: list[Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    listed: list[str] = []
    backend = type(workspace.state.backend)
    list_files = backend.list_files

    def count(self: Any, prefix: str, *, placeholders: bool) -> Any:
        listed.append(prefix)
        return list_files(self, prefix, placeholders=placeholders)

    monkeypatch.setattr(backend, "list_files", count)
    history = JobHistory(workspace, [day(1), day(2), "2030-01-01"])
    assert set(history.partitions) == {day(1), day(2)}
    assert len(listed) == 3

    listed.clear()
    many = [day(n) for n in range(12)]
    assert set(JobHistory(workspace, many).partitions) == set(many)
    assert listed == ["runs"], "one listing of all takes fewer requests"


FILE = FileRecord(path="ds=x/part.parquet", rows=1, size_bytes=1, sha256="x")
REFUSED = ErrorRecord(type="StorageUnavailableError", message="no answer", retryable=True)


@pytest.mark.parametrize("is_indexed", [True, False], ids=["indexed", "read"])
@pytest.mark.parametrize(
    ("status", "fields", "is_live"),
    [
        ("published", {}, True),
        ("prepared", {}, True),
        ("prepared", {}, False),
        ("running", {}, False),
        ("held", {}, False),
        ("held", {}, True),
        ("failed", {"error": REFUSED}, True),
        ("failed", {"error": REFUSED}, False),
        ("rejected", {}, False),
    ],
)
def test_runs_end_as_their_records_and_readers_say(
    workspace: Workspace, status: str, fields: dict[str, Any], is_live: bool, is_indexed: bool
) -> None:
    first = add(workspace, 1, "x", status="published")
    run = add(workspace, 2, "x", status=status, **fields)
    output = run.output.model_copy(update={"files": (FILE,)})
    write_manifest(workspace.state, "ds=x", run.model_copy(update={"output": output}))
    if is_indexed:
        for n in range(N_DAYS):
            add(workspace, 10 + n, day(n), status="published")
        JobHistory(workspace).summaries()

    live = Live(run.run_id if is_live else first.run_id, (FILE.path,), "1")
    history = JobHistory(Workspace(workspace.job)).partitions["x"]
    whole = PartitionHistory(workspace, "x").reconciled(live)
    assert history.outcomes(live) == list(map(summarize, whole))
