"""Which keys a challenger will score in a backfill: the arms of each date, and how they are known.

A backfill does not have the arms that the job names now. It has those that the partition's last
record has, or else those that the release log has at the end of its date.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time

from nightscore.errors import ScoringError
from nightscore.inputs.partitions import parse_value, partition_date
from nightscore.ledger.canary_log import CanaryLog, canary_at
from nightscore.ledger.release_log import ReleaseLog
from nightscore.models.aliases import alias_of_job
from nightscore.operations.partitions import PartitionStatus
from nightscore.schemas.canary import CanaryRecord
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.model_uri import exact_uri
from nightscore.schemas.partition import order_of
from nightscore.schemas.release_entry import CanaryEntry
from nightscore.schemas.text import counted


@dataclass(frozen=True, slots=True)
class DateArms:
    """Which keys of a partition a challenger will score."""

    text: str
    """Which, and how that is known; or why none."""
    share: float | None = None
    """Of the keys. None: the job's own model scores all rows alone."""

    @property
    def title(self) -> str:
        """Whether there are any, in a word or two."""
        if self.share is None:
            return "No arms"
        return "Arms"


def find_arms(
    job: ScoringJob, models: Mapping[str, str], statuses: Mapping[str, PartitionStatus]
) -> dict[str, DateArms]:
    """The arms of partitions that a backfill will score.

    Empty if there are none in any of them, and the job names no canary whose arms one could expect.

    Args:
        job: The job, with the model that it names itself.
        models: The exact URI of the model that scores, by partition value.
        statuses: State of each of the partitions.
    """
    entries: Sequence[CanaryEntry] = ()
    problem = ""

    if any(statuses[value].model_version is None for value in models):
        try:
            entries = _read_entries(job)
        except ScoringError as error:
            problem = f"the release log cannot be read: {error.what.rstrip('.')}"

    arms = {}
    for value, uri in models.items():
        status = statuses[value]
        found = _recorded(status)
        if status.model_version is None:
            found = _logged(job, value, entries, problem)
        arms[value] = _unless_whole(*found, uri)

    is_expected = job.release is not None and job.release.is_canary
    if is_expected or any(one.share is not None for one in arms.values()):
        return arms
    return {}


def describe_arms(job: ScoringJob, arms: Mapping[str, DateArms]) -> Iterator[str]:
    """The arms of a plan, a sentence for all partitions that have the same.

    Args:
        job: The job.
        arms: By partition value.
    """
    pattern = job.input.partition_format
    alike: dict[DateArms, list[str]] = {}
    for value in sorted(arms, key=lambda value: order_of(parse_value(value), pattern)):
        alike.setdefault(arms[value], []).append(value)

    for one, values in alike.items():
        span = " to ".join(dict.fromkeys([values[0], values[-1]]))
        yield f"{one.title} in {counted(len(values), 'partition')} ({span}): {one.text}"

    release = job.release
    is_alone = any(one.share is None for one in arms.values())

    # A flag is not asked about settled dates either.
    if is_alone and release is not None and release.is_canary and release.flag is None:
        yield (
            "A backfill keeps the arms of each date. "
            f"`{job.command('run', 'PARTITION')}`, with `--force` if it is published, scores a "
            "partition with the arms that the job names now, unless its canary was stopped"
        )


def _read_entries(job: ScoringJob) -> list[CanaryEntry]:
    """The canaries that the release log has of the job, oldest first."""
    alias = alias_of_job(job)
    if alias is None:
        return []
    return CanaryLog(ReleaseLog(job, alias.model, alias.alias), job.name).read()


def _recorded(status: PartitionStatus) -> tuple[CanaryRecord | None, str]:
    """The canary of a published partition, and what says so."""
    if status.canary is None:
        return None, "published without any, and a backfill keeps that"
    return status.canary, "as published"


def _logged(
    job: ScoringJob, value: str, entries: Sequence[CanaryEntry], problem: str
) -> tuple[CanaryRecord | None, str]:
    """The canary of a date by the release log, and what says so."""
    day = partition_date(job, parse_value(value))

    if alias_of_job(job) is None:
        return None, "the job's model is no alias, so there is no release log that has any"
    if problem or day is None:
        return None, problem or "of no date on which the release log could have any"

    canary = canary_at(entries, datetime.combine(day, time.max, UTC))
    if canary is not None:
        return canary, "by the release log at the end of the date"

    return None, _why_none(day, entries)


def _why_none(day: date, entries: Sequence[CanaryEntry]) -> str:
    """Why the release log has no canary at the end of a date."""
    if not entries:
        return "the release log has no canary of this job yet"

    ended = [entry for entry in entries if entry.at.date() <= day]
    if not ended:
        return f"before {entries[0].at:%Y-%m-%d}, when the job's first canary began"

    newest = ended[-1]
    if newest.kind == "stopped":
        return f"the canary was stopped on {newest.at:%Y-%m-%d}"
    return f"the canary ended on {newest.at:%Y-%m-%d}"


def _unless_whole(canary: CanaryRecord | None, source: str, uri: str) -> DateArms:
    """The arms, unless the challenger is the model that scores all rows."""
    if canary is None:
        return DateArms(source)
    if exact_uri(canary.name, canary.version) == uri:
        return DateArms(f"version {canary.version}, the challenger then, scores all rows now")

    by = ", ".join(canary.by)
    return DateArms(
        f"version {canary.version} scores {100 * canary.share:.4g} % of the keys (by {by}, salt "
        f"{canary.salt}), {source}",
        canary.share,
    )
