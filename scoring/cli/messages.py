"""What is said beside the results: errors, and what was understood of a command line.

Needs no library, so that a typing error is answered at once.
"""

import json
import shlex
import sys
from collections.abc import Sequence

from nightscore.schemas.masking import masked
from nightscore.schemas.text import printable

PROGRAM = "nightscore"


def report_error(kind: str, message: str, *, as_json: bool) -> None:
    """Print an error on standard error, and with --json as a document on standard output."""
    message = masked(message)
    if as_json:
        document = {"status": "failed", "error": {"type": kind, "message": message}}
        sys.stdout.write(json.dumps(document, indent=2) + "\n")

    for line in message.split("\n"):
        say(line)


def say(line: str) -> None:
    """Print a line on standard error."""
    sys.stderr.write(printable(masked(line)) + "\n")


def command_line(words: Sequence[str]) -> str:
    """A call of nightscore, as a shell takes it."""
    return shlex.join([PROGRAM, *words])
