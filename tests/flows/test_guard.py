"""The guard of a stack's supervisor: nothing that was started below it outlives it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from nightscore.flows.stack import guard

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="the guard is for Linux"),
    pytest.mark.timeout(60),
]

PYTHON = [sys.executable, "-I", "-S", "-c"]
FLOW_RUN = """
import os, signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("flow_run", os.getpid(), flush=True)
while True:
    signal.pause()
"""
"""It tells nobody that it has ended, and stays when it is asked to end."""
WORKER = f"""
import os, signal, subprocess, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
subprocess.Popen({PYTHON} + [sys.argv[1]], start_new_session=True)
print("worker", os.getpid(), flush=True)
signal.sigwait([signal.SIGTERM])
print("worker stopped", flush=True)
"""
"""It leaves its flow run when it ends."""
SUPERVISOR = f"""
import os, signal, subprocess, sys
sys.path.append({str(Path(guard.__file__).parent)!r})
from guard import die_with_parent
subprocess.Popen(
    {PYTHON} + sys.argv[1:],
    process_group=0,
    preexec_fn=die_with_parent(signal.SIGTERM),
)
signal.signal(signal.SIGTERM, lambda *_: sys.exit("supervisor stopped"))
print("supervisor", os.getpid(), flush=True)
while True:
    signal.pause()
"""


@pytest.fixture
def guarded() -> Iterator[subprocess.Popen[str]]:
    """A guard, with a supervisor, its worker and the worker's flow run below it."""
    command = guard.guarded([*PYTHON, SUPERVISOR, WORKER, FLOW_RUN])
    assert guard.is_guard(command)

    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        yield process
        process.kill()


def started(guarded: subprocess.Popen[str]) -> dict[str, int]:
    """The ids of the processes below the guard, once all have said theirs."""
    assert guarded.stdout is not None
    lines = (guarded.stdout.readline().split() for _ in range(3))
    ids = {name: int(pid) for name, pid in lines}
    assert set(ids) == {"supervisor", "worker", "flow_run"}
    return ids


def said_before_all_ended(guarded: subprocess.Popen[str], ids: dict[str, int]) -> list[str]:
    """What was printed until no process had the pipe open any more."""
    assert guarded.stdout is not None
    lines = guarded.stdout.read().splitlines()
    guarded.wait()
    assert not [name for name, pid in ids.items() if psutil.pid_exists(pid)]
    return sorted(lines)


def test_nothing_is_left_of_a_supervisor_that_is_killed(guarded: subprocess.Popen[str]) -> None:
    ids = started(guarded)

    os.kill(ids["supervisor"], signal.SIGKILL)

    assert said_before_all_ended(guarded, ids) == ["worker stopped"], "in its own time"
    assert guarded.returncode == 128 + signal.SIGKILL


def test_an_orphan_is_ended_with_the_supervisor_that_stops(
    guarded: subprocess.Popen[str],
) -> None:
    ids = started(guarded)
    os.kill(ids["worker"], signal.SIGKILL)

    guarded.terminate()

    assert said_before_all_ended(guarded, ids) == ["supervisor stopped"], "the signal is passed on"
    assert guarded.returncode == 1


def test_a_guard_that_is_killed_stops_the_supervisor(guarded: subprocess.Popen[str]) -> None:
    ids = started(guarded)
    flow_run = psutil.Process(ids["flow_run"])

    guarded.kill()

    assert guarded.stdout is not None
    lines = {guarded.stdout.readline().strip() for _ in range(2)}
    flow_run.kill()  # its guard is gone
    assert lines == {"supervisor stopped", "worker stopped"}


def test_a_guard_imports_the_standard_library_alone() -> None:
    script = "import runpy, sys; runpy.run_path(sys.argv[1]); print(*sys.modules)"
    command = [*PYTHON, script, guard.__file__]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert {name.partition(".")[0] for name in loaded} <= {*sys.stdlib_module_names, "__main__"}
