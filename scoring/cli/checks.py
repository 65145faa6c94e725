"""Says what is wrong with a command line, and what to type instead."""

import re
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from nightscore.cli import help_text
from nightscore.cli.command_catalog import COMMANDS
from nightscore.cli.corrections import Corrected, correct_partitions, near_name
from nightscore.cli.messages import PROGRAM, command_line, say
from nightscore.cli.tokens import job_in, missing, option_names, superfluous, tokens_of
from nightscore.errors import InvalidJobError

DONE_IN_STEPS = ("backfill", "rollback", "clean", "demo", "up", "deploy", "alerts", "down")
"""These may have done a part when they are interrupted."""
PLAIN_WORDS = {
    "Value error, ": "",
    "Input should be a valid integer, unable to parse string as an integer": "not a whole number",
    "Input should be a valid number, unable to parse string as a number": "not a number",
    "Input should be": "it should be",
}
"""What typer says in the words of pydantic."""

_CHOICE = re.compile(r"'([^']*)' is not one of (.*)")
_CHOICES = re.compile(r"'([^']*)'")
_FORMATS = re.compile(r"does not match the formats? '[^']*'(, '[^']*')*")
EXAMPLE_TIME = datetime(2026, 11, 24, 12)


def settle(words: Sequence[str], corrected: Corrected) -> None:
    """Say what was understood; refuse it if the command changes data, or if it is not clear.

    Raises:
        InvalidJobError: With the corrected call.
    """
    if not corrected.notes and not corrected.problems:
        return

    if corrected.problems or changes_data(words):
        raise InvalidJobError(
            "The command line is not quite right; nothing was done.",
            problems=[*corrected.problems, *corrected.notes],
            next_step=command_line(words),
        )

    say(f"Understood as: {command_line(words)} ({'; '.join(corrected.notes)})")


def changes_data(words: Sequence[str]) -> bool:
    """Whether a call would change data. A dry run does not."""
    command = COMMANDS.get(words[0]) if words else None
    return command is not None and command.changes_data and "--dry-run" not in words


def check_options(command: Any, path: Sequence[str], corrected: Corrected) -> None:
    """Refuse unknown options, and name the nearest.

    Raises:
        InvalidJobError: With the corrected call.
    """
    known = option_names(command)
    words: list[str] = []
    problems: list[str] = []
    is_value = False

    for i, word in enumerate(corrected.arguments):
        if word == "--":
            words += corrected.arguments[i:]
            break

        name, equals, value = word.partition("=")
        is_unknown = name.startswith("-") and name != "-" and name not in known
        if is_value or not is_unknown or _are_short_options(name, known):
            words.append(word)
            is_value = not is_value and known.get(name, False) and not equals
            continue

        if name == "--debug":
            problems.append("--debug comes before the command")
            path = ["--debug", *path]
            continue

        near = near_name(name, [*known])
        hint = f"did you mean {near}?" if near else f"known: {', '.join(sorted(known))}"
        problems.append(f"there is no option {name}; {hint}")
        words += [near + equals + value] if near else []

    if problems:
        tokens = tokens_of(command, words)
        correct_partitions(tokens, corrected)
        raise InvalidJobError(
            "The command line is not quite right; nothing was done.",
            problems=[*problems, *corrected.problems, *corrected.notes],
            next_step=command_line([*path, *(token.text for token in tokens)]),
        )


def check_arguments(command: Any, path: Sequence[str], corrected: Corrected) -> None:
    """Refuse a call in which something is missing, or that has too many arguments.

    Raises:
        InvalidJobError: With all that is wrong, the usage and an example.
    """
    problems = [
        f"{name.removesuffix('...')} is missing" for name in missing(command, corrected.arguments)
    ]
    extra = superfluous(command, corrected.arguments)
    problems += [f"{text} is one argument too many" for text in extra]
    if not problems:
        return

    next_step = _way_to_help(path)
    if extra and path == ["run"]:
        several = command_line(["backfill", job_in(command, corrected.arguments)])
        next_step = f"`{several} --from DATE --to DATE` scores several dates"

    raise InvalidJobError(
        "The command line is not quite right; nothing was done.",
        expected=_usage(path, command),
        problems=problems,
        next_step=next_step,
    )


def usage_message(error: Any) -> str:
    """What typer says of a command line, with the usage and a call that works."""
    message = str(error.format_message())
    for theirs, ours in PLAIN_WORDS.items():
        message = message.replace(theirs, ours)
    message = _FORMATS.sub(_as_examples, message)

    context = getattr(error, "ctx", None)
    if context is None:
        return message

    path = path_of(context)
    lines = [message, f"  expected: {_usage(path, context.command)}"]

    choice = _CHOICE.search(message)
    near = near_name(choice[1], _CHOICES.findall(choice[2])) if choice else ""
    next_step = _way_to_help(path)
    if choice and near:
        words = [word.replace(choice[1], near) for word in sys.argv[1:]]
        next_step = command_line(words)

    return "\n".join([*lines, f"  next:     {next_step}"])


def interruption(path: Sequence[str]) -> str:
    """What an interruption means that the command did not report itself."""
    if path[0] in DONE_IN_STEPS:
        return "Interrupted. What was done before stays done."
    return "Interrupted; nothing was published."


def path_of(context: Any) -> list[str]:
    """The names of the command that a context of typer is for, the outermost first."""
    names: list[str] = []
    while context.parent is not None:
        names.insert(0, context.info_name)
        context = context.parent
    return names


def _as_examples(formats: re.Match[str]) -> str:
    """Formats of dates as dates that are written in them."""
    examples = [EXAMPLE_TIME.strftime(pattern) for pattern in _CHOICES.findall(formats[0])]
    return f"is no date; write it as {' or '.join(examples)}"


def _usage(path: Sequence[str], command: Any) -> str:
    return " ".join([PROGRAM, *path, *help_text.usage_pieces(command)])


def _way_to_help(path: Sequence[str]) -> str:
    """What to type for the help of a command, and an example of it."""
    next_step = f"`{command_line([*path, '--help'])}` shows the arguments and options"
    if path and path[0] in COMMANDS:
        next_step += f"; an example: {PROGRAM} {COMMANDS[path[0]].example}"
    return next_step


def _are_short_options(name: str, known: dict[str, bool]) -> bool:
    """Whether it is a short option with its value, or several in one word: `-ofile`, `-vh`."""
    return not name.startswith("--") and name[:2] in known
