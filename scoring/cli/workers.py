"""Calls that need workers: with a pool and a progress bar around them, and an exit code after them."""

from collections.abc import Callable
from typing import NoReturn

import typer

from nightscore.cli.app import log_to
from nightscore.cli.show import err, exit_code, print_record, progress
from nightscore.engine.backends import open_pool
from nightscore.engine.events import Listener
from nightscore.engine.pool import Pool
from nightscore.runs.execution import RunInterrupted
from nightscore.schemas.job import Workers
from nightscore.schemas.manifest import Manifest


def with_workers(
    workers: Workers, score: Callable[[Pool, Listener], Manifest], *, as_json: bool, verbose: bool
) -> Manifest:
    """The record of what was scored, also if it was interrupted."""
    log_to(verbose or not err.is_terminal)
    try:
        with open_pool(workers) as pool, progress(quiet=as_json or verbose) as listener:
            return score(pool, listener)
    except RunInterrupted as stopped:
        return stopped.manifest


def print_and_exit(manifest: Manifest, *, as_json: bool) -> NoReturn:
    """The last words of a command about one run."""
    print_record(manifest, as_json=as_json)
    raise typer.Exit(exit_code(manifest))
