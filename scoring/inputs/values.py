"""Refuses values that no partition can have: impossible dates, other formats, a key in front."""

import difflib
import re
from collections.abc import Collection, Iterable
from datetime import UTC, datetime, timedelta

from nightscore.errors import InvalidJobError, ScoringError
from nightscore.inputs.partitions import list_partitions
from nightscore.schemas.dates import month_of, nearest_date, readings
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.partition import NULL_VALUE, decode_folder, parse_time, show_value

SLIP_CUTOFF = 0.75
"""Texts that are more alike than this are the same, one with a slip: EUU and EU."""

DAYS_AGO = {"today": 0, "now": 0, "yesterday": 1}
"""Words for dates. They are suggested, in UTC, and never taken: a run repeated later is another."""

_DIGITS = re.compile(r"\d+")


def backwards(first: object, last: object, next_step: str) -> InvalidJobError:
    """The error of a range whose end is before its start.

    Args:
        first: Date or partition value, as it is shown.
        last: As it is shown.
        next_step: What to do instead.
    """
    return InvalidJobError(
        "The range ends before it starts.",
        expected="a first value that is not after the last",
        found=f"{first} to {last}",
        next_step=next_step,
    )


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

    dates = _dates(job, known)
    if known and not dates and not has_key(job, value):
        _check_slip(job, value, known, command)
        return

    suggestion = _suggested(job, value, known)
    raise InvalidJobError(
        f"{value} is no partition of this job; nothing was done or recorded.",
        job.input.uri,
        expected=_expected(job, suggestion or (dates[-1] if dates else ""), is_date=bool(dates)),
        found=_found(job, value),
        next_step=_of_a_month(job, value, command) or _next_step(job, command, suggestion),
    )


def respelled(job: ScoringJob, value: str | None) -> str | None:
    """The value as the job's folders have it, if it is clear which one was meant; or as it is.

    A key in front and other ways to write the same date are clear. Nothing is read for a value in
    the job's own format.
    """
    if not value or is_written_as_format(job, value):
        return value

    plain = _without_key(job, value)
    meant = _same_date(job, plain or value) or plain
    if meant is None and len(readings(value)) < 2:
        return value

    try:
        known = list_partitions(job)
    except ScoringError:
        return value

    if value in known:
        return value
    if plain in known:
        return plain

    only = _only_known(job, plain or value, known)
    if only is not None:
        return only

    # Where partitions are no dates, any text may be one.
    is_other_text = known and not _dates(job, known) and plain is None
    return value if is_other_text else meant or value


def only_reading(job: ScoringJob, text: str) -> datetime | None:
    """The date that a text with several readings stands for, if the job says so.

    Its partition format may be how the text is written; or only one of the dates has a partition.
    """
    if is_written_as_format(job, text):
        return parse_time(text, job.input.partition_format)

    try:
        known = list_partitions(job)
    except ScoringError:
        return None

    only = _only_known(job, text, known)
    return None if only is None else parse_time(only, job.input.partition_format)


def probable_value(job: ScoringJob, value: str) -> str:
    """The value that was probably meant; as it is, if nothing is wrong; empty: nobody can say."""
    if is_written_as_format(job, value):
        return value

    known = list_partitions(job)
    if value in known:
        return value
    if known and not _dates(job, known) and not has_key(job, value):
        return _slip_of(value, known) or value
    return _suggested(job, value, known)


def _only_known(job: ScoringJob, text: str, known: Collection[str | None]) -> str | None:
    """The one reading of a date that is a partition; None: none of them is, or several are."""
    if not _is_daily(job.input.partition_format):
        return None

    written = [time.strftime(job.input.partition_format) for time in readings(text)]
    there = [value for value in written if value in known]
    return there[0] if len(there) == 1 else None


def _check_slip(job: ScoringJob, value: str, known: Iterable[str | None], command: str) -> None:
    """Refuse a text that is nearly a partition: it is that one, mistyped."""
    near = _slip_of(value, known)
    if not near:
        return

    raise InvalidJobError(
        f"There is no partition {value}; nothing was done or recorded.",
        job.input.uri,
        found=f"{near}, which is nearly the same",
        next_step=_next_step(job, command, near),
    )


def _slip_of(value: str, known: Iterable[str | None]) -> str:
    """The partition that a text is nearly; empty: none is.

    Numbers in it may differ: `store-101` is another store than `store-100`.
    """
    near = _near(value, known, SLIP_CUTOFF)
    is_other_number = _DIGITS.sub("0", near) == _DIGITS.sub("0", value)
    return "" if is_other_number else near


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


def _dates(job: ScoringJob, known: Iterable[str | None]) -> list[str]:
    """The partitions that are written in the job's format."""
    return [value for value in known if value is not None and is_written_as_format(job, value)]


def _near(value: str, known: Iterable[str | None], cutoff: float) -> str:
    """The partition that is written most like a value; empty if none is."""
    by_folded = {show_value(other).casefold(): show_value(other) for other in known}
    near = difflib.get_close_matches(value.casefold(), [*by_folded], n=1, cutoff=cutoff)
    return by_folded[near[0]] if near else ""


def _expected(job: ScoringJob, example: str, *, is_date: bool) -> str:
    if not is_date and example:
        return "the value alone, without the key"

    partition_format = job.input.partition_format
    if not example:
        example = datetime(2026, 11, 28).strftime(partition_format)
    return f"the value alone, a date such as {example} (input.partition_format {partition_format})"


def _found(job: ScoringJob, value: str) -> str:
    if has_key(job, value):
        return f"{value}, with the key {job.input.partition_key} in front"

    dates = [time.strftime(job.input.partition_format) for time in readings(value)]
    if len(dates) > 1:
        return f"{value}, which may be {' or '.join(dates)}"
    if dates or parse_time(value, job.input.partition_format) is not None:
        return f"{value}, a date in another format"
    if nearest_date(value) is not None:
        return f"{value}, a date that does not exist"
    if month_of(value) is not None:
        return f"{value}, a month"
    return f"{value}, which is no date"


def _of_a_month(job: ScoringJob, value: str, command: str) -> str:
    """The command that scores all days of a month; empty if none is meant."""
    month = month_of(value)
    if month is None or command != "run":
        return ""

    first, last = (f"{day:%Y-%m-%d}" for day in month)
    backfill = job.command("backfill", "--from", first, "--to", last)
    return f"`{backfill}` scores all days of a month"


def _next_step(job: ScoringJob, command: str, suggestion: str) -> str:
    if not suggestion:
        return f"`{job.command('partitions')}` lists the values"
    return job.command(command, suggestion)


def _without_key(job: ScoringJob, value: str) -> str | None:
    decoded = decode_folder(value)
    if decoded is not None and decoded[0] == job.input.partition_key:
        return decoded[1]
    return None


def _suggested(job: ScoringJob, value: str, known: Iterable[str | None]) -> str:
    """The value that was probably meant; empty: nobody can say."""
    plain = _without_key(job, value) or value
    n_days_ago = DAYS_AGO.get(plain.casefold())
    if n_days_ago is not None:
        day = datetime.now(UTC) - timedelta(days=n_days_ago)
        return day.strftime(job.input.partition_format)

    if plain in known or is_written_as_format(job, plain):
        return plain

    meant = _same_date(job, plain)
    if meant is not None:
        return meant

    # An ambiguous date has a reading suggested, next to what it may be: the one that is there.
    times = [*readings(plain), nearest_date(plain)]
    written = [time.strftime(job.input.partition_format) for time in times if time is not None]
    if written:
        return next((text for text in written if text in known), written[0])

    return _near(value, known, 0.6)


def _same_date(job: ScoringJob, value: str) -> str | None:
    """The same date in the job's format, if it is clear which date it is."""
    pattern = job.input.partition_format
    time = parse_time(value, pattern)
    if time is not None:
        return time.strftime(pattern)

    times = readings(value)
    if len(times) != 1 or not _is_daily(pattern):
        return None

    written = times[0].strftime(pattern)
    return written if parse_time(written, pattern) == times[0] else None


def _is_daily(pattern: str) -> bool:
    """Whether all times of a day are the same partition."""
    midnight = datetime(2024, 1, 1)
    evening = midnight + timedelta(hours=23, minutes=59, seconds=59)
    return midnight.strftime(pattern) == evening.strftime(pattern)
