"""The process in which untrusted bytes are parsed.

It answers one request after another until its parent is gone. `nightscore.arrow.parsing.client`
starts it without NumPy and cloudpickle: importing them takes longer than parsing all footers of a
usual partition.
"""

import contextlib
import io
import math
import os
import pickle
import resource
import signal
import struct
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from nightscore.process import bound_arenas

HEADER = struct.Struct("<cQ")
"""Before each message: its kind, and its length in bytes."""

RESULT, ITEM, ERROR = b"r", b"i", b"e"
"""Kinds of answers: the last, one of several before it, or what the function has raised."""

CALL, STREAM = b"c", b"s"
"""Kinds of requests: a function with one result, or a generator."""

GRACE_S = 5
"""Seconds after its timeout at which the process ends itself, if its parent has not ended it."""

ENVIRONMENT = {"ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_ARENA_MAX": "1"}
"""One heap, which counts what it takes. Others reserve address space that they never use."""

LEFT_OUT = ("numpy", "cloudpickle", "pandas")
"""Modules that the process does without."""

_NO_MORE = object()


def main() -> None:
    """Serve standard input and output. What libraries print is discarded."""
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    _serve(requests, answers)


def serve_forked(requests: BinaryIO, answers: BinaryIO) -> None:
    """Serve two pipes, in a process that was forked.

    It is set apart as one that is started: with a session of its own, without the terminal, and
    with one heap. It has NumPy, which costs nothing once it is imported.
    """
    import pyarrow

    os.setsid()
    os.environ.update(ENVIRONMENT)
    bound_arenas(1)
    pyarrow.set_memory_pool(pyarrow.system_memory_pool())  # the variables came too late
    warnings.simplefilter("ignore")

    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)

    raw_requests, raw_answers = cast(io.RawIOBase, requests), cast(io.RawIOBase, answers)
    _serve(io.BufferedReader(raw_requests), io.BufferedWriter(raw_answers))


def _serve(requests: BinaryIO, answers: BinaryIO) -> None:
    # The parent handles signals. This process ends with it.
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, signal.SIG_IGN)

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    with contextlib.suppress(BrokenPipeError):
        while (message := receive(requests)) is not None:
            for kind, content in _answers(*message):
                send(answers, kind, content)


def send(file: BinaryIO, kind: bytes, content: bytes) -> None:
    """Write one message."""
    file.write(HEADER.pack(kind, len(content)))
    file.write(content)
    file.flush()


def receive(file: BinaryIO) -> tuple[bytes, bytes] | None:
    """Kind and content of the next message. None: there will be none."""
    header = file.read(HEADER.size)
    if len(header) < HEADER.size:
        return None
    kind, n_bytes = HEADER.unpack(header)
    return kind, file.read(n_bytes)


def _answers(kind: bytes, content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and content of each answer to a request."""
    try:
        # The request comes from the parent, so its pickle is trusted.
        folder, request = pickle.loads(content)  # noqa: S301
        with contextlib.suppress(OSError):  # it is gone: relative paths lead nowhere
            os.chdir(folder)

        function, arguments, memory_bytes, timeout_s = request
        _limit_memory(memory_bytes)

        if kind == CALL:
            with _limited_time(timeout_s):
                answer = _pack(function(*arguments))
            yield RESULT, answer
            return

        yield from _stream(function(*arguments), timeout_s)
        yield RESULT, _pack(None)
    except Exception as error:  # noqa: BLE001 (handed over to the parent)
        yield ERROR, _pack_error(error)


def _stream(items: Iterator[Any], timeout_s: float) -> Iterator[tuple[bytes, bytes]]:
    """An answer for each item. The time of each is limited."""
    while True:
        with _limited_time(timeout_s):
            item = next(items, _NO_MORE)
            if item is _NO_MORE:
                return
            answer = _pack(item)
        yield ITEM, answer


@contextlib.contextmanager
def _limited_time(seconds: float) -> Iterator[None]:
    """The kernel ends this process after this time.

    That works even if a native parser loops and the parent is gone.
    """
    signal.alarm(math.ceil(seconds) + GRACE_S)
    try:
        yield
    finally:
        signal.alarm(0)


def _pack(value: Any) -> bytes:
    return pickle.dumps(value, protocol=5)


def _pack_error(error: Exception) -> bytes:
    """The error itself if the parent knows its class, else its name and its message."""
    if type(error).__module__.split(".")[0] in ("builtins", "pyarrow", "nightscore"):
        with contextlib.suppress(Exception):
            return _pack(error)
    return _pack((type(error).__name__, str(error)[:2000]))


def _limit_memory(n_bytes: int) -> None:
    """Limit the address space that this process may add to what it has now.

    Allocations beyond the limit fail.
    """
    if sys.platform != "linux":
        return

    n_pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = n_pages * resource.getpagesize() + n_bytes

    _, hard_limit = resource.getrlimit(resource.RLIMIT_AS)
    if hard_limit != resource.RLIM_INFINITY:
        limit = min(limit, hard_limit)

    resource.setrlimit(resource.RLIMIT_AS, (limit, hard_limit))


def load_arrow() -> None:
    """Import Arrow, without the modules that it can do without."""
    for name in LEFT_OUT:
        sys.modules[name] = None  # type: ignore[assignment]  # importing it raises ImportError
    import pyarrow.parquet  # noqa: F401
