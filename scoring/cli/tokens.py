"""The words of a command line, and what each of them is for typer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

OPTION = "option"
VALUE = "value of an option"


@dataclass(slots=True)
class Token:
    """One word of a command line."""

    text: str
    kind: str
    """`option`, `value of an option`, or the metavar of the argument that it is."""
    option: str = ""
    """The option that it is, or whose value it is."""


def option_names(command: Any) -> dict[str, bool]:
    """The options of a command, and whether a value follows them."""
    names = {"--help": False, "-h": False}
    for param in command.params:
        if param.param_type_name == "option":
            takes_value = not (param.is_flag or param.count)
            names |= dict.fromkeys((*param.opts, *param.secondary_opts), takes_value)
    return names


def argument_names(command: Any) -> list[str]:
    """The metavars of a command's arguments, in their order."""
    return [metavar_of(param) for param in command.params if param.param_type_name == "argument"]


def tokens_of(command: Any, words: Sequence[str]) -> list[Token]:
    """The words with their kinds, as the parser of typer takes them."""
    known = option_names(command)
    arguments = argument_names(command)
    tokens: list[Token] = []
    n_arguments, pending, is_option_possible = 0, "", True

    for word in words:
        name, equals, _ = word.partition("=")
        if pending:
            tokens.append(Token(word, VALUE, pending))
            pending = ""
        elif is_option_possible and word.startswith("-") and word != "-":
            tokens.append(Token(word, OPTION, name))
            is_option_possible = word != "--"
            pending = name if known.get(name) and not equals else ""
        else:
            kind = arguments[min(n_arguments, len(arguments) - 1)] if arguments else ""
            is_extra = n_arguments >= len(arguments) and not kind.endswith("...")
            tokens.append(Token(word, "" if is_extra else kind))
            n_arguments += 1

    return tokens


def asks_for_help(command: Any, arguments: Sequence[str]) -> bool:
    """Whether `--help` is among the options."""
    tokens = tokens_of(command, arguments)
    return any(token.kind == OPTION and token.text in ("-h", "--help") for token in tokens)


def missing(command: Any, arguments: Sequence[str]) -> list[str]:
    """The arguments and options that a call must have and has not."""
    tokens = tokens_of(command, arguments)
    given = {token.kind for token in tokens} | {token.option for token in tokens}
    names: list[str] = []

    for param in command.params:
        if not param.required:
            continue

        if param.param_type_name == "argument":
            if metavar_of(param) not in given:
                names.append(metavar_of(param))
        elif given.isdisjoint(param.opts):
            names.append(f"{param.opts[0]} {metavar_of(param)}")

    return names


def superfluous(command: Any, arguments: Sequence[str]) -> list[str]:
    """The arguments that a command has no place for."""
    return [token.text for token in tokens_of(command, arguments) if token.kind == ""]


def job_in(command: Any, arguments: Sequence[str]) -> str:
    """The job that a call names; empty if it names none."""
    jobs = [token.text for token in tokens_of(command, arguments) if token.kind == "JOB"]
    return jobs[0] if jobs else ""


def with_partition(
    command: Any, arguments: Sequence[str], message: str, partition: str
) -> list[str]:
    """The arguments with another partition in place of the one that an error message names."""
    words = []
    for token in tokens_of(command, arguments):
        is_wrong = token.kind.startswith("PARTITION") and token.text in message
        words.append(partition if is_wrong else token.text)
    return words


def metavar_of(param: Any) -> str:
    """What a parameter is called in the help."""
    return str(param.metavar or param.name.upper())
