"""One worker that was forked from a command at its beginning, and takes one call after another.

It imports nothing twice, and needs neither loky nor semaphores. Whoever needs several workers, or
has none that was forked in time, gets loky's.
"""

import contextlib
import pickle
import queue
import struct
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Future
from typing import Any, BinaryIO, TypeVar

from nightscore.engine.forked_process import ForkedProcess

T = TypeVar("T")

LENGTH = struct.Struct("<Q")
"""Before each message: its length in bytes."""

TITLE = "nightscore-work"


class _WorkerTraceError(Exception):
    """Where a worker has raised an error, for its stack trace."""


class ForkedExecutor:
    """Runs calls in one forked process. It breaks when that dies, and stays broken."""

    def __init__(self, prepare: Callable[[], object]) -> None:
        """Fork the process.

        Args:
            prepare: Called in the process before its first call.

        Raises:
            OSError: The system gives no further process.
        """
        self._process = ForkedProcess(lambda *pipes: _serve(prepare, *pipes), TITLE)
        self._calls: queue.SimpleQueue[tuple[Future[Any], bytes] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._broken: BrokenExecutor | None = None

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    @property
    def is_broken(self) -> bool:
        """Whether the process is gone."""
        return self._broken is not None or self._process.poll() is not None

    def submit(self, function: Callable[..., T], *arguments: object) -> "Future[T]":
        """The outcome of a function that the process calls after those submitted before.

        Raises:
            BrokenExecutor: The process is gone.
        """
        future: Future[T] = Future()
        content = pickle.dumps((function, arguments), protocol=5)

        with self._lock:
            if self._broken is not None:
                raise self._broken

            self._calls.put((future, content))
            if self._thread is None:
                # A daemon: a worker that hangs does not keep the command from ending.
                self._thread = threading.Thread(
                    target=self._exchange, name="forked-worker", daemon=True
                )
                self._thread.start()

        return future

    def end(self) -> None:
        """End the process at once. The call under way and those that wait fail."""
        self._process.kill()

        with self._lock:
            thread = self._thread
            self._break_for("A worker process was ended.")

        if thread is not None:
            thread.join()

        self._process.wait()
        self._process.close()

    def _exchange(self) -> None:
        """Hand over one call after another, until the process is gone."""
        while (call := self._calls.get()) is not None:
            future, content = call
            if not future.set_running_or_notify_cancel():
                continue

            try:
                _send(self._process.stdin, content)
                answer = _receive(self._process.stdout)
            except OSError:
                answer = None

            if answer is None:
                self._fail(future)
                return

            _settle(future, answer)

    def _fail(self, future: "Future[Any]") -> None:
        """Fail the call under way and those that wait: the process is gone."""
        code = self._process.wait()
        ending = f"signal {-code}" if code < 0 else f"exit code {code}"

        with self._lock:
            error = self._break_for(f"A worker process ended unexpectedly, with {ending}.")

        future.set_exception(error)
        while (call := self._calls.get()) is not None:
            if call[0].set_running_or_notify_cancel():
                call[0].set_exception(error)

    def _break_for(self, reason: str) -> BrokenExecutor:
        """Accept no call any more. The last entry of the queue ends the thread."""
        if self._broken is None:
            self._broken = BrokenExecutor(reason)
            self._calls.put(None)
        return self._broken


def _serve(prepare: Callable[[], object], requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer calls until the driver is gone. Runs in the worker."""
    # What fails here fails again in a call, which then says why.
    with contextlib.suppress(Exception):
        prepare()

    while (content := _receive(requests)) is not None:
        _send(answers, _answer(content))


def _answer(content: bytes) -> bytes:
    """The result of a call; or its error, with where that was raised."""
    try:
        function, arguments = pickle.loads(content)  # noqa: S301 (sent by the driver)
        return _packed(function(*arguments))
    except BaseException as error:  # noqa: BLE001 (handed over to the driver)
        trace = "".join(traceback.format_exception(error))
        try:
            return _packed(None, error, trace)
        except Exception:  # noqa: BLE001 (a library's own error, which does not pickle)
            return _packed(None, RuntimeError(f"{type(error).__name__}: {error}"), trace)


def _packed(result: object, error: BaseException | None = None, trace: str = "") -> bytes:
    return pickle.dumps((result, error, trace), protocol=5)


def _settle(future: "Future[Any]", answer: bytes) -> None:
    """Give a call its result or error."""
    try:
        result, error, trace = pickle.loads(answer)  # noqa: S301 (sent by a worker)
    except Exception as unreadable:  # noqa: BLE001 (of whichever class was pickled)
        future.set_exception(unreadable)
        return

    if error is None:
        future.set_result(result)
        return

    error.__cause__ = _WorkerTraceError(trace)
    future.set_exception(error)


def _send(pipe: BinaryIO, content: bytes) -> None:
    remaining = memoryview(LENGTH.pack(len(content)) + content)
    while remaining:
        remaining = remaining[pipe.write(remaining) :]


def _receive(pipe: BinaryIO) -> bytes | None:
    """The next message. None: the other process is gone."""
    header = _read(pipe, LENGTH.size)
    return None if header is None else _read(pipe, LENGTH.unpack(header)[0])


def _read(pipe: BinaryIO, n_bytes: int) -> bytes | None:
    """So many bytes; None: the pipe has ended before."""
    content = bytearray()
    while len(content) < n_bytes:
        block = pipe.read(n_bytes - len(content))
        if not block:
            return None
        content += block

    return bytes(content)
