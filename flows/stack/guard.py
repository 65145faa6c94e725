"""The parent of a stack's supervisor. It ends whatever the supervisor leaves, on Linux.

A flow run has a session of its own, so that no signal to the worker reaches it. A worker that
ends sends it SIGTERM at most, and then it may wait for minutes for a server that is gone. The
guard adopts all orphans below it (`PR_SET_CHILD_SUBREAPER`, prctl(2)). A process below it always
has a parent below it, or the guard itself. Nothing is left, then, once it has no child.

It is run as a file by `python -I -S`, so that it stays small, and imports the standard library
alone.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

GRACE_S = 20.0
"""For services whose supervisor was killed. The kernel has sent each the signal to stop. They are
in the session of guard and supervisor; a flow run is not."""
POLL_S = 0.05
SET_DEATH_SIGNAL, SET_CHILD_SUBREAPER = 1, 36
"""Options of prctl, from linux/prctl.h."""
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def guarded(command: list[str]) -> list[str]:
    """A command with a guard as its parent; on other systems than Linux the command alone."""
    if not sys.platform.startswith("linux"):
        return command

    return [sys.executable, "-I", "-S", __file__, *command]


def is_guard(command: list[str]) -> bool:
    """Whether this is the command of a guard."""
    return __file__ in command[:4]


def die_with_parent(number: signal.Signals) -> Callable[[], None] | None:
    """A function for a child to call before it starts. The kernel then ends it with its parent.

    Linux only; None elsewhere.
    """
    if not sys.platform.startswith("linux"):
        return None

    prctl, parent = _prctl(), os.getpid()

    def ask() -> None:
        prctl(SET_DEATH_SIGNAL, int(number))
        if os.getppid() != parent:
            os._exit(1)  # the parent died before it was asked

    return ask


def guard(command: list[str]) -> int:
    """Run a command, and return its exit code once nothing below it is left.

    SIGTERM and SIGINT are passed on to it. It gets SIGTERM if the guard is killed.
    """
    if _prctl()(SET_CHILD_SUBREAPER, 1):
        raise OSError(ctypes.get_errno(), "the guard cannot adopt orphans")

    process = subprocess.Popen(command, preexec_fn=die_with_parent(signal.SIGTERM))
    for number in STOP_SIGNALS:
        signal.signal(number, lambda number, _frame: os.kill(process.pid, number))

    _wait_until_ended(process.pid)
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)

    code = process.wait()
    if code != 0:
        # It may not have come to stop its services.
        _wait_for_services(GRACE_S)

    _kill_all()
    return code if code >= 0 else 128 - code


def _wait_until_ended(pid: int) -> None:
    """Return when a child has ended, before it is reaped. Orphans that end meanwhile are reaped."""
    while True:
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
        if ended is None or ended.si_pid == pid:
            return
        os.waitpid(ended.si_pid, 0)


def _wait_for_services(seconds: float) -> None:
    """Return once the children in the guard's own session have ended, or the time is over."""
    deadline = time.monotonic() + seconds

    while os.getsid(0) in _children().values() and time.monotonic() < deadline:
        _reap_or_pause()


def _kill_all() -> None:
    """Kill all children until there is none. The children of one that ends become the guard's."""
    is_left = True
    while is_left:
        for pid in _children():
            # Nobody else reaps it, so the id cannot be another process' by now.
            os.kill(pid, signal.SIGKILL)
        is_left = _reap_or_pause()


def _reap_or_pause() -> bool:
    """Reap a child that has ended, or wait for a moment. False if there is no child at all."""
    try:
        pid, _status = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return False

    if pid == 0:
        time.sleep(POLL_S)
    return True


def _children() -> dict[int, int]:
    """The session of each child by its id, of those that have ended and are not reaped as well."""
    sessions = {}

    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            stat = path.read_text(errors="replace")
        except OSError:
            continue  # it has ended

        # "12 (a name, which may hold brackets) S 11 12 9 …", proc_pid_stat(5)
        _state, parent, _group, session = stat.rpartition(")")[2].split()[:4]
        if int(parent) == os.getpid():
            sessions[int(path.parent.name)] = int(session)

    return sessions


def _prctl() -> Any:
    return ctypes.CDLL(None, use_errno=True).prctl


if __name__ == "__main__":
    sys.exit(guard(sys.argv[1:]))
