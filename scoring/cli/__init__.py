"""The command `nightscore`. With --json, standard output has one JSON document, nothing else."""

import gc
import os
import sys

from nightscore.cli.command_catalog import COMMANDS, NIGHTLY, NO_COMMAND, Command
from nightscore.process import rare_collection

NEW_OBJECTS = 50_000
"""After so many new objects a command looks for garbage: most of what it makes are its imports (4 %
of a short command's CPU), and a long backfill shall not wait for the usual number."""


def main() -> None:
    """Entry point."""
    try:
        from nightscore.cli.streams import guard_streams, settle_exit_code

        guard_streams()
        with rare_collection(NEW_OBJECTS):
            code = _run()
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted; nothing was published.\n")
        sys.exit(130)
    except SystemExit as ending:
        code = ending.code if isinstance(ending.code, int) else int(ending.code is not None)

    name = next((argument for argument in sys.argv[1:] if not argument.startswith("-")), "")
    command = COMMANDS.get(name, NO_COMMAND)

    # Python looks for garbage once more when it ends, in all that was imported.
    gc.freeze()
    sys.exit(settle_exit_code(code, changes_data=command.changes_data))


def _run() -> int:
    """Run the command. Importing the libraries takes most of a second, and can be interrupted."""
    try:
        os.getcwd()  # noqa: PTH109 (a path object would not ask)
    except OSError:
        sys.stderr.write(
            "The working folder no longer exists.\n"
            "  next:     change to another folder, and run the command again\n"
        )
        return 2

    command = COMMANDS.get("".join(sys.argv[1:2]), NO_COMMAND)
    if command.group != NIGHTLY:
        # Records need no plugin. To look for some, pydantic reads a file of each distribution there
        # is, which is a twentieth of a short command. Prefect's commands keep theirs.
        os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

    try:
        _start_processes(command)

        from nightscore.cli.app import run_command_line

        run_command_line()
    finally:
        if "nightscore.engine.executor" in sys.modules:
            from nightscore.engine.executor import end_early

            end_early()

    return 0


def _start_processes(command: Command) -> None:
    """Start child processes now, while this process imports the libraries.

    A call that is not well formed is refused before any process is needed. A partition that was
    scored before is mostly found unchanged, and then needs none either. Nor do most dry runs.
    """
    if not command.reads_footers or "--dry-run" in sys.argv:
        return

    from nightscore.cli.job_names import is_job
    from nightscore.cli.well_formed import job_of

    job = job_of(sys.argv[2:])
    if job is None or not is_job(job):
        return

    if command is COMMANDS["run"]:
        from nightscore.cli.likely_unchanged import has_records

        if has_records(job, sys.argv[2:]):
            return

    from nightscore.cli.early_processes import start_early

    # A backfill scores two small partitions at once, each by a worker of its own.
    n_scoring = 2 if command is COMMANDS["backfill"] else 1
    start_early(n_workers=n_scoring if command.scores else 0)
