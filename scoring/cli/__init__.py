"""The command `nightscore`. With --json, standard output carries one JSON document and nothing else."""

import sys

SCORING_COMMANDS = ("run", "backfill", "replay")
READING_COMMANDS = (*SCORING_COMMANDS, "plan")
"""They read footers first of all."""


def main() -> None:
    """Entry point. The libraries take most of a second to import: an interruption then is one as well."""
    from scoring.engine.executor import end_early, start_early
    from scoring.parsing import client

    command = "" if {"-h", "--help"} & set(sys.argv) else "".join(sys.argv[1:2])
    try:
        if command in READING_COMMANDS:
            client.start_early()
        if command in SCORING_COMMANDS and "--dry-run" not in sys.argv:
            start_early()
        from scoring.cli.commands import run_command_line
        from scoring.process import bound_arenas

        bound_arenas()
        run_command_line()
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted; nothing was published.\n")
        sys.exit(130)
    finally:
        end_early()
