"""Starts the processes that a command is going to need, before it has read anything."""

import contextlib
import gc

from nightscore.arrow.parsing import client, server
from nightscore.engine import executor
from nightscore.engine.forked_process import ForkedProcess, can_fork
from nightscore.process import available_cores

PARSER_TITLE = "nightscore-read"


def start_early(*, n_workers: int) -> None:
    """Start the process that parses Parquet, and the first workers.

    They are forked once this process has imported what they share with it, so that nobody imports
    that twice. Where that is not possible, it and one worker start anew, beside the imports of this
    process.

    Args:
        n_workers: Executors of one worker that the command is going to open.
    """
    if can_fork():
        _import_shared()

        # A library may have started a thread, or Arrow was there before, set up by somebody else.
        if can_fork() and executor.has_own_memory():
            _fork(min(n_workers, available_cores()))
            return

    client.start_early()
    if n_workers:
        executor.start_early()


def _fork(n_workers: int) -> None:
    # What is imported stays: nobody need look for garbage in it, and its pages stay shared.
    gc.freeze()

    for _ in range(n_workers):
        executor.fork_early()
    with contextlib.suppress(OSError):  # whoever needs it starts it, and then learns why not
        client.adopt(ForkedProcess(server.serve_forked, PARSER_TITLE))


def _import_shared() -> None:
    """Import what workers and the driver need."""
    with executor.environment_of_workers():
        executor.import_engine()

        from nightscore.engine import wave  # noqa: F401 (a worker gets its calls by name)
