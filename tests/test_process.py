"""Threads that do not keep a process alive."""

import contextvars
import subprocess
import sys
import threading

import pytest

from nightscore.process import start_daemon


def test_the_outcome_of_a_daemon_thread_is_its_result_or_its_error() -> None:
    assert start_daemon("sum", lambda: 1 + 2).result(10) == 3
    with pytest.raises(ZeroDivisionError):
        start_daemon("divide", lambda: 1 // 0).result(10)
    with pytest.raises(SystemExit):
        start_daemon("exit", sys.exit).result(10)


def test_a_daemon_thread_has_its_name_and_the_caller_s_context() -> None:
    partition = contextvars.ContextVar("partition", default="none")
    partition.set("2024-02-29")
    assert start_daemon("read", partition.get).result(10) == "2024-02-29"
    assert start_daemon("ask", lambda: threading.current_thread().name).result(10) == "ask"


def test_a_daemon_thread_that_hangs_does_not_keep_the_process() -> None:
    code = (
        "import threading\n"
        "from nightscore.process import start_daemon\n"
        "start_daemon('hang', threading.Event().wait)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
