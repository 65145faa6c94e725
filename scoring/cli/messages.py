"""What is said beside the results: errors, and what was understood of a command line.

Needs no library, so that a typing error is answered at once.
"""

import json
import re
import shlex
import sys
from collections.abc import Sequence

from nightscore.schemas.masking import masked
from nightscore.schemas.text import printable

PROGRAM = "nightscore"

_PLACES = re.compile(r"(nightscore [a-z]+) JOB\b( PARTITION\b)?")
"""Commands in messages of the engine, which does not know how the job was given."""


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


def with_job(message: str, job: str, partition: str | None) -> str:
    """The message with the job and the partition as they were given, in commands that it names."""

    def filled(match: re.Match[str]) -> str:
        place = match[2] or ""
        if place and partition is not None:
            place = f" {shlex.quote(partition)}"
        return f"{match[1]} {shlex.quote(job)}{place}"

    return _PLACES.sub(filled, message)
