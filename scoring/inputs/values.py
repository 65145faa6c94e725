"""Refuses values that no partition can have: impossible dates, other formats, a key in front."""

import difflib
from collections.abc import Collection
from datetime import datetime

from nightscore.errors import InvalidJobError, ScoringError
from nightscore.inputs.partitions import list_partitions
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.partition import NULL_VALUE, decode_folder, parse_time, show_value

OTHER_FORMATS = ("%Y-%m-%d", "%Y%m%d", "%Y/%m/%d", "%d.%m.%Y", "%Y_%m_%d", "%Y-%m-%dT%H:%M:%S")
"""Ways to write a date that are understood for a hint, and never taken as the value."""


def check_value(job: ScoringJob, value: str | None, command: str = "run") -> None:
    """Refuse a value that must be a typing error, before anything is recorded.

    A partition that exists is never refused. A job's format speaks for its partitions only if some
    of them are written in it, or if there are none yet.

    Args:
        job: The job.
        value: As it was typed.
        command: The nightscore command, for the corrected line.

    Raises:
        InvalidJobError: With the corrected command, where the value can be corrected.
    """
    if value == "":
        raise _empty(job)
    if value is None or is_written_as_format(job, value):
        return

    try:
        known = list_partitions(job)
    except ScoringError:
        return  # reading the partition shows what is wrong with the input

    if value in known:
        return

    has_prefix = has_key(job, value)
    has_dates = any(other and is_written_as_format(job, other) for other in known)
    if known and not has_dates and not has_prefix:
        return  # partitions of this job are not dates: any text may be one

    suggestion = _suggest(job, value, known)
    next_step = f"give the value as `{job.command('partitions')}` shows it"
    if suggestion:
        next_step = job.command(command, suggestion)

    raise InvalidJobError(
        f"{value} is no partition of this job; nothing was done or recorded.",
        job.input.uri,
        expected=_expected(job) if has_dates or not known else "the value alone, without the key",
        found=_found(job, value, has_prefix=has_prefix),
        next_step=next_step,
    )


def _suggest(job: ScoringJob, value: str, known: Collection[str | None]) -> str:
    """The partition that was probably meant; empty: there is none that is like it."""
    plain = _without_key(job, value)
    if plain is not None and plain in known:
        return plain

    corrected = _corrected(job, value)
    if corrected:
        return corrected

    names = [show_value(other) for other in known]
    near = difflib.get_close_matches(value, names, n=1, cutoff=0.6)
    return near[0] if near else ""


def _empty(job: ScoringJob) -> InvalidJobError:
    """Tables take an empty value as a missing one: two partitions would be published as one."""
    key = job.input.partition_key
    return InvalidJobError(
        "An empty partition value cannot be told from a missing one; nothing was done or recorded.",
        f"{job.input.uri}/{key}=/",
        expected="a value of at least one character",
        found="an empty one",
        next_step=f"have the folder's files written to {key}={NULL_VALUE}/, or under a value",
    )


def has_key(job: ScoringJob, value: str) -> bool:
    """Whether the value is a folder's name, `key=value`, rather than its value."""
    return _without_key(job, value) is not None


def is_written_as_format(job: ScoringJob, value: str) -> bool:
    """Whether the value is a date as the job's partition format writes it."""
    time = parse_time(value, job.input.partition_format)
    return time is not None and time.strftime(job.input.partition_format) == value


def _expected(job: ScoringJob) -> str:
    example = datetime(2026, 11, 28).strftime(job.input.partition_format)
    partition_format = job.input.partition_format
    return f"the value alone, a date such as {example} (input.partition_format {partition_format})"


def _found(job: ScoringJob, value: str, *, has_prefix: bool) -> str:
    if has_prefix:
        return f"{value}, with the key {job.input.partition_key} in front"
    if parse_time(value, job.input.partition_format) is not None or _other_date(value) is not None:
        return f"{value}, a date in another format"
    return f"{value}, a date that does not exist"


def _without_key(job: ScoringJob, value: str) -> str | None:
    decoded = decode_folder(value)
    if decoded is not None and decoded[0] == job.input.partition_key:
        return decoded[1]
    return None


def _corrected(job: ScoringJob, value: str) -> str:
    """The value that was meant; empty: it is not clear."""
    meant = _without_key(job, value) or value
    if is_written_as_format(job, meant):
        return meant
    time = parse_time(meant, job.input.partition_format) or _other_date(meant)
    if time is None:
        return ""
    return time.strftime(job.input.partition_format)


def _other_date(value: str) -> datetime | None:
    for pattern in OTHER_FORMATS:
        time = parse_time(value, pattern)
        if time is not None:
            return time
    return None
