"""The process in which untrusted bytes are parsed: answers one request after another until its parent is gone.

Started by `nightscore.arrow.parsing.client`. Started light, since importing NumPy and cloudpickle takes
longer than parsing all footers of a usual partition.
"""

import contextlib
import math
import os
import pickle
import resource
import signal
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

HEADER = struct.Struct("<cQ")
"""Before each message: its kind, and its length in bytes."""
RESULT, ITEM, ERROR = b"r", b"i", b"e"
"""An answer, one of several before the last, or what the function has raised."""
CALL, STREAM = b"c", b"s"
NO_MORE = object()
GRACE_S = 5
"""Seconds after which a process ends by itself that its parent should have ended."""
LEFT_OUT = ("numpy", "cloudpickle", "pandas")


def main() -> None:
    """Serve standard input and output. What libraries print goes nowhere."""
    for stop in (
        signal.SIGINT,
        signal.SIGTERM,
    ):  # the parent's to handle: this process ends with it
        signal.signal(stop, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
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
    """The next message; None: there will be none."""
    header = file.read(HEADER.size)
    if len(header) < HEADER.size:
        return None
    kind, n_bytes = HEADER.unpack(header)
    return kind, file.read(n_bytes)


def _answers(kind: bytes, content: bytes) -> Iterator[tuple[bytes, bytes]]:
    try:
        function, arguments, memory_bytes, seconds = pickle.loads(content)  # noqa: S301 (from the parent)
        _limit(memory_bytes)
        if kind == CALL:
            with _limited_time(seconds):
                answer = _packed(function(*arguments))
            yield RESULT, answer
            return
        items = function(*arguments)
        while True:
            with _limited_time(seconds):
                item = next(items, NO_MORE)
                answer = b"" if item is NO_MORE else _packed(item)
            if item is NO_MORE:
                break
            yield ITEM, answer
        yield RESULT, _packed(None)
    except Exception as error:  # noqa: BLE001 (handed over to the parent)
        yield ERROR, _packed_error(error)


@contextlib.contextmanager
def _limited_time(seconds: float) -> Iterator[None]:
    """The kernel ends this process after so long, also where a native parser loops and its parent is gone."""
    signal.alarm(math.ceil(seconds) + GRACE_S)
    try:
        yield
    finally:
        signal.alarm(0)


def _packed(value: Any) -> bytes:
    return pickle.dumps(value, protocol=5)


def _packed_error(error: Exception) -> bytes:
    """The error itself if the parent knows its class, else its name and its words."""
    if type(error).__module__.split(".")[0] in ("builtins", "pyarrow", "nightscore"):
        with contextlib.suppress(Exception):
            return _packed(error)
    return _packed((type(error).__name__, str(error)[:2000]))


def _limit(n_bytes: int) -> None:
    """Let this process take so much more address space than it has now; allocations beyond fail."""
    if sys.platform != "linux":
        return
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = taken + n_bytes
    resource.setrlimit(
        resource.RLIMIT_AS, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard)
    )


def load_arrow() -> None:
    """Import Arrow without what it can do without."""
    for name in LEFT_OUT:
        sys.modules[name] = None  # type: ignore[assignment]  # importing it raises ImportError
    import pyarrow.parquet  # noqa: F401
