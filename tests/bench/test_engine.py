"""The benchmark of the engine works: outputs agree, and a table and a plot come out.

No times are asserted.
"""

import contextlib
import os
import select
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from tests.bench.bars import readme
from tests.bench.bars.results import read_results
from tests.bench.engine.measure import (
    ONE_PARTITION,
    ONE_SMALL,
    ONE_WORKER,
    ONE_WORKER_OTHER_SIZE,
    OTHER_SIZE,
    OURS,
    SIZES,
    measure,
)
from tests.bench.engine.outputs import differences, read_written
from tests.bench.engine.plot import draw
from tests.bench.engine.process_tree import run_measured
from tests.bench.engine.tables import as_markdown
from tests.bench.engine.workloads import W3

PEERS, ALL_PEERS = ("polars",), ("polars", "pandas", "joblib")
"""Beside nightscore, and in a thorough run."""
DAEMON = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        held = b"x" * (100 << 20)
        while time.process_time() < 0.6:
            pass
        time.sleep({sleep_s})
    os._exit(0)
os.wait()
"""


@pytest.mark.slow
def test_all_ways_of_a_workload_agree_and_have_their_numbers(
    tmp_path: Path, thorough: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not thorough:
        monkeypatch.setattr("tests.bench.engine.workloads.N_TRAINING", 2_000)
    peers = ALL_PEERS if thorough else PEERS
    other_rows = {"W3": 20_000} if thorough else {}
    small = SIZES["small"]
    size = replace(small, workloads={"W3": W3.sized(2_000, 3)}, other_rows=other_rows)
    result = measure(size, tmp_path, peers=peers)
    (workload,) = result["workloads"].values()
    ways = {OURS, ONE_PARTITION, ONE_SMALL, *peers}
    if thorough:
        ways |= {OTHER_SIZE, ONE_WORKER, ONE_WORKER_OTHER_SIZE}
    assert set(workload["ways"]) == ways
    for name, way in workload["ways"].items():
        assert not way["error"] and not way["notes"], (name, way)
        assert way["wall_s"] > 0 and way["cpu_s"] > 0 and way["peak_bytes"] > 50e6, (name, way)
        assert way["beside"]["wall_s"] == workload["ways"][OURS]["wall_s"]
    ours = workload["ways"][OURS]
    assert ours["written"]["n_rows"] == 6_000 and ours["written"]["n_partitions"] == 3
    assert ours["drift_columns"] >= 29, "drift is not watched, though that is the default"
    assert set(workload["bound"]["cpu_s_per_row"]) == {"decode", "predict", "profile", "encode"}
    assert workload["first"]["wall_s"] > 0
    text = as_markdown(result)
    assert all(way["title"] in text for way in workload["ways"].values())
    assert "Where the time goes, nightscore" in text
    draw(result, tmp_path / "engine.png")
    assert 1_000 < (tmp_path / "engine.png").stat().st_size < 100_000

    measured = read_results(readme.MEASURED)
    workloads = {"workloads": readme.as_workloads(measured)}
    draw(workloads, tmp_path / "speed.png", readme.caption(measured))
    assert 1_000 < (tmp_path / "speed.png").stat().st_size < 100_000


def _write(folder: Path, ds: str, ids: list[int], scores: list[float]) -> None:
    place = folder / f"ds={ds}"
    place.mkdir(parents=True)
    pl.DataFrame({"id": [f"k{i}" for i in ids], "score": scores}).write_parquet(
        place / "part-0.parquet"
    )


@pytest.mark.parametrize(
    ("ids", "scores", "days", "problem"),
    [
        ([3, 1, 2], [0.3, 0.1, 0.2], ["a", "b", "c"], ""),
        ([1, 2], [0.1, 0.2], ["a", "b", "c"], "2 rows"),
        ([1, 2, 4], [0.1, 0.2, 0.3], ["a", "b", "c"], "other keys"),
        ([1, 2, 3], [0.2, 0.1, 0.3], ["a", "b", "c"], "weighted"),
        ([1, 2, 3], [0.1, 0.2, 0.30001], ["a", "b", "c"], "total"),
        ([1, 2, 3], [0.1, 0.2, 0.3], ["a", "b", "b"], "2 partitions"),
    ],
)
def test_other_output_is_seen(
    tmp_path: Path, ids: list[int], scores: list[float], days: list[str], problem: str
) -> None:
    for day, i, score in zip("abc", (1, 2, 3), (0.1, 0.2, 0.3), strict=True):
        _write(tmp_path / "expected", day, [i], [score])
    for day in dict.fromkeys(days):
        mine = [k for k in range(len(ids)) if days[k] == day]
        if mine:
            _write(tmp_path / "found", day, [ids[k] for k in mine], [scores[k] for k in mine])
    expected, written = read_written(tmp_path / "expected"), read_written(tmp_path / "found")
    problems = "; ".join(differences(written, expected, by_partition=True))
    assert (problem in problems) if problem else not problems, problems


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(("sleep_s", "n_killed"), [(0, 0), (600, 1)])
def test_daemons_are_counted_and_ended(sleep_s: int, n_killed: int) -> None:
    ran = run_measured(
        [sys.executable, "-c", DAEMON.format(sleep_s=sleep_s)], os.environ, grace_s=2.0
    )
    assert ran.cost.exit_code == 0
    assert ran.cost.cpu_s >= 0.5
    assert ran.cost.peak_bytes > 100 << 20
    assert ran.cost.n_killed == n_killed


def test_a_failed_command_says_why() -> None:
    ran = run_measured([sys.executable, "-c", "raise SystemExit('no such model')"], os.environ)
    assert ran.cost.exit_code == 1
    assert "no such model" in ran.errors


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_nothing_goes_on_when_the_benchmark_is_killed(tmp_path: Path) -> None:
    started = tmp_path / "started"
    os.mkfifo(started)
    command = f"open({str(started)!r}, 'w').write(str(__import__('os').getpid())); __import__('time').sleep(600)"
    bench = f"import os, sys; from {run_measured.__module__} import run_measured; "
    bench += f"run_measured([sys.executable, '-c', {command!r}], os.environ)"
    process = subprocess.Popen([sys.executable, "-c", bench])
    pid = int(started.read_text())  # ends when the command has written it
    with contextlib.ExitStack() as stack:
        handle = os.pidfd_open(pid)
        stack.callback(os.close, handle)
        process.kill()
        process.wait()
        assert select.select([handle], [], [], 30)[0], f"process {pid} goes on"
