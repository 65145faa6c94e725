"""Runs of other hosts: alive as long as they give signs of life; a process that was silent for too long stops."""

import time
from datetime import UTC, datetime

import pytest

from nightscore.engine.events import Event, ShardScored
from nightscore.errors import ConflictError, InputError
from nightscore.ledger import liveness
from nightscore.ledger.history import PartitionHistory
from nightscore.ledger.layout import claim_path, parts_store, predictions_store, state_store
from nightscore.ledger.liveness import mark_dead_runs
from nightscore.ledger.manifest_files import find_manifest, write_manifest
from nightscore.ledger.run_record import RunRecord
from nightscore.ledger.workspace import Workspace
from nightscore.schemas.manifest import Manifest
from tests.faults.test_resume import DAY, interrupt, write_partition
from tests.support.lake import Lake

FOLDER = f"ds={DAY}"


def leave_running_elsewhere(lake: Lake) -> str:
    """A run of another host that has finished some shards and says no more."""
    write_partition(lake)
    run_id = interrupt(lake, lake.job(), 2)
    state = state_store(lake.job())
    manifest = find_manifest(state, FOLDER, run_id)
    assert manifest
    there = {"status": "running", "error": None, "host": "elsewhere", "finished_at": None}
    write_manifest(state, FOLDER, manifest.model_copy(update=there))
    return run_id


def test_a_run_elsewhere_that_gives_signs_of_life_is_left_alone(any_calm_lake: Lake) -> None:
    run_id = leave_running_elsewhere(any_calm_lake)
    manifest = any_calm_lake.run(any_calm_lake.job())
    assert (manifest.status, manifest.attempts) == ("published", 1)
    assert manifest.run_id != run_id


def test_a_run_elsewhere_that_fell_silent_is_gone_on_with(
    any_calm_lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = leave_running_elsewhere(any_calm_lake)
    monkeypatch.setattr(liveness, "LEASE_TIMEOUT_S", -60.0)
    manifest = any_calm_lake.run(any_calm_lake.job())
    assert (manifest.status, manifest.run_id, manifest.attempts) == ("published", run_id, 2)
    assert manifest.measures.n_shards_resumed >= 2


def test_the_store_s_clock_decides_and_not_the_host_s(
    any_calm_lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_running_elsewhere(any_calm_lake)
    job = any_calm_lake.job()
    state = state_store(job)
    newest = PartitionHistory(Workspace(job), DAY).newest()
    assert newest
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: 4e9)
        assert mark_dead_runs(state, [newest])[0].status == "running"
    assert not [entry for entry in state.list_files() if "probe" in entry.path]


def test_a_run_gives_signs_of_life(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(liveness, "HEARTBEAT_S", 0.01)
    job = lake.job()
    beating = RunRecord(Workspace(job), DAY, datetime.now(UTC), "1")
    path = f"runs/{FOLDER}/{beating.run_id}.json"
    with beating.heartbeats():
        beating.save("running")
        first = state_store(job).describe(path).version
        deadline = time.monotonic() + 30
        while state_store(job).describe(path).version == first:
            assert time.monotonic() < deadline, "no sign of life"
        beating.end("failed")
    last = state_store(job).describe(path).version
    assert state_store(job).describe(path).version == last


def test_a_process_that_was_taken_over_stops_and_touches_nothing(any_calm_lake: Lake) -> None:
    write_partition(any_calm_lake)
    job = any_calm_lake.job()
    state = state_store(job)
    seen: list[Manifest] = []

    def take_over_meanwhile(event: Event) -> None:
        if isinstance(event, ShardScored) and not seen:
            newest = PartitionHistory(Workspace(job), DAY).newest()
            assert newest
            seen.append(
                write_manifest(
                    state, FOLDER, newest.model_copy(update={"attempts": 2, "host": "elsewhere"})
                )
            )

    manifest = any_calm_lake.run(job, listeners=[take_over_meanwhile])

    assert manifest.error
    assert manifest.error.type == "ConflictError"
    assert "has taken over this run" in manifest.error.message
    assert find_manifest(state, FOLDER, manifest.run_id) == seen[0]
    assert not state.list_files("sealed"), "where the other one's may be"
    kept = predictions_store(job) if job.output.format == "delta" else state
    assert [
        entry
        for entry in kept.list_files()
        if manifest.run_id in entry.path and entry.path.endswith(".parquet")
    ]
    assert [entry for entry in state.list_files("checkpoints") if manifest.run_id in entry.path]


@pytest.mark.parametrize("ending", ["claimed", "ended"])
def test_a_process_that_was_taken_over_sweeps_nothing(any_calm_lake: Lake, ending: str) -> None:
    """Whether the other one has only claimed the run, or is done with it and has removed its claim."""
    write_partition(any_calm_lake)
    job = any_calm_lake.job()
    state = state_store(job)

    def fail_after_a_take_over(event: Event) -> None:
        if isinstance(event, ShardScored):
            newest = PartitionHistory(Workspace(job), DAY).newest()
            assert newest
            if ending == "claimed":
                state.create(claim_path(newest.run_id, 2), b"")
            else:
                write_manifest(state, FOLDER, newest.model_copy(update={"attempts": 2}))
            raise InputError("the store's own trouble")

    manifest = any_calm_lake.run(job, listeners=[fail_after_a_take_over])

    assert manifest.status == "failed"
    assert [
        e
        for e in parts_store(job).list_files()
        if manifest.run_id in e.path and e.path.endswith(".parquet")
    ]
    assert [entry for entry in state.list_files("checkpoints") if manifest.run_id in entry.path]


def test_a_silent_process_asks_before_it_writes(lake: Lake) -> None:
    job = lake.job()
    silent = RunRecord(Workspace(job), DAY, datetime.now(UTC), "1")
    silent.save("running")
    silent.save("prepared")
    silent.save("running")  # nobody took it over
    write_manifest(state_store(job), FOLDER, silent.manifest.model_copy(update={"attempts": 2}))
    silent._last_heartbeat -= 1_000
    with pytest.raises(ConflictError, match="stopped updating it"):
        silent.save("prepared")
    assert not silent.is_owner()
