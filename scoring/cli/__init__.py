"""The command `nightscore`. With --json, standard output carries one JSON document and nothing else."""

import sys


def main() -> None:
    """Entry point. The libraries take most of a second to import: an interruption then is one as well."""
    try:
        from scoring.cli.commands import run_command_line
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted; nothing was published.\n")
        sys.exit(130)
    from scoring.process import bound_arenas

    bound_arenas()
    run_command_line()
