"""Worker processes leave Ctrl-C to the driver from their first moment."""

import os
import signal
from concurrent.futures import BrokenExecutor
from pathlib import Path
from typing import Any

import pytest
from loky import ProcessPoolExecutor

from nightscore.engine import executor
from nightscore.engine.backends.local import WorkerPool


def test_a_worker_ignores_ctrl_c_before_it_has_imported_anything(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(executor, "_start_worker", abs)  # in its place nothing is set up
    started = executor.open_executor(1)
    try:
        answer = started.submit(signal.getsignal, signal.SIGINT).result()
    finally:
        executor.end_executor(started)

    assert answer is signal.SIG_IGN
    assert signal.getsignal(signal.SIGINT) is before, "the driver itself listens again"


def test_a_worker_works_where_the_driver_works_now(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    own = str(Path.cwd())
    started = executor.open_executor(1)
    try:
        before = executor.submit(started, os.getcwd).result()
        monkeypatch.chdir(tmp_path)
        after = executor.submit(started, os.getcwd).result()
    finally:
        executor.end_executor(started)

    assert before == own
    assert after == str(tmp_path)


def test_an_executor_that_grows_keeps_its_processes() -> None:
    started = executor.open_executor(1)
    try:
        first = started.submit(os.getpid).result()
        executor.grow_executor(started, 2)
        processes = set(started._processes)
    finally:
        executor.end_executor(started)

    assert first in processes
    assert len(processes) == 2


def test_a_call_after_the_processes_were_ended_is_told_as_their_end() -> None:
    """A run that is cancelled loses its processes at any moment, also right before a call."""
    ended = ProcessPoolExecutor(1)
    ended.shutdown()
    with pytest.raises(BrokenExecutor, match="ended meanwhile"):
        executor.submit(ended, os.getpid)


def test_nobody_waits_for_what_is_called_ahead() -> None:
    class Early:
        """A process that was started before it is needed."""

        def __init__(self, error: Exception | None = None) -> None:
            self.calls: list[Any] = []
            self._error = error

        def submit(self, *call: Any) -> None:
            self.calls.append(call)
            if self._error is not None:
                raise self._error

    pool = WorkerPool()
    pool.call_ahead(print, "a")
    assert pool._executor is None, "no process is started for that"

    early = Early()
    executor._early.add(early)
    pool.call_ahead(print, "a")
    assert pool._executor is early
    assert [call[2:] for call in early.calls] == [(print, "a")]
    pool.call_ahead(print, "b")
    assert len(early.calls) == 1, "it is no longer idle"

    dead = Early(BrokenExecutor("It is gone."))
    executor._early.add(dead)
    other = WorkerPool()
    other.call_ahead(print, "a")
    assert len(dead.calls) == 1
