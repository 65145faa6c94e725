"""The command `nightscore`. With --json, standard output carries one JSON document and nothing else."""

import os
import sys

SCORING_COMMANDS = ("run", "backfill", "replay")
READING_COMMANDS = (*SCORING_COMMANDS, "plan")
"""They read footers first of all."""
CHANGING_COMMANDS = (*SCORING_COMMANDS, "rollback", "approve", "reject", "clean", "baseline", "pin")
"""Their exit codes say what they have done, whether or not that could be printed."""


def main() -> None:
    """Entry point."""
    from nightscore.cli.streams import guard_streams, settle_exit_code

    guard_streams()
    command = next((argument for argument in sys.argv[1:] if not argument.startswith("-")), "")
    try:
        code = _run()
    except SystemExit as ending:
        code = ending.code if isinstance(ending.code, int) else int(ending.code is not None)
    sys.exit(settle_exit_code(code, changes_data=command in CHANGING_COMMANDS))


def _run() -> int:
    """The libraries take most of a second to import: an interruption then is one as well."""
    try:
        os.getcwd()  # noqa: PTH109 (a path object would not ask)
    except OSError:
        sys.stderr.write(
            "The working folder is gone.\n  next:     change to a folder that exists, and give the command again\n"
        )
        return 2

    from nightscore.arrow.parsing import client
    from nightscore.engine.executor import end_early, start_early

    command = "" if {"-h", "--help"} & set(sys.argv) else "".join(sys.argv[1:2])
    try:
        if command in READING_COMMANDS:
            client.start_early()
        if command in SCORING_COMMANDS and "--dry-run" not in sys.argv:
            start_early()
        from nightscore.cli.commands import run_command_line
        from nightscore.process import bound_arenas

        bound_arenas()
        run_command_line()
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted; nothing was published.\n")
        return 130
    finally:
        end_early()
    return 0
