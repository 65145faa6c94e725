"""Runs a function in a separate process, so that a parser that aborts ends only that process.

A flipped bit in a Parquet footer ends the process that parses it, from inside Arrow. The driver of
a backfill, a flow and the report server therefore hand such bytes to a child process. It is started
at the first request and reused. If it dies, the error names the file.
"""

import atexit
import contextlib
import io
import os
import pickle
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Protocol, TypeVar

from nightscore.arrow.parsing import server
from nightscore.arrow.parsing.server import CALL, ERROR, HEADER, ITEM, STREAM
from nightscore.errors import CorruptFileError, ScoringError, WorkerError
from nightscore.process import working_folder

T = TypeVar("T")

CALL_S = 60.0
"""Timeout of a call. It parses a few MB at most, which takes milliseconds."""

ITEM_S = 600.0
"""Timeout of an item of a stream. It may read from a store, which is given up after 200 s if it
stalls."""

CALL_BYTES = 1 << 30
"""Address space that a call may add: a footer of a few KB that decodes to more is a bomb."""

PIPE_BYTES = 1 << 20

ATTEMPTS = 2
"""A process may also die for another reason, such as the kernel's out-of-memory killer."""

START = """
import sys

sys.path[:] = {path!r}
from nightscore.arrow.parsing import server

server.load_arrow()
server.main()
"""

NEXT_STEP = "write this file again, or move it away; a name that starts with _ or . is skipped"


def call(function: Callable[..., T], *arguments: object, where: str, attempts: int = ATTEMPTS) -> T:
    """The result of a function, called in a child process.

    Args:
        function: From a module that imports neither NumPy nor pandas.
        arguments: Pickled.
        where: The file whose bytes these are, for the error.
        attempts: Processes that may die before the file is blamed.

    Raises:
        CorruptFileError: The process died each time, or did not answer in time.
        WorkerError: The process cannot be started.
        Exception: What the function has raised.
    """
    death: _DiedError | None = None

    with _turn:
        for _ in range(attempts):
            child = _borrow()
            try:
                child.ask(CALL, (function, arguments, CALL_BYTES, CALL_S))
                _, answer = child.answer(CALL_S)
            except _DiedError as error:
                child.end()
                death = error
                continue
            except BaseException as error:
                _hand_back_after(child, error)
                raise

            _idle.append(child)
            return answer  # type: ignore[no-any-return]

    assert death is not None  # noqa: S101

    raise _explain_death(where, death) from death


def stream(
    function: Callable[..., Iterator[T]],
    *arguments: object,
    where: str,
    memory_bytes: int = CALL_BYTES,
) -> Iterator[T]:
    """The items of a generator, which runs in a child process of its own.

    Raises:
        CorruptFileError: The process died, or did not answer in time.
        WorkerError: The process cannot be started.
        Exception: What the generator has raised.
    """
    child = _borrow()

    try:
        child.ask(STREAM, (function, arguments, memory_bytes, ITEM_S))
        while True:
            kind, item = child.answer(ITEM_S)
            if kind != ITEM:
                break
            yield item
    except _DiedError as death:
        child.end()
        raise _explain_death(where, death) from death
    except BaseException as error:
        _hand_back_after(child, error)
        raise

    _idle.append(child)


def start_early() -> None:
    """Start a child for the first request, while this process is still importing."""
    with contextlib.suppress(WorkerError):
        _idle.append(_Child(_start()))


def adopt(process: "ChildProcess") -> None:
    """Take a process for the first request that calls `server.serve_forked`.

    Args:
        process: Forked from this one, with Arrow imported.
    """
    _idle.append(_Child(process))


def end_all() -> None:
    """End the children of this process that are idle."""
    while _idle:
        with contextlib.suppress(IndexError):
            _idle.pop().end()


class _DiedError(Exception):
    """The child has ended, or was ended because it did not answer. Says how."""


class _NotStartedError(_DiedError):
    """The child has ended with an exit code. No parser's abort does that."""


class _RaisedError(Exception):
    """The function has raised an error. The child is unharmed."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(str(error))
        self.error = error


class ChildProcess(Protocol):
    """A process with pipes to it, as `subprocess` starts it."""

    @property
    def stdin(self) -> IO[bytes] | None:
        """Where requests go."""
        ...

    @property
    def stdout(self) -> IO[bytes] | None:
        """Where answers come from."""
        ...

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        ...

    def wait(self) -> int:
        """The exit code, once it has ended."""
        ...

    def kill(self) -> None:
        """End it at once."""
        ...


def _start() -> ChildProcess:
    """A new process.

    Raises:
        WorkerError: It cannot be started.
    """
    path = [*sys.path, str(Path(__file__).parents[3])]

    try:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", "-W", "ignore", "-c", START.format(path=path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # Arrow's last words: "terminate called after throwing ..."
            stderr=subprocess.DEVNULL,
            env=os.environ | server.ENVIRONMENT,
            bufsize=0,
            # Ctrl-C reaches the whole group, even before the child can ignore it.
            start_new_session=True,
        )
    except OSError as error:
        raise WorkerError(
            "The process that parses Parquet cannot be started.",
            found=f"{type(error).__name__}: {error}",
            next_step="look at the limits of this user (`ulimit -a`) and at the memory of this "
            "machine",
        ) from error


class _Child:
    """One process, and the pipes to it."""

    def __init__(self, process: ChildProcess) -> None:
        self.parent = os.getpid()
        self._process = process

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, kind: bytes, request: object) -> None:
        """Send a request. Relative paths in it are meant from where this process works now."""
        assert self._process.stdin is not None  # noqa: S101
        content = pickle.dumps((working_folder(), request), protocol=5)
        try:
            self._write(HEADER.pack(kind, len(content)))
            self._write(content)
        except BrokenPipeError:
            raise self._death() from None

    def answer(self, timeout_s: float) -> tuple[bytes, Any]:
        """Kind and content of the next answer."""
        deadline = time.monotonic() + timeout_s
        kind, n_bytes = HEADER.unpack(self._read(HEADER.size, deadline))
        content = self._read(n_bytes, deadline)

        try:
            value = _Unpickler(io.BytesIO(content)).load()
        except Exception as error:
            raise _DiedError(
                f"gave an answer that cannot be read ({type(error).__name__})"
            ) from error

        if kind == ERROR:
            if isinstance(value, BaseException):
                raise _RaisedError(value)
            raise _RaisedError(_foreign_error(*value))

        return kind, value

    def end(self) -> None:
        """End the process at once."""
        if self.parent != os.getpid():
            return
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None  # noqa: S101
            with contextlib.suppress(OSError):
                pipe.close()
        self._process.wait()

    def _write(self, content: bytes) -> None:
        assert self._process.stdin is not None  # noqa: S101
        remaining = memoryview(content)
        while remaining:
            n_written = self._process.stdin.write(remaining) or 0
            remaining = remaining[n_written:]

    def _read(self, n_bytes: int, deadline: float) -> bytearray:
        assert self._process.stdout is not None  # noqa: S101
        descriptor = self._process.stdout.fileno()
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)

        content = bytearray()

        while len(content) < n_bytes:
            remaining_s = deadline - time.monotonic()
            if remaining_s <= 0 or not poll.poll(remaining_s * 1000):
                raise _DiedError("gave no answer in time, and was ended")
            block = os.read(descriptor, min(n_bytes - len(content), PIPE_BYTES))
            if not block:
                raise self._death()
            content += block

        return content

    def _death(self) -> _DiedError:
        code = self._process.wait()
        if code >= 0:
            return _NotStartedError(f"ended with exit code {code}")
        with contextlib.suppress(ValueError):
            return _DiedError(f"ended with {signal.Signals(-code).name}")
        return _DiedError(f"ended with signal {-code}")


class _Unpickler(pickle.Unpickler):
    """Accepts only what answers consist of: their process has seen untrusted bytes."""

    def find_class(self, module: str, name: str) -> Any:
        value = super().find_class(module, name)
        package = module.split(".")[0]

        if module == "pyarrow.lib" or (module, name) in PLAIN:
            return value
        if isinstance(value, type) and (package == "nightscore" or issubclass(value, Exception)):
            return value
        raise pickle.UnpicklingError(f"{module}.{name} is no part of an answer")


PLAIN = {
    ("array", "array"),
    ("array", "_array_reconstructor"),
    ("builtins", "bytearray"),
    ("builtins", "frozenset"),
    ("builtins", "set"),
    ("collections", "OrderedDict"),
}

_idle: list[_Child] = []

_turn = threading.Lock()
"""Calls take turns: one child serves all threads of a process."""

atexit.register(end_all)


def _borrow() -> _Child:
    while _idle:
        try:
            child = _idle.pop()
        except IndexError:
            break
        if child.parent == os.getpid() and child.is_alive:
            return child
        child.end()
    return _Child(_start())


def _hand_back_after(child: _Child, error: BaseException) -> None:
    """Return a child whose function has raised an error, and raise that.

    If it was this process that stopped half way, the child is ended.
    """
    if not isinstance(error, _RaisedError):
        child.end()
        return
    _idle.append(child)
    raise error.error from None


def _foreign_error(name: str, text: str) -> ScoringError:
    return WorkerError(
        "The process that parses Parquet failed.",
        found=f"{name}: {text}",
        next_step="run again; if the error persists, report it as a defect of nightscore",
    )


def _explain_death(where: str, death: _DiedError) -> ScoringError:
    if isinstance(death, _NotStartedError):
        return WorkerError(
            "The process that parses Parquet cannot be started.",
            found=f"it {death}",
            next_step="look at what else runs on this machine, then run again",
        )

    return CorruptFileError(
        "A file cannot be read as Parquet.",
        where,
        expected="a complete Parquet file",
        found=f"the process that parses it {death}: the file is damaged, or uses a feature that "
        "Arrow cannot read",
        next_step=NEXT_STEP,
    )
