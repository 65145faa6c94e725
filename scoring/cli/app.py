"""The application and its entry point. It imports the arguments of commands, not what they do."""

import importlib
import os
import signal
import sys
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import typer

from nightscore.cli.checks import usage_message
from nightscore.cli.command_catalog import COMMANDS
from nightscore.cli.corrections import meant_with_job
from nightscore.cli.messages import PROGRAM, report_error
from nightscore.cli.usage import HELP_OPTIONS, CheckedCommand, TopGroup
from nightscore.errors import ScoringError

USAGE_CODE = 2
INTERRUPTED_CODE = 130
COMPLETION = "_NIGHTSCORE_COMPLETE"
"""With this variable, a shell asks what may follow."""


def build_app(
    names: Iterable[str] = tuple(COMMANDS), *, has_completion: bool = True
) -> typer.Typer:
    """The application with these commands. Only the modules of their arguments are imported.

    Args:
        names: Of the commands.
        has_completion: Whether it has the options for shell completion. For them, typer imports
            pydantic, which a mistyped command need not wait for.
    """
    app = typer.Typer(
        cls=TopGroup,
        add_completion=has_completion,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings=HELP_OPTIONS,
    )
    app.callback()(_options)

    for name in names:
        module, _, attribute = COMMANDS[name].target.partition(":")
        target = getattr(importlib.import_module(f"nightscore.cli.arguments.{module}"), attribute)
        if isinstance(target, typer.Typer):
            app.add_typer(target, name=name)
        else:
            app.command(name, cls=CheckedCommand)(target)

    return app


def _show_version(asked: bool) -> None:
    if not asked:
        return

    from nightscore.cli.versions import print_versions

    print_versions(as_json="--json" in sys.argv[1:])
    raise typer.Exit


def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_show_version,
            is_eager=True,
            help="Show the versions of nightscore, Python and the libraries that matter.",
        ),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the stack trace of an unexpected error.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --version: as JSON.")] = False,
) -> None:
    """Offline batch scoring that a team can trust every night."""


def run_command_line() -> None:
    """Run the command, and turn its error into a message and an exit code."""
    # Only the help, and the hint at what was meant by a misspelt name, need the other commands.
    sys.argv[1:] = _as_options(sys.argv[1:])
    called = "".join(sys.argv[1:2])
    is_known = called in COMMANDS and not meant_with_job(sys.argv[1:])
    names = [called] if is_known else [*COMMANDS]
    app = build_app(names, has_completion=called.startswith("-") or COMPLETION in os.environ)

    signal.signal(signal.SIGTERM, _interrupt)

    try:
        code = app(standalone_mode=False, prog_name=PROGRAM) or 0
    except (typer.Abort, KeyboardInterrupt):
        _report("InterruptedRunError", "Interrupted; nothing was published.")
        code = INTERRUPTED_CODE
    except ScoringError as error:
        _report(type(error).__name__, str(error))
        code = error.exit_code
    except Exception as error:
        if "--debug" in sys.argv[1:] and not _is_usage_error(error):
            raise

        code = _report_unexpected(error)

    sys.exit(code)


def _as_options(words: Sequence[str]) -> list[str]:
    """The words with options where commands take them: `--help` for `help`, `--json` at the end."""
    match words:
        case ["help", *rest]:
            return [*rest, "--help"]
        case ["version", *rest]:
            return ["--version", *rest]
        case ["--json", command, *rest] if command in COMMANDS and "--" not in rest:
            return [command, *rest, "--json"]
        case _:
            return [*words]


def _report_unexpected(error: Any) -> int:
    """Report an error that is not nightscore's own; returns the exit code."""
    if _is_usage_error(error):
        is_help = type(error).__name__ == "NoArgsIsHelpError"  # its home differs between versions
        message = error.format_message() if is_help else usage_message(error)
        _report("UsageError", message)
        return USAGE_CODE

    if isinstance(error, OSError):
        what = f"The operating system refused: {error}"
        next_step = (
            "check the disk, the permissions and the limits of this machine, "
            "then run the command again"
        )
    else:
        what = f"A defect of nightscore: {type(error).__name__}: {error}"
        next_step = "report it with the stack trace that `nightscore --debug ...` shows"

    _report(type(error).__name__, f"{what}\n  next:     {next_step}")
    return 1


def _is_usage_error(error: Any) -> bool:
    """Whether typer raised it: an unknown option, a missing argument."""
    return hasattr(error, "format_message")


def _report(kind: str, message: str) -> None:
    report_error(kind, message, as_json="--json" in sys.argv[1:])


def _interrupt(signum: int, frame: object) -> None:
    raise KeyboardInterrupt
