"""The command `nightscore`. With --json, standard output carries one JSON document and nothing else."""

import sys

SCORING_COMMANDS = ("run", "backfill", "replay")


def main() -> None:
    """Entry point. The libraries take most of a second to import: an interruption then is one as well."""
    from scoring.engine.executor import end_early, start_early

    try:
        if sys.argv[1:2] and sys.argv[1] in SCORING_COMMANDS and not {"-h", "--help", "--dry-run"} & set(sys.argv):
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
