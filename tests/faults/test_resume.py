"""A run that died goes on with the shards that it had finished."""

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from nightscore.engine.checkpoints import take_over
from nightscore.engine.events import Event, RunPlanned, ShardScored
from nightscore.ledger.history import PartitionHistory
from nightscore.ledger.layout import run_id_of, state_store
from nightscore.ledger.workspace import Workspace
from nightscore.operations.history import run_history
from nightscore.outputs.publish import open_publisher
from nightscore.runs.execution import RunInterrupted
from nightscore.schemas.job import Limits, ScoringJob
from tests.faults.test_kills import DAY, is_worker, job_file, start, wait_until_gone
from tests.support.lake import Lake
from tests.support.models import NUMBERS, KnownModel, make_frame

N_FILES, FILE_ROWS = 6, 2_000
LONG_ROWS = 70_000
"""A file of a run that is killed from outside, while it scores."""


class StopAfter:
    """A listener that interrupts the run once some shards are scored."""

    def __init__(self, n_shards: int) -> None:
        self.n_left = n_shards

    def __call__(self, event: Event) -> None:
        if isinstance(event, ShardScored):
            self.n_left -= 1
            if self.n_left == 0:
                raise KeyboardInterrupt


def write_partition(lake: Lake, file_rows: int = FILE_ROWS) -> Any:
    frame = make_frame(N_FILES * file_rows)
    for i in range(N_FILES):
        lake.write(DAY, frame.iloc[i * file_rows : (i + 1) * file_rows], f"p{i}")
    return frame


def interrupt(lake: Lake, job: ScoringJob, n_shards: int) -> str:
    with pytest.raises(RunInterrupted) as stopped:
        lake.run(job, DAY, listeners=[StopAfter(n_shards)])
    return stopped.value.manifest.run_id


def assert_complete(
    lake: Lake, job: ScoringJob, frame: Any, models: dict[str, KnownModel], run_id: str
) -> None:
    published = lake.read(job).sort_values("id")
    assert set(published["run_id"].astype(str)) == {run_id}
    expected = models["hgb_binary"].estimator.predict_proba(frame[NUMBERS])[:, 1]
    assert np.array_equal(published["probability"].to_numpy(), expected)
    assert not state_store(job).list_files("checkpoints")


def test_an_interrupted_run_goes_on_under_its_own_id(
    any_calm_lake: Lake, models: dict[str, KnownModel]
) -> None:
    frame, job = write_partition(any_calm_lake), any_calm_lake.job()
    run_id = interrupt(any_calm_lake, job, 2)
    assert open_publisher(Workspace(job)).live(DAY) is None
    scored: list[Event] = []

    manifest = any_calm_lake.run(job, DAY, listeners=[scored.append])

    assert (manifest.status, manifest.run_id, manifest.attempts) == ("published", run_id, 2)
    n_resumed = manifest.measures.n_shards_resumed
    assert 2 <= n_resumed < manifest.measures.n_shards
    assert sum(isinstance(e, ShardScored) for e in scored) == manifest.measures.n_shards - n_resumed
    (planned,) = (event for event in scored if isinstance(event, RunPlanned))
    assert planned.n_rows_resumed == len(frame) - sum(
        e.n_rows for e in scored if isinstance(e, ShardScored)
    )
    assert manifest.counts.rows_in == manifest.counts.rows_scored == len(frame)
    assert_complete(any_calm_lake, job, frame, models, run_id)
    assert [m.run_id for m in run_history(job)] == [run_id]
    assert any_calm_lake.run(job, DAY).status == "unchanged"


@pytest.mark.slow
def test_a_killed_run_goes_on_and_may_be_killed_again(
    any_lake: Lake, models: dict[str, KnownModel], tmp_path: Path
) -> None:
    frame, job = write_partition(any_lake, LONG_ROWS), any_lake.job()
    path = job_file(any_lake, job, tmp_path)
    state = state_store(job)

    def n_checkpoints() -> int:
        return sum(entry.path.endswith(".json") for entry in state.list_files("checkpoints"))

    for _ in range(2):
        before = n_checkpoints()
        process = start(any_lake, path)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and process.poll() is None:
            if n_checkpoints() > before:
                break
        workers = [p for p in psutil.Process(process.pid).children(recursive=True) if is_worker(p)]
        process.kill()
        assert process.wait() == -signal.SIGKILL
        process.communicate()
        wait_until_gone(workers)
    manifest = any_lake.run(job, DAY)
    assert (manifest.status, manifest.attempts) == ("published", 3)
    assert manifest.measures.n_shards_resumed >= 2
    assert_complete(any_lake, job, frame, models, manifest.run_id)
    assert {run_id_of(file.path) or manifest.run_id for file in manifest.output.files} == {
        manifest.run_id
    }


def test_of_several_that_would_go_on_one_does(any_calm_lake: Lake) -> None:
    write_partition(any_calm_lake)
    job = any_calm_lake.job()
    run_id = interrupt(any_calm_lake, job, 1)
    newest = PartitionHistory(Workspace(job), DAY).newest()
    assert newest is not None
    workspace = Workspace(job)
    with ThreadPoolExecutor(8) as threads:
        resumptions = list(
            threads.map(
                lambda _: take_over(
                    workspace, PartitionHistory(workspace, DAY), newest.fingerprint, None
                ),
                range(8),
            )
        )
    (taken,) = filter(None, resumptions)
    assert taken.manifest.run_id == run_id
    assert taken.results
    fresh = any_calm_lake.run(job, DAY)  # the other one is under way: this one does the work itself
    assert (fresh.status, fresh.attempts, fresh.measures.n_shards_resumed) == ("published", 1, 0)
    assert fresh.run_id != run_id


def test_nothing_is_taken_over_that_does_not_fit(
    calm_lake: Lake, models: dict[str, KnownModel]
) -> None:
    frame, job = write_partition(calm_lake), calm_lake.job()
    first = interrupt(calm_lake, job, 2)
    paths = [e.path for e in state_store(job).list_files("checkpoints")]
    assert paths
    other = job.model_copy(update={"pass_through": ("c",)})
    assert calm_lake.run(other, DAY).run_id != first  # other columns, another run
    second = interrupt(calm_lake, job.model_copy(update={"pass_through": ()}), 2)
    state_store(job).write_bytes(next(p for p in paths if p.endswith(".json")), b"{}")
    for entry in state_store(job).list_files(f"checkpoints/{second}"):
        if entry.path.endswith(".json"):
            state_store(job).write_bytes(entry.path, b'{"cut_for": 1}')
    manifest = calm_lake.run(job, DAY, force=True)
    assert (manifest.status, manifest.measures.n_shards_resumed) == ("published", 0)
    expected = models["hgb_binary"].estimator.predict_proba(frame[NUMBERS])[:, 1]
    assert np.array_equal(calm_lake.read(job).sort_values("id")["probability"], expected)


def test_quarantined_rows_are_counted_once(calm_lake: Lake) -> None:
    frame = make_frame(N_FILES * FILE_ROWS)
    frame.loc[::FILE_ROWS, "a"] = np.inf
    for i in range(N_FILES):
        calm_lake.write(DAY, frame.iloc[i * FILE_ROWS : (i + 1) * FILE_ROWS], f"p{i}")
    job = calm_lake.job("logistic", limits=Limits(max_quarantined_rows=N_FILES).model_dump())
    interrupt(calm_lake, job, 3)
    manifest = calm_lake.run(job, DAY)
    assert manifest.measures.n_shards_resumed >= 3
    assert manifest.counts.rows_quarantined == N_FILES
    assert sum(file.rows for file in manifest.quarantine.files) == N_FILES
    assert manifest.counts.rows_scored == len(frame) - N_FILES == len(calm_lake.read(job))
