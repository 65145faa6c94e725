"""Faults of processes and machines: workers and drivers that die, hang or find no room."""

import dataclasses
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

from nightscore.engine.backends.local import WorkerPool
from nightscore.engine.events import Event, RunPlanned
from nightscore.engine.shard import ShardResult, ShardTask
from nightscore.engine.worker import shard_scoring
from nightscore.engine.worker.shard_scoring import score_shard
from nightscore.models.cache import ModelCache
from nightscore.runs.run import run
from nightscore.schemas.manifest import Manifest
from tests.faults.conftest import DAY, ONE_FORMAT, PARQUET_IF_THOROUGH, Lab
from tests.faults.invariants import check_error
from tests.faults.test_kills import is_worker, job_file, start, wait_until_gone
from tests.support.lake import Lake
from tests.support.models import copy_registry, make_frame

Tell = Callable[[str, str, Manifest | str], None]

pytestmark = pytest.mark.slow


def workers() -> list[psutil.Process]:
    return [child for child in psutil.Process().children(recursive=True) if is_worker(child)]


class KillWorkers:
    """A listener that kills the run's workers, as often as it is told, once they have work."""

    def __init__(self, pool: WorkerPool, times: int) -> None:
        self._pool, self._times = pool, times
        self.n_killed = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._kill, daemon=True)

    def __call__(self, event: Event) -> None:
        if isinstance(event, RunPlanned):
            self._thread.start()

    def _kill(self) -> None:
        gone: set[int] = set()
        while self.n_killed < self._times and not self._done.wait(0.005):
            executor = self._pool._executor
            for pid in [] if executor is None else list(executor._processes or ()):
                if pid not in gone and self.n_killed < self._times:
                    gone.add(pid)
                    self.n_killed += 1
                    os.kill(pid, signal.SIGKILL)

    def stop(self) -> None:
        self._done.set()
        if self._thread.ident:
            self._thread.join()


@PARQUET_IF_THOROUGH
@pytest.mark.parametrize("times", [1, pytest.param(3, marks=pytest.mark.thorough), 99])
def test_workers_are_killed(lab: Lab, report: Tell, times: int) -> None:
    lab.begin(70_000)
    with WorkerPool() as pool:
        killer = KillWorkers(pool, times)
        manifest = lab.score(pool, listeners=[killer])
        killer.stop()
    report(f"worker killed ({lab.lake.formats})", f"-9, {killer.n_killed} times", manifest)
    assert killer.n_killed
    if times == 1:
        assert manifest.error is None
    if manifest.error:
        assert manifest.error.type == "WorkerError"
        check_error(manifest)
    assert lab.check() == {DAY: 0 if manifest.error else 1}
    lab.settle()


def test_the_driver_is_killed(lab: Lab, report: Tell) -> None:
    lab.begin(140_000)
    process = start(lab.lake, job_file(lab.lake, lab.job, lab.tmp_path))
    deadline = time.monotonic() + 60
    family: list[psutil.Process] = []
    while not family and time.monotonic() < deadline:
        family = [p for p in psutil.Process(process.pid).children(recursive=True) if is_worker(p)]
    process.kill()
    process.communicate()
    wait_until_gone(family)
    seen = lab.check()
    report(
        f"driver killed ({lab.lake.formats})",
        "-9 once its workers run",
        f"workers gone, input {seen[DAY]} published",
    )
    lab.settle()


def test_two_schedulers_at_once(lab: Lab, report: Tell) -> None:
    lab.begin()

    def one(_: int) -> Manifest:
        with WorkerPool() as pool:
            return lab.score(pool)

    with ThreadPoolExecutor(3) as threads:
        manifests = list(threads.map(one, range(3)))
    states = sorted(m.error.type if m.error else m.status for m in manifests)
    report(
        f"three schedulers at once ({lab.lake.formats})", "the same partition", ", ".join(states)
    )
    assert states.count("published") == 1
    assert set(states) <= {"published", "ConflictError", "unchanged"}
    assert lab.check() == {DAY: 1}
    lab.settle()


@pytest.mark.parametrize("skew", [timedelta(days=-2), timedelta(days=2)], ids=["behind", "ahead"])
def test_clocks_that_differ(lab: Lab, report: Tell, skew: timedelta) -> None:
    lab.begin()
    manifest = lab.score(now=datetime.now(UTC) + skew)
    report(
        f"clock skew ({lab.lake.formats})",
        f"this host's clock is off by {skew.days} days",
        manifest,
    )
    assert manifest.status == "published"
    assert lab.check() == {DAY: 1}
    lab.settle()
    lab.write(make_frame(300, seed=3))
    lab.settle()


def hang(task: object) -> None:
    time.sleep(600)


def hang_once(task: ShardTask) -> ShardResult:
    if task.shard.index == 1 and not task.n_hung:
        time.sleep(600)
    return score_shard(task)


@ONE_FORMAT
def test_a_shard_that_hangs_once_is_scored_alone(
    lab: Lab, report: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.begin()
    lab.changes = {"limits": {"shard_minutes": 0.1}}
    monkeypatch.setattr("nightscore.engine.wave.score_shard", hang_once)
    with WorkerPool() as pool:
        manifest = lab.score(pool)
    report(f"worker hangs once ({lab.lake.formats})", "one shard, once", manifest)
    assert manifest.status == "published"
    assert lab.check() == {DAY: 1}
    lab.settle()


@ONE_FORMAT
def test_a_worker_that_hangs_is_ended(
    lab: Lab, report: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.begin()
    lab.changes = {"limits": {"shard_minutes": 0.01}}
    monkeypatch.setattr("nightscore.engine.wave.score_shard", hang)
    with WorkerPool() as pool:
        manifest = lab.score(pool)
    report(f"worker hangs ({lab.lake.formats})", "for ever, at each attempt", manifest)
    assert manifest.error
    assert manifest.error.type == "WorkerError"
    assert "no end, 2 times" in manifest.error.message
    check_error(manifest)
    monkeypatch.undo()
    lab.changes = {}
    assert lab.check() == {DAY: 0}
    lab.settle()


@ONE_FORMAT
@pytest.mark.parametrize("mebibytes", [12, pytest.param(24, marks=pytest.mark.thorough), 48])
def test_memory_is_short(
    lab: Lab, report: Tell, monkeypatch: pytest.MonkeyPatch, mebibytes: int
) -> None:
    """Batches that do not fit are halved; what does not fit at all is named."""
    lab.begin(140_000)
    monkeypatch.setattr(
        "nightscore.runs.dispatch._address_space", lambda limits, memory: mebibytes << 20
    )
    with WorkerPool() as pool:
        manifest = lab.score(pool)
    report(
        f"memory short ({lab.lake.formats})",
        f"{mebibytes} MiB of address space for a shard",
        manifest,
    )
    if manifest.error:
        assert manifest.error.type == "MemoryLimitError"
        assert "rows from row" in manifest.error.message
        check_error(manifest)
    assert lab.check() == {DAY: 0 if manifest.error else 1}
    monkeypatch.undo()
    lab.settle()


def test_a_batch_that_does_not_fit_is_halved(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []

    def short_of_memory(task: ShardTask, now: object) -> str:
        tried.append(task.batch_rows)
        if task.batch_rows > room:
            raise MemoryError("no room")
        return "scored"

    monkeypatch.setattr(shard_scoring, "_score_shard", short_of_memory)
    fields: dict[str, Any] = dict.fromkeys(field.name for field in dataclasses.fields(ShardTask))
    task = ShardTask(**(fields | {"batch_rows": 16_384, "challengers": ()}))
    room = 3_000
    assert shard_scoring.score_shard(task) == "scored"  # type: ignore[comparison-overlap]
    assert tried == [16_384, 8_192, 4_096, 2_048]
    room = 0
    with pytest.raises(MemoryError, match="no room, with 1,024 rows at once"):
        shard_scoring.score_shard(task)


@ONE_FORMAT
def test_no_memory_at_all_is_an_error_that_names_rows(
    lab: Lab, report: Tell, monkeypatch: pytest.MonkeyPatch, thorough: bool
) -> None:
    lab.changes = {"pass_through": ["color"]}
    lab.begin()
    frame = make_frame(3_000, seed=2)
    # The smallest batch is a quarter of a gigabyte; in a thorough run, a whole one.
    frame["color"] = "x" * (1_000_000 if thorough else 250_000)
    lab.write(frame)
    monkeypatch.setattr("nightscore.runs.dispatch._address_space", lambda limits, memory: 1 << 20)
    with WorkerPool() as pool:
        manifest = lab.score(pool)
    report(f"no memory ({lab.lake.formats})", "1 MiB of address space for a shard", manifest)
    assert manifest.error
    assert manifest.error.type == "MemoryLimitError"
    check_error(manifest)
    assert lab.check() == {DAY: 0}
    monkeypatch.undo()
    lab.write(make_frame(2_000, seed=3))
    lab.settle()


@PARQUET_IF_THOROUGH
def test_under_a_limit_on_address_space(lab: Lab, report: Tell) -> None:
    """As `ulimit -v` sets it for the whole family: the run succeeds or says that memory is short."""
    lab.begin(30_000)
    path = job_file(lab.lake, lab.job, lab.tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "nightscore.cli", "run", str(path), DAY],
        env=os.environ | {"NIGHTSCORE_CACHE": str(lab.lake.cache.root)},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (1_500 << 20, 1_500 << 20)),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    report(
        f"ulimit -v ({lab.lake.formats})", "1,500 MiB for each process", f"exit {done.returncode}"
    )
    assert done.returncode in (0, 1)
    assert "Traceback" not in done.stderr
    assert lab.check() == {DAY: 1 if done.returncode == 0 else 0}
    lab.settle()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_the_disk_is_full(lab: Lab, small_disk: Path, report: Tell) -> None:
    output = {"uri": str(small_disk / "predictions"), "format": lab.lake.formats}
    lab.changes = {"output": output}
    lab.begin(3_000)
    filler = small_disk / "filler"
    n_left = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
    filler.write_bytes(b"x" * (n_left - 8_192))

    manifest = lab.score()

    report(f"disk full ({lab.lake.formats})", "8 KiB are left", manifest)
    assert manifest.error
    assert manifest.error.type == "StorageError"
    assert "disk is full" in manifest.error.message
    check_error(manifest)
    filler.unlink()
    assert lab.check() == {DAY: 0}
    lab.settle()


@PARQUET_IF_THOROUGH
def test_the_registry_is_down(lab: Lab, report: Tell, registry_root: Path) -> None:
    """A pinned version that this host has used before still runs."""
    registry = copy_registry(registry_root, lab.tmp_path / "registry")
    database = Path(registry.removeprefix("sqlite:///"))
    lab.lake.registry = registry
    lab.begin()
    database.write_bytes(b"")  # what a disk gives that lost its content

    manifest = lab.score()

    report(f"registry down ({lab.lake.formats})", "its database is empty", manifest)
    assert manifest.status == "published"
    assert any("came from this host's cache" in note for note in manifest.warnings)
    assert lab.check() == {DAY: 1}
    elsewhere = lab.score(cache=ModelCache(lab.tmp_path / "another-host"), force=True)
    assert elsewhere.error
    assert elsewhere.error.type == "StorageUnavailableError"
    by_alias = lab.behind.job("models:/hgb_binary@champion")
    refused = run(
        by_alias, DAY, pool=lab.lake.pool, cache=lab.lake.cache, now=datetime.now(UTC), force=True
    )
    assert refused.error, "an alias may point elsewhere by now"
    lab.settle()


def test_the_input_changes_while_it_is_read(lab: Lab, report: Tell) -> None:
    lab.begin()
    changed = make_frame(1_500, seed=9)

    def rewrite(event: Event) -> None:
        if isinstance(event, RunPlanned):
            lab.write(changed)

    manifest = lab.score(listeners=[rewrite])

    report(f"input changes ({lab.lake.formats})", "after it was planned", manifest)
    assert manifest.error
    assert manifest.error.type == "InputChangedError"
    assert manifest.error.retryable
    assert lab.check() == {DAY: 0}
    lab.settle()


@ONE_FORMAT
def test_no_worker_is_left(lab: Lab) -> None:
    lab.begin()
    before = {process.pid for process in workers()}
    with WorkerPool() as pool:
        lab.score(pool)
        mine = [process for process in workers() if process.pid not in before]
        assert mine
    wait_until_gone(mine)
