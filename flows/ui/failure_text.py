"""Why a partition failed, short enough for messages and pages."""

from nightscore.errors import ScoringError
from nightscore.flows.outcome import Outcome
from nightscore.schemas.manifest import ErrorRecord
from nightscore.schemas.text import printable

RUN_AGAIN = "Once the cause is mended, run again"
MAX_LINES = 12
"""Lines of an error in a message. What is left out are its problems, never its next step."""
MAX_LINE_CHARACTERS = 500
FIELDS = ("where", "expected", "found", "next")


def what_failed(error: Exception) -> str:
    """An error in a few words, for a line of the log."""
    if isinstance(error, ScoringError):
        return error.what
    return f"{type(error).__name__}: {error}"


def error_lines(failure: Outcome) -> list[str]:
    """The lines of an error, without its partition and without most of its problems if many."""
    message = failure.message.removeprefix(f"{failure.partition}: ").strip()
    lines = [line[:MAX_LINE_CHARACTERS] for line in message.splitlines()] or ["no reason given"]
    if len(lines) <= MAX_LINES:
        return lines

    last = lines[-1:]
    shown = lines[: MAX_LINES - 2]
    n_left_out = len(lines) - len(shown) - len(last)
    return [*shown, f"  - and {n_left_out:,} more", *last]


def error_text(failure: Outcome, max_characters: int) -> str:
    """The same as one text. If it is too long, its end is kept: that is what to do next."""
    *others, last = error_lines(failure)
    text = "\n".join([*others, last])
    if len(text) <= max_characters or not others:
        return text[:max_characters]

    n_left = max(max_characters - len(last), 0)
    return "\n".join(others)[:n_left] + f"…\n{last}"


def error_fields(failure: Outcome) -> dict[str, str]:
    """The parts of an error, as programs want them: what, where, expected, found, next."""
    error = failure.error
    fields = _fields_of_text(failure) if error is None or not error.what else _fields_of(error)
    return {name: printable(text[:MAX_LINE_CHARACTERS]) for name, text in fields.items()}


def _fields_of(error: ErrorRecord) -> dict[str, str]:
    return {
        "what": error.what,
        "where": error.where,
        "expected": error.expected,
        "found": error.found,
        "next": error.next_step,
    }


def _fields_of_text(failure: Outcome) -> dict[str, str]:
    """The parts of an error as `ScoringError` prints it.

    Prefect's server keeps the message of a run that failed as a whole, and no more.
    """
    what, *lines = error_lines(failure)
    fields = {"what": what} | dict.fromkeys(FIELDS, "")
    for line in lines:
        name, _, text = line.strip().partition(":")
        if name in FIELDS:
            fields[name] = text.strip()

    return fields
