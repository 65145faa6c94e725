"""The help: plain text that fits narrow terminals and pipes, with bold headings on a terminal."""

import os
import re
import shutil
import sys
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from nightscore.cli.command_catalog import COMMANDS
from nightscore.cli.messages import PROGRAM

MAX_WIDTH = 100
MIN_WIDTH = 24

_HEADING = re.compile(r"^(\S[^\n]*:)$|^(Usage:)", re.MULTILINE)


def help_width() -> int:
    """Columns of the help: those of the terminal, within reason."""
    columns = shutil.get_terminal_size().columns
    return max(min(columns, MAX_WIDTH) - 1, MIN_WIDTH)


def is_styled() -> bool:
    """Whether standard output shows bold text, and is asked to."""
    is_refused = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return sys.stdout.isatty() and not is_refused


def styled(text: str) -> str:
    """The help as the terminal shows it."""
    if not is_styled():
        return text
    return _HEADING.sub(lambda match: f"\033[1m{match[0]}\033[0m", text)


def usage_pieces(command: Any) -> list[str]:
    """What follows a command's name: `[OPTIONS] JOB --from DATE`."""
    pieces = ["[OPTIONS]"]
    for param in command.params:
        if param.param_type_name == "argument":
            name = param.metavar or param.name.upper()
            pieces.append(name if param.required else f"[{name}]")
        elif param.required:
            pieces.append(f"{param.opts[0]} {param.metavar or param.name.upper()}")
    return pieces


def write_parameters(command: Any, context: Any, formatter: Any) -> None:
    """The arguments and options of a command."""
    params = command.get_params(context)
    arguments = [param for param in params if param.param_type_name == "argument"]
    options = [param for param in params if param.param_type_name == "option"]

    rows = [(param.metavar or param.name.upper(), param.help or "") for param in arguments]
    _write_section(formatter, "Arguments", rows)

    shown = [param for param in options if not param.hidden]
    rows = [*map(_option_row, shown), ("-h, --help", "Show this message and exit.")]
    _write_section(formatter, "Options", rows)


def write_groups(commands: dict[str, Any], formatter: Any) -> None:
    """All commands, each with the first sentence of its help, below their headings."""
    for group, names in groupby(commands, key=lambda name: COMMANDS[name].group):
        _write_section(formatter, group, [(name, first_line(commands[name])) for name in names])


def write_below(commands: dict[str, Any], formatter: Any) -> None:
    """The commands of a group of commands."""
    rows = [(name, first_line(command)) for name, command in commands.items()]
    _write_section(formatter, "Commands", rows)


def write_examples(path: Sequence[str], formatter: Any) -> None:
    """An example of a command, or of each group's first command."""
    if path:
        examples = [COMMANDS[path[0]].example]
    else:
        firsts = {command.group: command.example for command in reversed(COMMANDS.values())}
        examples = [*reversed(firsts.values())]

    title = "Example" if len(examples) == 1 else "Examples"
    formatter.write("\n")
    formatter.write_heading(title)
    for example in examples:
        formatter.write(f"  {PROGRAM} {example}\n")


def first_line(command: Any) -> str:
    """The first line of a command's help."""
    return str(command.help or "").split("\n")[0]


def _option_row(param: Any) -> tuple[str, str]:
    names = ", ".join(sorted((*param.opts, *param.secondary_opts), key=len))
    if not (param.is_flag or param.count):
        names += f" {param.metavar or param.name.upper()}"

    notes = []
    if param.envvar:
        notes.append(f"env: {param.envvar}")
    if param.required:
        notes.append("required")
    elif not param.is_flag and isinstance(param.default, (str, int, float)) and param.default:
        notes.append(f"default: {param.default}")

    text = param.help or ""
    return names, f"{text} [{'; '.join(notes)}]" if notes else text


def _write_section(formatter: Any, title: str, rows: Sequence[tuple[str, str]]) -> None:
    if not rows:
        return

    # In a narrow terminal, the text begins on a line of its own.
    first_column = min(28, formatter.width // 3)
    with formatter.section(title):
        formatter.write_dl(rows, col_max=first_column)
