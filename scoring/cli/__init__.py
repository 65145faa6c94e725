"""The command `nightscore`. With --json, standard output has one JSON document, nothing else."""

import os
import sys

from nightscore.cli.command_catalog import COMMANDS, NO_COMMAND


def main() -> None:
    """Entry point."""
    from nightscore.cli.streams import guard_streams, settle_exit_code

    guard_streams()
    name = next((argument for argument in sys.argv[1:] if not argument.startswith("-")), "")
    command = COMMANDS.get(name, NO_COMMAND)
    try:
        code = _run()
    except SystemExit as ending:
        code = ending.code if isinstance(ending.code, int) else int(ending.code is not None)
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

    from nightscore.arrow.parsing import client
    from nightscore.engine.executor import end_early, start_early

    is_help = not {"-h", "--help"}.isdisjoint(sys.argv)
    name = "" if is_help else "".join(sys.argv[1:2])
    command = COMMANDS.get(name, NO_COMMAND)
    try:
        # Child processes start now, while this process imports the libraries.
        if command.reads_footers:
            client.start_early()
        if command.scores and "--dry-run" not in sys.argv:
            start_early()

        from nightscore.cli.app import run_command_line
        from nightscore.process import bound_arenas

        bound_arenas()
        run_command_line()
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted; nothing was published.\n")
        return 130
    finally:
        end_early()

    return 0
