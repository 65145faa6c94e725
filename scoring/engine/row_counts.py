"""Rows that the shards of a run have scored so far: workers note them, the driver adds them up.

A shard's result comes back when the shard is done, and that may take minutes. So the workers of
this machine note after each batch how far they are, in a file with one number a shard. It costs
them some microseconds, and nobody waits for anybody.
"""

import array
import contextlib
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

NUMBER_BYTES = 8
PERIOD_S = 0.25
"""A progress bar need not move more often."""


@contextlib.contextmanager
def row_counts_file(n_shards: int) -> Iterator[str]:
    """The path of a file for the rows of so many shards; it is removed at the end.

    Empty if this machine has no place for it: then nobody sees how far the shards are.
    """
    try:
        descriptor, path = tempfile.mkstemp(prefix="nightscore-rows-")
    except OSError:
        yield ""
        return

    try:
        os.truncate(descriptor, NUMBER_BYTES * n_shards)
        os.close(descriptor)
        yield path
    finally:
        Path(path).unlink(missing_ok=True)


def note_rows(path: str, index: int, n_rows: int) -> None:
    """Note how many rows of a shard are scored. An empty path: nobody wants to know."""
    if not path:
        return

    number = n_rows.to_bytes(NUMBER_BYTES, sys.byteorder)
    # The run may have ended without this shard, and taken the file along.
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_WRONLY)
        try:
            os.pwrite(descriptor, number, NUMBER_BYTES * index)
        finally:
            os.close(descriptor)


def count_rows(path: str) -> int:
    """Rows that all shards together have scored."""
    return sum(array.array("q", Path(path).read_bytes()))


@contextlib.contextmanager
def watched_rows(path: str, tell: Callable[[int], None]) -> Iterator[None]:
    """Tell the number of scored rows while the block runs, whenever it has grown.

    Args:
        path: See `row_counts_file`. Empty: nothing is told.
        tell: Called in a thread of its own.
    """
    if not path:
        yield
        return

    ended = threading.Event()

    def watch() -> None:
        n_told = 0
        while not ended.wait(PERIOD_S):
            n_rows = count_rows(path)
            # A shard that is scored again counts from zero, but what people see never goes back.
            if n_rows > n_told:
                n_told = n_rows
                tell(n_rows)

    watcher = threading.Thread(target=watch, name="watch-rows", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()
