"""Runs a scoring call with a pool and a progress bar, and ends the command with its exit code."""

import contextlib
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import NoReturn

import typer

from nightscore.cli.records import exit_code, print_record
from nightscore.cli.resolve import log_to
from nightscore.engine.events import Listener
from nightscore.engine.pool import Pool
from nightscore.engine.worker_backend_catalog import open_pool
from nightscore.process import count_startup
from nightscore.runs.execution import RunInterrupted
from nightscore.schemas.job import ScoringJob, Workers
from nightscore.schemas.manifest import Manifest


def with_workers(
    workers: Workers, score: Callable[[Pool, Listener], Manifest], *, as_json: bool, verbose: bool
) -> Manifest:
    """The manifest of the scored run, also if it was interrupted."""
    log_to(verbose)
    count_startup()
    try:
        with open_pool(workers) as pool, _listener(quiet=as_json or verbose) as listener:
            return score(pool, listener)
    except RunInterrupted as stopped:
        return stopped.manifest


def _listener(*, quiet: bool) -> AbstractContextManager[Listener]:
    """A progress bar on a terminal. Its library is not imported where nobody sees the bar."""
    if quiet or not sys.stderr.isatty():
        return contextlib.nullcontext(lambda event: None)

    from nightscore.cli.progress_bar import progress

    return progress(quiet=False)


def print_and_exit(manifest: Manifest, job: ScoringJob, *, as_json: bool) -> NoReturn:
    """Print the manifest of the job's run, and exit with its code."""
    print_record(manifest, job, as_json=as_json)
    raise typer.Exit(exit_code(manifest))
