"""A run that is killed at any moment leaves the old or the new partition, and the next run is clean."""

import os
import random
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import yaml

from nightscore.engine.forked_executor import TITLE
from nightscore.ledger.layout import predictions_store, run_id_of, state_store
from nightscore.ledger.workspace import Workspace
from nightscore.operations.clean import clean
from nightscore.operations.history import run_history
from nightscore.outputs.publish import open_publisher
from nightscore.schemas.job import ScoringJob
from tests.support.lake import Lake
from tests.support.models import NUMBERS, KnownModel, make_frame

DAY = "2024-02-29"
KILLS, ALL_KILLS = 1, 10
"""A place, and in a thorough run."""
SEED = 20240229
N_ROWS = 140_000

pytestmark = pytest.mark.slow


def job_file(lake: Lake, job: ScoringJob, folder: Path) -> Path:
    """The job as a command finds it; secrets come from the environment."""
    raw: dict[str, Any] = job.model_dump(mode="json")
    if lake.options:
        options = lake.options | {
            "key": "${NIGHTSCORE_TEST_ID}",
            "secret": "${NIGHTSCORE_TEST_SECRET}",
        }
        raw["input"]["storage_options"] = raw["output"]["storage_options"] = options
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(raw))
    return path


def start(lake: Lake, path: Path, *options: str, day: str = DAY) -> subprocess.Popen[str]:
    """The command in a process group of its own."""
    environment = os.environ | {
        "NIGHTSCORE_CACHE": str(lake.cache.root),
        "NIGHTSCORE_TEST_ID": str(lake.options.get("key")),
        "NIGHTSCORE_TEST_SECRET": str(lake.options.get("secret")),
    }
    return subprocess.Popen(
        [sys.executable, "-m", "nightscore.cli", "run", str(path), day, "--json", *options],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def is_worker(process: psutil.Process) -> bool:
    try:
        return process.name() == TITLE or "popen_loky" in " ".join(process.cmdline())
    except psutil.Error:
        return False


def wait_until_gone(processes: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(processes, timeout=20)
    assert not alive, f"workers outlived their driver: {alive}"


def check_invariants(lake: Lake, job: ScoringJob, expected: np.ndarray, old_run: str) -> str:
    """Readers see all rows of one run, with the model's own predictions; returns that run."""
    published = lake.read(job).sort_values("id")
    runs = set(published["run_id"].astype(str))
    assert len(runs) == 1
    assert np.array_equal(published["probability"].to_numpy(), expected)
    assert runs <= {old_run, *(m.run_id for m in run_history(job))}
    return runs.pop()


def test_killed_at_random_moments_then_run_again(
    any_lake: Lake, models: dict[str, KnownModel], tmp_path: Path, thorough: bool
) -> None:
    rng = random.Random(SEED)
    frame = make_frame(N_ROWS)
    for i in range(2):
        any_lake.write(
            DAY, frame.iloc[i * N_ROWS // 2 : (i + 1) * N_ROWS // 2], f"p{i}", row_group_size=35_000
        )
    expected = models["hgb_binary"].estimator.predict_proba(frame[NUMBERS])[:, 1]
    job = any_lake.job()
    path = job_file(any_lake, job, tmp_path)
    assert any_lake.run(job, DAY).error is None  # the first one learns about the model
    began = time.monotonic()
    undisturbed = start(any_lake, path, "--force")
    _, err = undisturbed.communicate(timeout=120)
    assert undisturbed.returncode == 0, err
    took = time.monotonic() - began
    current = check_invariants(any_lake, job, expected, "")
    kills, wanted = 0, ALL_KILLS if thorough else KILLS
    while kills < wanted:
        process = start(any_lake, path, "--force")
        time.sleep(rng.uniform(0.2 * took, took))  # the moment of the kill is the subject
        if process.poll() is None:
            family = psutil.Process(process.pid).children(recursive=True)
            process.kill()
            kills += process.wait() == -signal.SIGKILL
            wait_until_gone(family)
        process.communicate()
        current = check_invariants(any_lake, job, expected, current)
        newest = run_history(job)[0]
        # A run that died after its commit is a publication, whatever its record says until the next
        # look.
        assert newest.status in ("failed", "published")

    final = start(any_lake, path, "--force")
    _, err = final.communicate(timeout=120)
    assert final.returncode == 0, err
    current = check_invariants(any_lake, job, expected, current)

    clean(job, datetime.now(UTC) + timedelta(seconds=5), timedelta(0), delete=True)
    published = {m.run_id for m in run_history(job) if m.status == "published"}
    left = {run_id_of(entry.path) for entry in predictions_store(job).list_files()} - {None}
    assert left <= published
    assert not state_store(job).list_files("staging")
    assert check_invariants(any_lake, job, expected, current) == current
    live = open_publisher(Workspace(job)).live(DAY)
    assert live is not None
    assert live.run_id == current


def test_a_killed_worker_costs_its_shard_only(
    lake: Lake, models: dict[str, KnownModel], tmp_path: Path
) -> None:
    frame = make_frame(400_000)
    for i in range(8):
        lake.write(DAY, frame.iloc[i * 50_000 : (i + 1) * 50_000], f"p{i}")
    job = lake.job()
    process = start(lake, job_file(lake, job, tmp_path))
    killed = False
    deadline = time.monotonic() + 60
    while not killed and time.monotonic() < deadline and process.poll() is None:
        parts = [e for e in predictions_store(job).list_files() if e.path.endswith(".parquet")]
        workers = [p for p in psutil.Process(process.pid).children() if is_worker(p)]
        if parts and workers:
            workers[0].kill()
            killed = True
    _, err = process.communicate(timeout=120)
    assert killed
    assert process.returncode == 0, err
    assert "lost with its worker, attempt 1" in err
    expected = models["hgb_binary"].estimator.predict_proba(frame[NUMBERS])[:, 1]
    assert np.array_equal(lake.read(job).sort_values("id")["probability"], expected)


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_leaves_nothing_published_and_no_worker(
    lake: Lake, tmp_path: Path, stop: signal.Signals
) -> None:
    for i in range(8):
        lake.write(DAY, make_frame(60_000, seed=i), f"p{i}")
    job = lake.job()
    process = start(lake, job_file(lake, job, tmp_path))
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if any(e.path.endswith(".parquet") for e in predictions_store(job).list_files()):
            break
        time.sleep(0.01)
    family = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, stop)  # as a terminal does: the whole group gets it
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert "Traceback" not in err, err
    assert '"status": "failed"' in out
    wait_until_gone(family)
    assert open_publisher(Workspace(job)).live(DAY) is None
    newest = run_history(job)[0]
    assert newest.status == "failed"
    assert newest.error
    assert newest.error.type == "InterruptedRunError"
