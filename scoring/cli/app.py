"""The application, its entry point, and the options that commands share."""

import contextlib
import importlib
import logging
import signal
import sys
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from nightscore.cli.command_catalog import COMMANDS
from nightscore.cli.show import report_error
from nightscore.errors import PartitionNotFoundError, ScoringError
from nightscore.inputs.jobfile import load_job
from nightscore.inputs.values import check_value
from nightscore.models.cache import ModelCache, default_cache
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.masking import masked
from nightscore.schemas.text import printable

USAGE_CODE = 2
INTERRUPTED_CODE = 130

Job = Annotated[str, typer.Argument(help="Name, path or URL of a job file.", metavar="JOB")]
PartitionValue = Annotated[
    str, typer.Argument(help="Partition value, such as 2013-07-04.", metavar="PARTITION")
]
StartDate = Annotated[datetime, typer.Option("--from", formats=["%Y-%m-%d"], help="First date.")]
EndDate = Annotated[
    datetime, typer.Option("--to", formats=["%Y-%m-%d"], help="Last date, included.")
]
MaxPartitions = Annotated[int, typer.Option(help="Refuse a larger range. Raise it to confirm one.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]
CacheDir = Annotated[
    Path | None,
    typer.Option(
        "--cache-dir", envvar="NIGHTSCORE_CACHE", help="Folder for cached models on this host."
    ),
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Log each step to standard error.")]


def build_app(names: Iterable[str] = tuple(COMMANDS)) -> typer.Typer:
    """The application with these commands. Only their modules are imported."""
    app = typer.Typer(
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)

    for name in names:
        module, _, attribute = COMMANDS[name].target.partition(":")
        target = getattr(importlib.import_module(f"nightscore.cli.commands.{module}"), attribute)
        if isinstance(target, typer.Typer):
            app.add_typer(target, name=name)
        else:
            app.command(name)(target)

    return app


def _options(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the stack trace of an unexpected error.")
    ] = False,
) -> None:
    """Offline batch scoring that a team can trust every night."""


def run_command_line() -> None:
    """Run the command, and turn its error into a message and an exit code."""
    # Only the help, and the hint at what was meant by a misspelt name, need the other commands.
    called = sys.argv[1:2]
    app = build_app(called if COMMANDS.keys() & called else COMMANDS)

    signal.signal(signal.SIGTERM, _interrupt)

    try:
        code = app(standalone_mode=False) or 0
    except typer.Abort:
        code = INTERRUPTED_CODE
    except KeyboardInterrupt:
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


def _report_unexpected(error: Exception) -> int:
    """Report an error that is not nightscore's own; returns the exit code."""
    if _is_usage_error(error):
        _report("UsageError", error.format_message())  # type: ignore[attr-defined]
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


def _is_usage_error(error: Exception) -> bool:
    """Whether typer raised it: an unknown option, a missing argument."""
    return hasattr(error, "format_message")


def _report(kind: str, message: str) -> None:
    report_error(kind, message, as_json="--json" in sys.argv[1:])


def load(job: str) -> ScoringJob:
    """The job with this name, path or URL."""
    return load_job(job)


@contextlib.contextmanager
def known_partition(spec: ScoringJob, value: str | None, command: str) -> Iterator[None]:
    """If nothing is known of a partition whose value cannot be right, name the right command."""
    try:
        yield
    except PartitionNotFoundError:
        check_value(spec, value, command)
        raise


def model_cache(folder: Path | None) -> ModelCache:
    """The cache that --cache-dir names, or the user's."""
    return ModelCache(folder.absolute()) if folder else default_cache()


def log_to(verbose: bool) -> None:
    """Log to standard error: each step, or warnings only."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine("%(asctime)s %(levelname)s %(message)s"))

    logger = logging.getLogger("nightscore")
    logger.handlers = [handler]
    logger.setLevel(logging.INFO if verbose else logging.WARNING)
    logger.propagate = False


class _OneLine(logging.Formatter):
    """Formats each event as one line, whatever the names in it hold."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (logging's own name)
        record.message = printable(masked(record.message))
        return super().formatMessage(record)


def _interrupt(signum: int, frame: object) -> None:
    raise KeyboardInterrupt
