"""What a process may use in a container, and threads that do not keep it alive."""

import contextvars
import importlib.metadata
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from nightscore import process
from nightscore.process import (
    available_bytes,
    available_cores,
    installed_version,
    start_daemon,
)

MIB = 1 << 20


@pytest.fixture
def container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands for the control groups of a container."""
    monkeypatch.setattr(process, "CONTROL_GROUPS", tmp_path)
    return tmp_path


def test_a_container_s_limits_count(container: Path) -> None:
    (container / "memory.max").write_text(f"{64 * MIB}\n")
    (container / "memory.current").write_text(f"{50 * MIB}\n")
    (container / "memory.stat").write_text(f"anon {30 * MIB}\ninactive_file {10 * MIB}\n")
    (container / "cpu.max").write_text("150000 100000\n")
    assert available_bytes() == 24 * MIB
    assert available_cores() == 1
    # What is over the limit already leaves nothing.
    (container / "memory.current").write_text(f"{90 * MIB}\n")
    assert available_bytes() == 0


def test_without_limits_the_machine_counts(container: Path) -> None:
    machine = available_cores()
    (container / "memory.max").write_text("max\n")
    (container / "cpu.max").write_text("max 100000\n")
    assert available_bytes() > MIB
    assert available_cores() == machine


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


@pytest.mark.parametrize("name", ["nightscore", "numpy", "pyarrow", "scikit-learn", "pydantic"])
def test_a_version_is_read_without_the_rest_of_its_file(name: str) -> None:
    assert installed_version(name) == importlib.metadata.version(name)


def test_what_is_not_installed_has_no_version() -> None:
    with pytest.raises(importlib.metadata.PackageNotFoundError):
        installed_version("no-such-distribution")
