"""Turns what was typed into what commands work with: a job, a partition value, a cache."""

import contextlib
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

from nightscore.cli.messages import command_line, say
from nightscore.errors import InvalidJobError, PartitionNotFoundError
from nightscore.inputs.jobfile import load_job
from nightscore.inputs.partitions import parse_value
from nightscore.inputs.values import backwards, check_value, is_written_as_format, respelled
from nightscore.models.cache import ModelCache, default_cache
from nightscore.schemas.dates import is_like_a_date, nearest_date, readings
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.masking import masked
from nightscore.schemas.partition import order_of, show_value
from nightscore.schemas.text import printable


def load(job: str) -> ScoringJob:
    """The job with this name, path or URL, for a command that scores, publishes or releases.

    Raises:
        InvalidJobError: It cannot be read, or a challenger is named; with the corrected call.
    """
    spec = load_job(job)
    if spec.champion is not None:
        from nightscore.runs.owner import not_by_itself

        own = spec.champion.given_as
        corrected = command_line([own if word == job else word for word in sys.argv[1:]])
        raise not_by_itself(spec, f"give the job itself: `{corrected}`")
    return spec


def load_any(job: str) -> ScoringJob:
    """The job with this name, path or URL, or that of a challenger (`JOB@LABEL`).

    It is for commands that look at what was done.
    """
    return load_job(job)


def read_value(spec: ScoringJob, text: str) -> str | None:
    """The partition value that was meant, for a command that only reads.

    It says on standard error what it understood, if that is not what was typed.
    """
    value = parse_value(text)
    meant = respelled(spec, value)
    if meant == value:
        return value

    say(f"Understood {text} as {show_value(meant)}.")
    return meant


def read_range(
    spec: ScoringJob, start: str | None, end: str | None, command: str
) -> tuple[str | None, str | None]:
    """The first and last partition value of --from and --to; None: no bound.

    Args:
        spec: The job.
        start: As it was typed.
        end: As it was typed.
        command: The nightscore command, for the corrected line.

    Raises:
        InvalidJobError: A date does not exist, or the range ends before it starts.
    """
    first = _read_bound(spec, start, "--from", command)
    last = _read_bound(spec, end, "--to", command)

    pattern = spec.input.partition_format
    if first and last and order_of(last, pattern) < order_of(first, pattern):
        raise backwards(first, last, spec.command(command, "--from", last, "--to", first))

    return first, last


def _read_bound(spec: ScoringJob, text: str | None, option: str, command: str) -> str | None:
    """The first or last value to show; None: all.

    Raises:
        InvalidJobError: It is a date that does not exist.
    """
    value = read_value(spec, text) if text else None
    is_odd = value is not None and not is_written_as_format(spec, value)
    if value is None or not is_odd or not is_like_a_date(value) or readings(value):
        return value

    nearest = nearest_date(value)

    near = f"{nearest:{spec.input.partition_format}}" if nearest else ""
    raise InvalidJobError(
        "The range begins or ends on a date that does not exist.",
        option,
        found=value,
        next_step=spec.command(command, option, near),
    )


def exact_value(spec: ScoringJob, text: str) -> str | None:
    """The partition value, for a command that changes data. It guesses nothing.

    Raises:
        InvalidJobError: Another value was meant; with the corrected call.
    """
    value = parse_value(text)
    meant = respelled(spec, value)
    if meant == value:
        return value

    shown = show_value(meant)
    words = [shown if word == text else word for word in sys.argv[1:]]
    raise InvalidJobError(
        f"{text} is no partition of this job; nothing was done or recorded.",
        spec.input.uri,
        expected=f"the value alone, as the job's folders have it: {shown}",
        found=text,
        next_step=command_line(words),
    )


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
