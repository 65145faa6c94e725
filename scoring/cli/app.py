"""The application, its entry point, and the options that commands share."""

import contextlib
import logging
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from nightscore.cli.show import report_error
from nightscore.errors import PartitionNotFoundError, ScoringError
from nightscore.inputs.jobfile import DEFAULT_JOBS, load_job
from nightscore.inputs.values import check_value
from nightscore.models.cache import ModelCache, default_cache
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.masking import masked
from nightscore.schemas.text import printable

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Job = Annotated[str, typer.Argument(help="Name, path or URL of a job file.", metavar="JOB")]
PartitionValue = Annotated[
    str, typer.Argument(help="Partition value, such as 2013-07-04.", metavar="PARTITION")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]
CacheDir = Annotated[
    Path | None,
    typer.Option(
        "--cache-dir", envvar="NIGHTSCORE_CACHE", help="Where models are kept on this host."
    ),
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Log each step to standard error.")]


@app.callback()
def options(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the stack trace of an unexpected error.")
    ] = False,
) -> None:
    """Offline batch scoring that a team can trust every night."""


def run_command_line() -> None:
    """Turns errors into messages and exit codes."""
    signal.signal(signal.SIGTERM, _interrupt)
    as_json = "--json" in sys.argv[1:]
    try:
        sys.exit(app(standalone_mode=False) or 0)
    except typer.Abort:
        sys.exit(130)
    except KeyboardInterrupt:
        report_error("InterruptedRunError", "Interrupted; nothing was published.", as_json=as_json)
        sys.exit(130)
    except ScoringError as error:
        report_error(type(error).__name__, str(error), as_json=as_json)
        sys.exit(error.exit_code)
    except OSError as error:
        if "--debug" in sys.argv[1:]:
            raise
        what = f"The operating system refused: {error}"
        advice = "check the disk, the permissions and the limits of this machine"
        next_step = f"  next:     {advice}, then run the command again"
        report_error(type(error).__name__, f"{what}\n{next_step}", as_json=as_json)
        sys.exit(1)
    except Exception as error:
        if hasattr(error, "format_message"):  # typer's own: an unknown option, a missing argument
            report_error("UsageError", error.format_message(), as_json=as_json)
            sys.exit(2)
        if "--debug" in sys.argv[1:]:
            raise
        what = f"A defect of nightscore: {type(error).__name__}: {error}"
        next_step = "  next:     report it with the stack trace that `nightscore --debug ...` shows"
        report_error(type(error).__name__, f"{what}\n{next_step}", as_json=as_json)
        sys.exit(1)


def load(job: str) -> ScoringJob:
    """The job of a name, path or URL."""
    return load_job(job, jobs_folder())


@contextlib.contextmanager
def known_partition(spec: ScoringJob, value: str | None, command: str) -> Iterator[None]:
    """Where nothing is known of a partition whose value must be a slip, the error is that, with the right command."""
    try:
        yield
    except PartitionNotFoundError:
        check_value(spec, value, command)
        raise


def jobs_folder() -> Path:
    """Where jobs are looked up by their name."""
    return Path(os.environ.get("NIGHTSCORE_JOBS", DEFAULT_JOBS))


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
    """An event is a line, whatever the names in it hold."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (logging's own name)
        record.message = printable(masked(record.message))
        return super().formatMessage(record)


def _interrupt(signum: int, frame: object) -> None:
    raise KeyboardInterrupt
