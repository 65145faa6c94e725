"""A child process that goes on with what this process has imported.

A child that is started anew imports for half a second; a forked one has that already. But a fork
copies one thread only, and locks that others hold stay locked for ever. So only a process without
any other thread forks, which is what a command is at its beginning.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, NoReturn

Serve = Callable[[BinaryIO, BinaryIO], object]
"""What a child does: it reads requests from the first file, and answers into the second."""

THREADS = Path("/proc/self/task")
TITLE = Path("/proc/self/comm")

_ends: set[BinaryIO] = set()
"""This process's ends of the pipes to its children. A child that kept one open would hide from
another that this process has ended."""


def can_fork() -> bool:
    """Whether this process may be forked: on Linux, while it has one thread.

    Threads of native libraries count too.
    """
    if sys.platform != "linux":
        return False
    try:
        return len([*THREADS.iterdir()]) == 1
    except OSError:
        return False


class ForkedProcess:
    """A child of this process, and the pipes to it. It offers what `subprocess.Popen` does."""

    def __init__(self, serve: Serve, title: str) -> None:
        """Fork. The child calls a function, and ends with it.

        Args:
            serve: Called in the child, with its ends of the pipes.
            title: Names the process for `ps` and `top`; at most 15 characters.

        Raises:
            OSError: The system gives no further process.
        """
        requests, self.stdin = _open_pipe()
        self.stdout, answers = _open_pipe()
        self._code: int | None = None
        self._lock = threading.Lock()

        _ends.update((self.stdin, self.stdout))

        try:
            self.pid = os.fork()
            if self.pid == 0:
                for end in _ends:
                    end.close()
                _serve_and_end(serve, title, requests, answers)
        except OSError:
            self.close()
            raise
        finally:
            requests.close()
            answers.close()

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while the process runs."""
        return self._reap(os.WNOHANG)

    def wait(self) -> int:
        """The exit code, once the process has ended."""
        code = self._reap(0)
        assert code is not None  # noqa: S101
        return code

    def kill(self) -> None:
        """End the process at once."""
        if self._code is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """Close the pipes. A process that waits for a request ends then."""
        for end in (self.stdin, self.stdout):
            _ends.discard(end)
            with contextlib.suppress(OSError):  # what was to be written can be read by nobody
                end.close()

    def _reap(self, options: int) -> int | None:
        with self._lock:
            if self._code is None:
                pid, status = os.waitpid(self.pid, options)
                if pid:
                    self._code = os.waitstatus_to_exitcode(status)
            return self._code


def _open_pipe() -> tuple[BinaryIO, BinaryIO]:
    """Where to read and where to write, without buffers."""
    reading, writing = os.pipe()
    return os.fdopen(reading, "rb", buffering=0), os.fdopen(writing, "wb", buffering=0)


def _serve_and_end(serve: Serve, title: str, requests: BinaryIO, answers: BinaryIO) -> NoReturn:
    """What a child does. It runs nothing of what its parent does at its end."""
    code = 1
    try:
        with contextlib.suppress(OSError):
            TITLE.write_text(title)
        serve(requests, answers)
        code = 0
    finally:
        os._exit(code)
