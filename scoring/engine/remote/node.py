"""Runs calls on a node of a cluster, each in a child of the cluster's process there.

A cluster's worker runs tasks in threads that nobody can end, in a process that others use too. So
each call has a child: it can be killed when its shard is cancelled or hangs, its address space can
be bounded, its libraries have one thread, and a crash costs one shard. Children stay warm for the
next shard. They end by themselves when there is none, or when the cluster's process is gone.
"""

import atexit
import contextlib
import math
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing import Pipe

from nightscore.engine.remote.calls import Call, Reply

POLL_S = 0.25
"""A call that is cancelled ends its process so soon."""
IDLE_S = 60.0
"""A child that has no call for so long ends, so that a shared cluster has its memory back. The time
between two partitions of a backfill is shorter."""
RETIRED = 75
"""Exit code of a child that has ended because it had no call."""


class UnwantedError(Exception):
    """The call was cancelled; its process is gone."""


def run_call(call: Call, worker: str, is_wanted: Callable[[], bool] = lambda: True) -> Reply:
    """The reply of a process of this node, whatever happens to it.

    Args:
        call: What to run.
        worker: Name of this process in the cluster, for errors.
        is_wanted: Asked four times a second; as soon as it says no, the process is killed.

    Raises:
        UnwantedError: It was cancelled.
    """
    while True:
        child = _take(call)
        try:
            reply = child.ask(call, worker, is_wanted)
        except BaseException:
            child.end()
            raise

        if reply is None:
            continue  # it retired at this very moment

        if reply.outcome in ("done", "raised"):
            with _lock:
                _idle.append(child)
        else:
            child.end()

        return reply


class _Child:
    """A process that answers one call at a time."""

    def __init__(self, call: Call) -> None:
        self._connection, child_end = Pipe()

        path = os.pathsep.join(path for path in sys.path if path)
        environment = os.environ | {"PYTHONPATH": path} | dict(call.environment)

        with child_end:
            # -P: the node's current folder is not where modules come from.
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-P",
                    "-m",
                    "nightscore.engine.remote.child",
                    str(child_end.fileno()),
                    str(IDLE_S),
                ],
                env=environment,
                pass_fds=[child_end.fileno()],
                stdin=subprocess.DEVNULL,
            )

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def ask(self, call: Call, worker: str, is_wanted: Callable[[], bool]) -> Reply | None:
        """The reply; None: the process had retired before."""
        deadline_s = math.inf if call.deadline_s is None else call.deadline_s
        deadline = time.monotonic() + deadline_s
        pid = self._process.pid

        try:
            self._connection.send_bytes(pickle.dumps((call, worker)))

            while not self._connection.poll(POLL_S):
                if not is_wanted():
                    raise UnwantedError(call.key)
                if time.monotonic() > deadline:
                    return Reply("hung", worker=worker, pid=pid)

            content = self._connection.recv_bytes()
            reply: Reply = pickle.loads(content)  # noqa: S301 (from a process of our own)
        except (EOFError, OSError):
            code = self._process.wait()
            if code == RETIRED:
                return None

            how = f"signal {-code}" if code < 0 else f"exit code {code}"

            return Reply("died", cause=f"its process ended by {how}", worker=worker, pid=pid)

        return reply

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        self._connection.close()


_idle: list[_Child] = []
_lock = threading.Lock()


def _end_idle() -> None:
    with _lock:
        while _idle:
            _idle.pop().end()


atexit.register(_end_idle)


def _take(call: Call) -> _Child:
    with _lock:
        while _idle:
            child = _idle.pop()
            if not child.has_ended:
                return child
            with contextlib.suppress(OSError):
                child.end()
    return _Child(call)
