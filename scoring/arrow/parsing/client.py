"""Runs a function in a process apart, so that a parser which aborts costs that process and names the file.

A flipped bit in a Parquet footer ends the process that parses it, from inside Arrow. The driver of a backfill, a flow
and the server of pages therefore hand such bytes to a child, which is started at the first request and kept.
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
from typing import Any, TypeVar

from nightscore.arrow.parsing.server import CALL, ERROR, HEADER, ITEM, STREAM
from nightscore.errors import CorruptFileError, ScoringError, WorkerError

T = TypeVar("T")

CALL_S = 60.0
"""A call parses some MB at most, which takes milliseconds."""
ITEM_S = 600.0
"""Of a stream, which may read from a store: one that stalls for good is given up after 200 s."""
CALL_BYTES = 1 << 30
"""Address space that a call may add: a footer of some KB that decodes to more is a bomb."""
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
ENVIRONMENT = {"ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_ARENA_MAX": "1"}
"""One heap that counts what it takes: the others reserve address space that they never use."""
NEXT_STEP = "write this file again, or move it away; a name that starts with _ or . is skipped"


def call(function: Callable[..., T], *arguments: object, where: str, attempts: int = ATTEMPTS) -> T:
    """What a function makes of its arguments, in a child process.

    Args:
        function: Of a module that imports neither NumPy nor pandas.
        arguments: Pickled.
        where: The file whose bytes these are, for the error.
        attempts: Processes that may die of it before the file is blamed.

    Raises:
        CorruptFileError: The process died of it each time, or gave no answer in time.
        WorkerError: The process cannot be started.
        Exception: What the function has raised.
    """
    died: _DiedError | None = None
    with _turn:
        for _ in range(attempts):
            child = _borrow()
            try:
                child.ask(CALL, (function, arguments, CALL_BYTES, CALL_S))
                _, answer = child.answer(CALL_S)
            except _DiedError as error:
                child.end()
                died = error
                continue
            except BaseException as error:
                _put_back(child, error)
                raise
            _idle.append(child)
            return answer  # type: ignore[no-any-return]
    assert died is not None  # noqa: S101
    raise _explained(where, died) from died


def stream(
    function: Callable[..., Iterator[T]],
    *arguments: object,
    where: str,
    memory_bytes: int = CALL_BYTES,
) -> Iterator[T]:
    """What a generator yields, in a child process of its own meanwhile.

    Raises:
        CorruptFileError: The process died, or gave no answer in time.
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
    except _DiedError as died:
        child.end()
        raise _explained(where, died) from died
    except BaseException as error:
        _put_back(child, error)
        raise
    _idle.append(child)


def start_early() -> None:
    """Start a child that the first request will want, beside the imports of this process."""
    with contextlib.suppress(WorkerError):
        _idle.append(_Child())


def end_all() -> None:
    """End the children of this process that are idle."""
    while _idle:
        with contextlib.suppress(IndexError):
            _idle.pop().end()


class _DiedError(Exception):
    """The child has ended, or was ended since it gave no answer; says how."""


class _NotStartedError(_DiedError):
    """It has ended by itself, with an exit code: no parser's abort does."""


class _RaisedError(Exception):
    """Raised by the function; the child is as it was."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(str(error))
        self.error = error


class _Child:
    """One process, and the pipes to it."""

    def __init__(self) -> None:
        self.parent = os.getpid()
        path = [*sys.path, str(Path(__file__).parents[3])]
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-W", "ignore", "-c", START.format(path=path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # Arrow's last words: "terminate called after throwing ..."
                env=os.environ | ENVIRONMENT,
                bufsize=0,
                start_new_session=True,  # Ctrl-C reaches the whole group, also before this process can ignore it
            )
        except OSError as error:
            raise WorkerError(
                "The process that parses Parquet cannot be started.",
                found=f"{type(error).__name__}: {error}",
                next_step="look at the limits of this user (`ulimit -a`) and at the memory of this machine",
            ) from error

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, kind: bytes, request: object) -> None:
        """Send a request."""
        assert self._process.stdin is not None  # noqa: S101
        content = pickle.dumps(request, protocol=5)
        try:
            self._write(HEADER.pack(kind, len(content)))
            self._write(content)
        except BrokenPipeError:
            raise self._death() from None

    def answer(self, timeout_s: float) -> tuple[bytes, Any]:
        """The kind of the next answer, and what it holds."""
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
            raise _RaisedError(value if isinstance(value, BaseException) else _foreign(*value))
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
        left = memoryview(content)
        while left:
            left = left[self._process.stdin.write(left) or 0 :]

    def _read(self, n_bytes: int, deadline: float) -> bytearray:
        assert self._process.stdout is not None  # noqa: S101
        descriptor = self._process.stdout.fileno()
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        content = bytearray()
        while len(content) < n_bytes:
            left_s = deadline - time.monotonic()
            if left_s <= 0 or not poll.poll(left_s * 1000):
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
    """Knows what an answer is made of, and nothing else: the process that made it has seen untrusted bytes."""

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
    return _Child()


def _put_back(child: _Child, error: BaseException) -> None:
    """After what the function has raised; where it was this process that stopped half way, the child is ended."""
    if not isinstance(error, _RaisedError):
        child.end()
        return
    _idle.append(child)
    raise error.error from None


def _foreign(name: str, text: str) -> ScoringError:
    return WorkerError(
        "The process that parses Parquet failed.",
        found=f"{name}: {text}",
        next_step="run again; if it stays, report it as a defect of nightscore",
    )


def _explained(where: str, died: _DiedError) -> ScoringError:
    if isinstance(died, _NotStartedError):
        return WorkerError(
            "The process that parses Parquet cannot be started.",
            found=f"it {died}",
            next_step="look at what else runs on this machine, then run again",
        )
    return CorruptFileError(
        "A file cannot be read as Parquet.",
        where,
        expected="a complete Parquet file",
        found=f"the process that parses it {died}: the file is damaged, or uses a feature that Arrow cannot read",
        next_step=NEXT_STEP,
    )
