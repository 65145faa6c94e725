"""What nobody needs is removed, by what is seen while nobody else changes the partition."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

import nightscore.operations.clean
from nightscore.cli.app import build_app
from nightscore.engine.events import Event, RunPlanned
from nightscore.errors import ConflictError, StorageError
from nightscore.ledger.layout import lease_path, parts_store, predictions_store, state_store
from nightscore.ledger.lease import Holder, Lease
from nightscore.ledger.manifest_files import find_manifest, list_manifests, write_manifest
from nightscore.ledger.run_record import RunRecord
from nightscore.ledger.workspace import Workspace
from nightscore.operations.clean import clean, replaced_at
from nightscore.operations.history import run_history
from nightscore.operations.rollback import plan_rollback, roll_back
from nightscore.outputs.publish import open_publisher
from nightscore.runs import publishing
from nightscore.runs.execution import RunInterrupted
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import Manifest
from tests.faults.test_pairs import interrupt
from tests.support.lake import Lake
from tests.support.models import make_frame

DAY, OTHER = "2024-02-28", "2024-02-29"
FOLDER = f"ds={DAY}"
NOTHING, A_DAY = timedelta(0), timedelta(days=1)


def two_results(lake: Lake, day: str = DAY) -> tuple[ScoringJob, Manifest, Manifest]:
    lake.write(day, make_frame(30))
    return lake.job("logistic"), lake.run(lake.job(), day), lake.run(lake.job("logistic"), day)


def age(job: ScoringJob, run: Manifest, days: float) -> None:
    """The run was published so long ago."""
    at = datetime.now(UTC) - timedelta(days=days)
    write_manifest(state_store(job), FOLDER, run.model_copy(update={"finished_at": at}))


def can_be_put_back(job: ScoringJob, run: Manifest) -> bool:
    (item,) = plan_rollback(job, [run.partition], run_id=run.run_id)
    return item.action == "roll back"


def put_back(lake: Lake, job: ScoringJob, run: Manifest) -> Manifest:
    (item,) = plan_rollback(job, [run.partition], run_id=run.run_id)
    assert item.target
    now = datetime.now(UTC)
    return roll_back(job, run.partition, item.target, item.live_run_id, now, lake.cache)


def held_elsewhere(job: ScoringJob, folder: str) -> None:
    """By a command that gives signs of life."""
    holder = Holder(
        token="other",
        command="rollback",
        host="elsewhere",
        pid=1,
        machine="elsewhere",
        process_start="",
        since="2024-03-01 02:00:00",
    )
    state_store(job).create(lease_path(folder), holder.content)


def test_results_are_as_old_as_what_has_replaced_them(any_lake: Lake) -> None:
    job, first, second = two_results(any_lake)
    age(job, first, days=30)
    now = datetime.now(UTC) + timedelta(seconds=5)
    for days in (1, 3):
        clean(job, now, NOTHING, timedelta(days=days), delete=True)
        assert can_be_put_back(job, first), "written long ago, replaced just now"
    age(job, second, days=2)
    assert not clean(job, now, NOTHING, timedelta(days=3), delete=True)
    assert clean(job, now, NOTHING, timedelta(days=1), delete=True)
    assert not can_be_put_back(job, first)
    assert len(any_lake.read(job)) == 30


def test_less_than_a_day_is_taken_as_a_day(lake: Lake) -> None:
    job, first, _ = two_results(lake)
    clean(job, datetime.now(UTC) + timedelta(hours=23), NOTHING, NOTHING, delete=True)
    assert can_be_put_back(job, first)


def test_what_was_put_back_and_replaced_again_is_young_again(lake: Lake) -> None:
    job, first, second = two_results(lake)
    back = put_back(lake, job, first)
    assert (back.restores, back.replaces) == (first.run_id, second.run_id)
    forth = put_back(lake, job, second)
    age(job, first, days=9)
    age(job, second, days=8)
    replaced = replaced_at(run_history(job))
    assert replaced == {first.run_id: forth.finished_at, second.run_id: None}
    clean(job, datetime.now(UTC) + timedelta(seconds=5), NOTHING, A_DAY, delete=True)
    assert can_be_put_back(job, first)


def test_when_results_were_replaced_though_clocks_differ(lake: Lake) -> None:
    """The first one's host is ahead: by its own words it was published after what has replaced it."""
    job, first, second = two_results(lake)
    age(job, first, days=20)
    age(job, second, days=20.1)
    third = lake.run(lake.job(), DAY, force=True)
    replaced = replaced_at(run_history(job))
    assert replaced[second.run_id] == third.finished_at
    assert replaced[third.run_id] is None


def test_a_partition_that_another_command_changes_is_left_alone_and_named(
    any_lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nightscore.operations.clean, "WAIT_S", 0.0)
    job, first, _ = two_results(any_lake)
    _, other, _ = two_results(any_lake, OTHER)
    held_elsewhere(job, FOLDER)
    told: list[str] = []
    later = datetime.now(UTC) + timedelta(days=2)
    assert clean(job, later, NOTHING, A_DAY, delete=False, tell=told.append)
    assert told == []
    clean(job, later, NOTHING, A_DAY, delete=True, tell=told.append)
    (sentence,) = told
    assert sentence.startswith(
        f"{FOLDER} was left alone: it is held by `nightscore rollback` on host elsewhere"
    )
    assert can_be_put_back(job, first)
    assert not can_be_put_back(job, other)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_what_was_put_back_since_it_looked_stays(
    any_lake: Lake, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """A rollback commits between the listing and the removal, or comes when it is about to begin."""
    job, first, second = two_results(any_lake)
    acquire, ends = Lease.acquire, list[str]()

    def come_between(lease: Lease, wait_s: float = 0.0) -> None:
        monkeypatch.setattr(Lease, "acquire", acquire)
        for step in (moment, "mine") if moment == "before" else ("mine", moment):
            if step == "mine":
                lease.acquire(wait_s)
            else:
                ends.append(put_back(any_lake, job, first).status)

    monkeypatch.setattr(Lease, "acquire", come_between)
    later = datetime.now(UTC) + timedelta(days=2)
    clean(job, later, NOTHING, A_DAY, delete=True)
    assert ends == ["published" if moment == "before" else "failed"]
    assert len(any_lake.read(job)) == 30
    live = open_publisher(Workspace(job)).live(DAY)
    assert live
    assert live.run_id == (first if moment == "before" else second).run_id


def test_a_run_that_was_taken_for_dead_stops_when_it_awakes(lake: Lake) -> None:
    job = lake.job()
    sleeper = RunRecord(Workspace(job), DAY, datetime.now(UTC), "1")
    sleeper.save("running")
    lost = sleeper.manifest.model_copy(update={"pid": 2**22 + 1})
    write_manifest(state_store(job), FOLDER, lost)
    clean(job, datetime.now(UTC) + timedelta(seconds=5), NOTHING, delete=True)
    stored = find_manifest(state_store(job), FOLDER, sleeper.run_id)
    assert stored
    assert stored.status == "failed"
    with pytest.raises(ConflictError, match="stopped updating it"):
        sleeper.save("prepared")
    assert not sleeper.is_owner()


def test_what_a_dead_run_has_finished_is_gone_on_with_or_removed(any_lake: Lake) -> None:
    """Never both: whoever goes on with it holds the partition until that is on record."""
    any_lake.write(DAY, make_frame(30))
    job = any_lake.job()
    with pytest.raises(RunInterrupted):
        any_lake.run(job, DAY, listeners=[interrupt])
    with Lease(job, FOLDER, "clean"):
        planned: list[Event] = []
        fresh = any_lake.run(job, DAY, listeners=[planned.append])
    assert next(event for event in planned if isinstance(event, RunPlanned)).n_rows_resumed == 0
    assert fresh.error
    assert fresh.error.type == "LeaseError", "nobody waits for what its own thread holds"


def test_a_run_that_has_waited_in_vain_keeps_what_it_has_scored(
    any_lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "LONG_WAIT_S", 0.0)
    any_lake.write(DAY, make_frame(30))
    job = any_lake.job()
    held_elsewhere(job, FOLDER)
    waited = any_lake.run(job, DAY)
    assert waited.error
    assert (waited.error.type, waited.error.retryable) == ("LeaseError", True)
    assert "on host elsewhere" in waited.error.message
    assert open_publisher(Workspace(job)).live(DAY) is None
    state_store(job).delete([lease_path(FOLDER)])
    done = any_lake.run(job, DAY)
    assert (done.status, done.run_id, done.measures.n_shards_resumed) == (
        "published",
        waited.run_id,
        1,
    )


def test_leases_that_dead_commands_left_are_removed(lake: Lake) -> None:
    job, _, _ = two_results(lake)
    state = state_store(job)
    with Lease(job, FOLDER, "run") as lease:
        assert lease._holder
        gone = lease._holder.content.replace(str(lease._holder.pid).encode(), b"4194305")
    state.create(lease_path(FOLDER), gone)
    clean(job, datetime.now(UTC) + timedelta(seconds=5), NOTHING, delete=True)
    assert not state.list_files("leases")


def test_files_of_runs_without_any_record_are_removed(any_lake: Lake) -> None:
    job, _, _ = two_results(any_lake)
    nobody = "01a2095c-1262-7217-9c92-000000000000"
    store = parts_store(job)
    place = FOLDER if store == predictions_store(job) else f"staging/{nobody}"
    store.write_bytes(f"{place}/{nobody}-00000-0.parquet", b"x")
    state_store(job).write_bytes(f"checkpoints/{nobody}/00000.json", b"x")
    now = datetime.now(UTC) + timedelta(seconds=5)
    unneeded = clean(job, now, NOTHING, delete=False)
    assert len(unneeded) == 2
    assert sorted(clean(job, now, NOTHING, delete=True)) == sorted(unneeded)
    assert clean(job, now, NOTHING, delete=True) == []
    assert len(list_manifests(state_store(job))[0]) == 2


def test_a_store_that_cannot_tell_who_was_first_keeps_replaced_results(lake: Lake) -> None:
    job = lake.job(output={"uri": "gs://lake/predictions", "format": "delta"})
    with pytest.raises(StorageError, match="another command may be restoring them"):
        clean(job, datetime.now(UTC), NOTHING, A_DAY, delete=True)


def test_by_command(lake: Lake, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job, _, _ = two_results(lake)
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(job.model_dump(mode="json")))
    with pytest.raises(Exception, match="greater than or equal to 1"):
        build_app()(["clean", str(path), "--superseded-days", "0.5"], standalone_mode=False)
    for option in ("--superseded-days", "--older-than-hours"):  # no date is so long ago
        with pytest.raises(Exception, match="less than or equal"):
            build_app()(["clean", str(path), option, "1e12"], standalone_mode=False)
    assert not build_app()(
        ["clean", str(path), "--superseded-days", "1", "--json"], standalone_mode=False
    )
    assert json.loads(capsys.readouterr().out) == {
        "removed": [],
        "would_remove": [],
        "skipped": [],
        "challengers": {},
    }
