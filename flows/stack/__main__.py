"""The process that owns the services of a stack. People call `nightscore up` instead."""

import argparse
import os
import sys
from dataclasses import fields
from pathlib import Path

from nightscore.flows.demo.sample import DEFAULT_ROOT
from nightscore.flows.stack.settings import Settings
from nightscore.flows.stack.supervisor import supervise

COMMANDS = ("up", "down", "status")
"""They are commands of nightscore now; here until the next release."""


def main() -> None:
    """Own a stack, or run the command of nightscore that was here before."""
    command = sys.argv[1] if len(sys.argv) > 1 else ""
    if command in COMMANDS:
        sys.stderr.write(
            f"`python -m nightscore.flows.stack {command}` is called `nightscore {command}` now; "
            "this name goes away in the next release.\n"
        )
        sys.stderr.flush()
        os.execv(  # noqa: S606 (the same process goes on as the command)
            sys.executable, [sys.executable, "-m", "nightscore.cli", *sys.argv[1:]]
        )

    supervise(_parse())


def _parse() -> Settings:
    parser = argparse.ArgumentParser(prog="python -m nightscore.flows.stack")
    parser.add_argument("command", choices=("supervise", *COMMANDS))
    parser.add_argument("--root", default=str(DEFAULT_ROOT))

    for field in fields(Settings):
        if field.name != "root":
            kind = type(field.default)
            parser.add_argument(
                f"--{field.name.replace('_', '-')}", type=kind, default=field.default
            )

    options = vars(parser.parse_args())
    del options["command"]
    options["root"] = str(Path(options["root"]).absolute())
    return Settings(**options)


if __name__ == "__main__":
    main()
