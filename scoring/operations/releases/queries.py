"""Answers from the release log: which version was live when, and how the present one became it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from nightscore.errors import (
    InvalidJobError,
    ModelNotFoundError,
    ScoringError,
    StorageUnavailableError,
)
from nightscore.ledger.canary_log import CanaryLog
from nightscore.ledger.release_history import LiveVersion, version_at
from nightscore.ledger.release_log import Release, ReleaseLog
from nightscore.models.aliases import alias_of_job
from nightscore.operations.releases.target import ReleaseTarget, open_target
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.release_entry import CanaryEntry, ReleaseEntry

SHOWN_MISSING = 10
"""Missing entries that are named."""


@dataclass(frozen=True, slots=True)
class ReleaseList:
    """A release log."""

    target: ReleaseTarget
    releases: list[Release]
    """Oldest first."""
    canaries: list[CanaryEntry]
    """Of the job, oldest first."""
    proposal: ReleaseEntry | None = None
    """What waits for approval. None: nothing does."""
    doubts: tuple[str, ...] = ()
    """Why it may not be the whole log, a sentence each."""


def read_releases(job: ScoringJob) -> ReleaseList:
    """The whole log of a job's alias. It can be read while the registry does not answer.

    Raises:
        InvalidJobError: The job's model names no alias, or another place has the log.
        StorageError: It cannot be read.
    """
    target = open_target(job)
    log, doubts = target.log, []

    try:
        target.alias.check_log(log.place, job.name)
    except (ModelNotFoundError, StorageUnavailableError) as error:
        doubts.append(
            f"{error.what} So nobody has asked whether the log is in {log.place}, or whether the "
            "alias was moved by other means since."
        )

    releases, canaries = log.read(), CanaryLog(log, job.name).read()
    doubts += _missing_entries(releases, log.place)

    return ReleaseList(target, releases, canaries, log.proposal(releases), tuple(doubts))


def _missing_entries(releases: Sequence[Release], place: str) -> Iterator[str]:
    """What the log lacks: entries are numbered without a gap, and never removed."""
    numbers = {release.entry.number for release in releases}
    missing = sorted(set(range(1, max(numbers, default=0))) - numbers)

    if missing:
        named = ", ".join(map(str, missing[:SHOWN_MISSING]))
        more = ", ..." if len(missing) > SHOWN_MISSING else ""
        yield f"Entries are missing in {place}: {named}{more}. Somebody has removed their files."


def live_at(found: ReleaseList, moment: datetime) -> LiveVersion:
    """The version that was live at a time.

    Args:
        found: The log.
        moment: In UTC.

    Raises:
        InvalidJobError: The log begins later.
    """
    live = version_at(found.releases, moment)

    if live is not None:
        return live

    effective = [release for release in found.releases if release.is_effective]
    begins = "it has no entry"

    if effective:
        first = effective[0]
        begins = f"its first entry is of {first.effective_at:%Y-%m-%d %H:%M:%S} UTC"
        if first.entry.before is not None:
            begins += f", when version {first.entry.before.version} was live"

    raise InvalidJobError(
        f"The release log of {found.target.alias} does not say what was live then.",
        found.target.log.place,
        expected=f"an entry of {moment:%Y-%m-%d %H:%M:%S} UTC or before",
        found=begins,
        next_step=f"`{found.target.job.command('runs')}` lists which version each run has used",
    )


def how_it_became_live(job: ScoringJob, version: str) -> str:
    """How the version became what the job's alias means, in words.

    Empty: the model is no alias, or the log does not say.

    Args:
        job: Whose model.
        version: That the alias means now.
    """
    alias = alias_of_job(job)
    if alias is None:
        return ""

    try:
        releases = ReleaseLog(job, alias.model, alias.alias).read()
    except ScoringError:
        return ""

    effective = [release for release in releases if release.is_effective]

    if not effective or effective[-1].entry.after.version != version:
        return ""

    return f"release: {describe(effective[-1])}"


def describe(release: Release) -> str:
    """An entry in one clause."""
    entry, at = release.entry, f"{release.effective_at:%Y-%m-%d %H:%M} UTC"
    note = f": {entry.note}" if entry.note else ""
    version, decision = f"version {entry.after.version}", entry.decision
    decider = decision.by if decision is not None else ""

    if entry.kind == "moved" and entry.before is None:
        return f"{entry.alias} meant {version} when the log began, at {at}"
    if entry.kind == "moved":
        return f"{entry.alias} was moved to {version} by other means, noticed at {at}"
    if entry.kind == "promoted":
        approved = f", approved by {decider}" if decision is not None else ""
        return f"{version} was promoted to {entry.alias} at {at} by {entry.by}{approved}{note}"

    if entry.kind == "rejected":
        why = f": {decision.note}" if decision is not None and decision.note else ""
        return f"{version} was proposed by {entry.by} and rejected by {decider} at {at}{why}"

    demoted = "the one after it" if entry.before is None else f"version {entry.before.version}"
    return f"{demoted} was demoted to {version} at {at} by {entry.by}{note}"
