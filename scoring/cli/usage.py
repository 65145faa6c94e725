"""Commands that understand what is nearly right, and say what to type where it is not.

A command that only reads takes what was meant, and says so. One that changes data is not run: it
prints the corrected call.
"""

import itertools
import shlex
import sys
from collections.abc import Sequence
from typing import Any, ClassVar

from typer.core import TyperCommand, TyperGroup

from nightscore.cli import help_text
from nightscore.cli.checks import (
    changes_data,
    check_arguments,
    check_options,
    interruption,
    path_of,
    settle,
)
from nightscore.cli.command_catalog import COMMANDS
from nightscore.cli.corrections import (
    COMMAND_SYNONYMS,
    Corrected,
    correct,
    meant_with_job,
    near_commands,
)
from nightscore.cli.messages import command_line, report_error
from nightscore.cli.tokens import asks_for_help, with_partition
from nightscore.errors import InterruptedRunError, InvalidJobError, ScoringError
from nightscore.schemas.commands import name_job

HELP = frozenset({"-h", "--help"})
SHOWN_COMMANDS = 3
"""Commands that an unknown one is said to be near to."""
HELP_OPTIONS = {"help_option_names": ["-h", "--help"]}
UNDERSTOOD = "nightscore.understood"
"""In typer's context: the arguments as they were understood."""


class CheckedCommand(TyperCommand):
    """A command whose arguments are corrected, or refused with the corrected call."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments that were meant."""
        if not ctx.resilient_parsing:
            if asks_for_help(self, args):
                _show_help(self, ctx)
            args = self._understood(ctx, args)
            ctx.meta[UNDERSTOOD] = [*args]  # typer takes the list apart

        rest: list[str] = super().parse_args(ctx, args)
        return rest

    def _understood(self, ctx: Any, args: list[str]) -> list[str]:
        path = path_of(ctx)
        corrected = correct(self, args)
        check_options(self, path, corrected)
        settle([*path, *corrected.arguments], corrected)
        check_arguments(self, path, corrected)
        return corrected.arguments

    def get_help_option(self, ctx: Any) -> Any:
        """For the shell's completion; otherwise help is shown before typer parses anything.

        It would import pydantic to convert the option's value.
        """
        return super().get_help_option(ctx) if ctx.resilient_parsing else None

    def invoke(self, ctx: Any) -> Any:
        """Run the command. Errors name the job as it was given."""
        from nightscore.process import bound_arenas

        bound_arenas()
        try:
            return super().invoke(ctx)
        except ScoringError as error:
            self._complete(ctx, error)
            raise
        except KeyboardInterrupt:
            if not changes_data(path_of(ctx)):
                raise  # typer ends the command with 130

            message = interruption(path_of(ctx))
            report_error("InterruptedRunError", message, as_json=bool(ctx.params.get("as_json")))
            ctx.exit(InterruptedRunError.exit_code)

    def _complete(self, ctx: Any, error: ScoringError) -> None:
        """Complete the next step: commands name the job, and the call itself keeps its options."""
        job, partition = ctx.params.get("job"), ctx.params.get("partition")
        if job is None:
            return

        error.next_step = name_job(error.next_step, job, partition)

        path, words = path_of(ctx), ctx.meta.get(UNDERSTOOD, ())
        same_call = f"{command_line([*path, job])} "
        meant = error.next_step.removeprefix(same_call)
        if meant != error.next_step and " " not in meant:
            message = f"{error.what} {error.found}"
            corrected = with_partition(self, words, message, *shlex.split(meant))
            if corrected != words:
                error.next_step = command_line([*path, *corrected])

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """The arguments by their names."""
        return help_text.usage_pieces(self)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Arguments, options and an example."""
        help_text.write_parameters(self, ctx, formatter)
        help_text.write_examples(path_of(ctx), formatter)

    def get_help(self, ctx: Any) -> str:
        """The help, as wide as the terminal."""
        ctx.terminal_width = help_text.help_width()
        return help_text.styled(super().get_help(ctx))


class CheckedGroup(TyperGroup):
    """Commands below a name; one that is unknown is understood or refused with the nearest."""

    synonyms: ClassVar[dict[str, str]] = {}

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the options before the command."""
        options = list(itertools.takewhile(lambda word: word.startswith("-"), args))
        if not ctx.resilient_parsing and not HELP.isdisjoint(options):
            _show_help(self, ctx)

        rest: list[str] = super().parse_args(ctx, args)
        return rest

    def get_help_option(self, ctx: Any) -> Any:
        """For the shell's completion, as that of a command."""
        return super().get_help_option(ctx) if ctx.resilient_parsing else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that was meant."""
        with_job = meant_with_job(args)
        if ctx.resilient_parsing or (args[0] in self.commands and not with_job):
            return super().resolve_command(ctx, args)

        path = path_of(ctx)
        meant = (with_job or self.synonyms.get(args[0], "")).split()
        if meant and meant[0] in self.commands:
            rest = _corrected_rest(self.commands[meant[0]], meant, args[1:])
            rest.notes.insert(0, f"{args[0]} is called {' '.join(meant)}")
            settle([*path, *meant, *rest.arguments], rest)
            return super().resolve_command(ctx, [*meant, *rest.arguments])

        raise self._unknown(path, args)

    def _unknown(self, path: Sequence[str], args: Sequence[str]) -> InvalidJobError:
        known = near_commands(args[0], [*self.commands, *self.synonyms])
        near = list(dict.fromkeys(self.synonyms.get(name, name) for name in known))
        next_step = f"`{command_line([*path, '--help'])}` lists the commands"
        problems: list[str] = []

        if near:
            words = near[0].split()
            rest = _corrected_rest(self.commands[words[0]], words, args[1:])
            problems = [*rest.problems, *rest.notes]
            next_step = command_line([*path, *words, *rest.arguments])

        return InvalidJobError(
            f"There is no command {args[0]}."
            + (f" Did you mean {' or '.join(near[:SHOWN_COMMANDS])}?" if near else ""),
            problems=problems,
            next_step=next_step,
        )

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """The commands in groups, examples, then the options."""
        self.format_commands(ctx, formatter)
        help_text.write_parameters(self, ctx, formatter)
        help_text.write_examples(path_of(ctx), formatter)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The commands, each with its first sentence."""
        commands: dict[str, Any] = dict(self.commands)
        if commands.keys() <= COMMANDS.keys():
            help_text.write_groups(commands, formatter)
        else:
            help_text.write_below(commands, formatter)

    def get_help(self, ctx: Any) -> str:
        """The help, as wide as the terminal."""
        ctx.terminal_width = help_text.help_width()
        return help_text.styled(super().get_help(ctx))


class TopGroup(CheckedGroup):
    """All commands, with what people call them who know other tools."""

    synonyms = COMMAND_SYNONYMS


def _show_help(command: Any, ctx: Any) -> None:
    """Print the help, and end the command."""
    sys.stdout.write(command.get_help(ctx) + "\n")
    ctx.exit()


def _corrected_rest(command: Any, meant: Sequence[str], args: Sequence[str]) -> Corrected:
    """The arguments as the command that was meant takes them."""
    for name in meant[1:]:
        command = command.commands[name]
    if hasattr(command, "commands"):
        return Corrected([*args])
    return correct(command, args, is_wrong=True)
