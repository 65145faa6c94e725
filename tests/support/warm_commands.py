"""Commands in processes of their own, forked from one that has imported what they need.

To start Python and to import takes most of the time of most commands. What a command starts, starts
as ever. Tests of the start itself, of interruptions and of streams start `python -m nightscore.cli`.
"""

import os
import subprocess
import sys
import tempfile
import types
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

from nightscore.cli import main

COMMANDS = (
    *("approve", "backfill", "baseline", "clean", "drift", "history", "model", "partitions"),
    *("plan", "reject", "releases", "replay", "report", "rollback", "run", "verify"),
)
"""Those whose modules are imported before; others, which may want Prefect, import them as ever."""

_forking = get_context("forkserver")
_forking.set_forkserver_preload(
    [
        "tests.support.worker_memory",
        "deltalake",
        "tests.faults.points",
        "tests.support.warm_commands",
        *(f"nightscore.cli.commands.{name}" for name in COMMANDS),
    ]
)


def run_command(
    *arguments: str, program: Callable[[], None] = main, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run `nightscore` with these arguments to its end.

    Args:
        *arguments: Of the command.
        program: What the process runs in place of the entry point.
        **environment: Variables beside those of this process.
    """
    with tempfile.TemporaryDirectory() as folder:
        output, errors = Path(folder, "output"), Path(folder, "errors")
        variables = os.environ | environment
        process = _forking.Process(
            target=_become, args=(program, arguments, variables, Path.cwd(), output, errors)
        )
        process.start()
        process.join()
        assert process.exitcode is not None
        return subprocess.CompletedProcess(
            arguments, process.exitcode, output.read_text(), errors.read_text()
        )


def _become(
    program: Callable[[], None],
    arguments: tuple[str, ...],
    variables: dict[str, str],
    folder: Path,
    output: Path,
    errors: Path,
) -> None:
    """Make this process a command, as far as it can see."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    for descriptor, path in ((1, output), (2, errors)):
        with path.open("w") as file:
            os.dup2(file.fileno(), descriptor)
    # They stay open as long as the process.
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    sys.argv = ["nightscore", *arguments]
    sys.modules["__main__"] = types.ModuleType("__main__")  # else workers import pytest

    program()
