"""The history of a partition: one listing, and what it says of the runs."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from nightscore.inputs.jobfile import parse_job
from nightscore.ledger import history as module
from nightscore.ledger.history import PartitionHistory
from nightscore.ledger.job_history import JobHistory
from nightscore.ledger.layout import manifest_path
from nightscore.ledger.live import Live
from nightscore.ledger.liveness import DEATH_MESSAGES, DIED, has_died
from nightscore.ledger.manifest_files import find_manifest, write_manifest
from nightscore.ledger.run_record import RunRecord
from nightscore.ledger.timeline import earlier_values, latest_publications, recorded_values
from nightscore.ledger.workspace import Workspace
from nightscore.schemas.manifest import ErrorRecord, FileRecord, Manifest
from nightscore.storage.store import Store

DAY, OTHER_DAY = "2024-03-02", "2024-03-01"
START = datetime(2024, 3, 3, tzinfo=UTC)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    raw = {
        "name": "test",
        "model": "models:/m/1",
        "input": {"uri": str(tmp_path / "features")},
        "output": {"uri": str(tmp_path / "predictions"), "format": "delta"},
        "keys": ["id"],
    }
    return Workspace(parse_job(raw))


def add(workspace: Workspace, n: int, status: str, value: str = DAY, **fields: Any) -> Manifest:
    """Record the n-th run of a partition, as a process that is gone has left it."""
    record = RunRecord(workspace, value, START + timedelta(minutes=n), "1")
    record.update(status=status, pid=2**22 + 1, **fields)
    return write_manifest(workspace.state, workspace.folder(value), record.manifest)


def live(manifest: Manifest) -> Live:
    return Live(manifest.run_id, (f"ds={DAY}/part.parquet",), "1")


def test_runs_are_listed_newest_first_and_unreadable_ones_left_out(workspace: Workspace) -> None:
    first, second = add(workspace, 1, "failed"), add(workspace, 2, "published")
    broken = add(workspace, 3, "held")
    path = manifest_path(workspace.folder(DAY), broken.run_id)
    workspace.state.write_bytes(path, b"{")

    history = PartitionHistory(workspace, DAY)
    assert [run.run_id for run in history.runs()] == [second.run_id, first.run_id]
    assert history.newest() is None, "the newest run is the one that cannot be read"
    assert history.find(first.run_id) == first
    assert history.find("no such run") is None


def test_a_partition_without_runs_has_an_empty_history(workspace: Workspace) -> None:
    history = PartitionHistory(workspace, DAY)
    assert (history.runs(), history.newest()) == ([], None)
    assert history.latest() == (None, None)
    assert history.standing(None) is history.complete(None) is None


def test_a_history_lists_once_and_reads_each_record_once(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(workspace, 1, "failed")
    held = add(workspace, 2, "held", fingerprint="x")
    listed: list[str] = []
    read: list[str] = []
    list_files, read_bytes = Store.list_files, Store.read_bytes
    monkeypatch.setattr(
        Store, "list_files", lambda self, path="": (listed.append(path), list_files(self, path))[1]
    )
    monkeypatch.setattr(
        Store, "read_bytes", lambda self, path: (read.append(path), read_bytes(self, path))[1]
    )

    history = PartitionHistory(workspace, DAY)
    assert history.newest() == history.undecided("x") == history.latest().with_held == held
    assert history.standing(live(held)) == held
    assert listed == [f"runs/ds={DAY}"]
    assert len(read) == len(set(read)) == 2

    add(workspace, 3, "published", fingerprint="x")
    assert history.undecided("x") == held, "one history answers one question"
    assert PartitionHistory(workspace, DAY).undecided("x") is None, "a new one sees later runs"


def test_latest_results_follow_rollbacks_and_name_a_newer_held_run(workspace: Workspace) -> None:
    first, _ = add(workspace, 1, "published"), add(workspace, 2, "published")
    add(workspace, 3, "published", restores=first.run_id)
    held = add(workspace, 4, "held")
    add(workspace, 5, "failed")

    latest = PartitionHistory(workspace, DAY).latest()
    assert latest.published == first
    assert latest.with_held == held


@pytest.mark.parametrize(
    ("later", "is_undecided"),
    [
        ({"status": "failed"}, True),
        ({"status": "published", "fingerprint": "other"}, True),
        ({"status": "published", "replays": "r"}, True),
        ({"status": "published", "restores": "r"}, True),
        ({"status": "published"}, False),
    ],
)
def test_a_held_run_is_undecided_until_the_same_work_is_published(
    workspace: Workspace, later: dict[str, str], is_undecided: bool
) -> None:
    held = add(workspace, 1, "held", fingerprint="x")
    add(workspace, 2, **({"fingerprint": "x"} | later))
    assert PartitionHistory(workspace, DAY).undecided("x") == (held if is_undecided else None)


def test_the_rollback_stands_behind_what_it_restored(workspace: Workspace) -> None:
    first, second = add(workspace, 1, "published"), add(workspace, 2, "published")
    failed = ErrorRecord(type="ConflictError", message="", retryable=True)
    add(workspace, 3, "failed", restores=first.run_id, error=failed)
    assert PartitionHistory(workspace, DAY).standing(live(first)) == first
    died = add(workspace, 4, "running", restores=first.run_id)

    standing = PartitionHistory(workspace, DAY).standing(live(first))
    assert standing is not None
    assert (standing.run_id, standing.status) == (died.run_id, "failed")
    assert PartitionHistory(workspace, DAY).standing(live(second)) == second


def test_a_run_that_died_after_its_commit_is_completed_in_the_store(workspace: Workspace) -> None:
    file = FileRecord(path=f"ds={DAY}/part.parquet", rows=1, size_bytes=1, sha256="x")
    died = add(workspace, 1, "prepared")
    output = died.output.model_copy(update={"files": (file,)})
    folder = workspace.folder(DAY)
    write_manifest(workspace.state, folder, died.model_copy(update={"output": output}))

    (shown,) = PartitionHistory(workspace, DAY).reconciled(live(died))
    assert shown.status == "published"
    stored = find_manifest(workspace.state, folder, died.run_id)
    assert stored is not None
    assert stored.status == "prepared", "to show it changes nothing"

    history = PartitionHistory(workspace, DAY)
    completed = history.complete(live(died))
    assert completed is not None
    assert (completed.status, completed.error) == ("published", None)
    assert completed.finished_at is not None
    assert find_manifest(workspace.state, folder, died.run_id) == completed
    assert history.find(died.run_id) == completed, "the history has it too"


def test_a_dead_run_that_nobody_sees_is_shown_as_failed(workspace: Workspace) -> None:
    published = add(workspace, 1, "published")
    died = add(workspace, 2, "running")
    shown, _ = PartitionHistory(workspace, DAY).reconciled(live(published))
    assert (shown.run_id, shown.status, shown.error) == (died.run_id, "failed", DIED)
    assert PartitionHistory(workspace, DAY).newest() == died


@pytest.mark.parametrize("message", DEATH_MESSAGES)
def test_deaths_that_older_versions_recorded_count(workspace: Workspace, message: str) -> None:
    error = DIED.model_copy(update={"message": message})
    first = add(workspace, 1, "published")
    rollback = add(workspace, 2, "failed", restores=first.run_id, error=error)
    assert has_died(rollback)
    standing = PartitionHistory(workspace, DAY).standing(live(first))
    assert standing is not None
    assert standing.run_id == rollback.run_id


def test_all_histories_come_from_one_listing(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = add(workspace, 1, "published", OTHER_DAY)
    second = add(workspace, 2, "held")
    job_history = JobHistory(workspace)
    monkeypatch.setattr(Store, "list_files", lambda *_: pytest.fail("it is listed already"))

    assert set(job_history.partitions) == {OTHER_DAY, DAY}
    assert job_history.partitions[OTHER_DAY].runs() == [first]
    assert job_history.partitions[DAY].runs() == [second]

    monkeypatch.setattr(module, "read_listed", lambda *_: pytest.fail("it is read already"))
    assert job_history.partitions[DAY].runs() == [second]


def test_earlier_partitions_are_told_nearest_first(workspace: Workspace) -> None:
    days = ["2024-02-28", OTHER_DAY, DAY, "2024-03-05"]
    runs = {day: add(workspace, n, "published", day) for n, day in enumerate(days)}
    held = add(workspace, 9, "held", OTHER_DAY)

    assert recorded_values(workspace) == days
    values = earlier_values(workspace, DAY)
    assert values == [OTHER_DAY, "2024-02-28"]
    assert earlier_values(workspace, None) == []
    earlier = list(latest_publications(workspace, values))
    assert earlier == [runs[OTHER_DAY], runs["2024-02-28"]]
    assert next(latest_publications(workspace, values, or_held=True)) == held
