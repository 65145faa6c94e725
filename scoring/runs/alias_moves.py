"""Notices that somebody has moved the alias of a job's model by other means than `promote`.

MLflow keeps no history of aliases. So what a run finds differs from the release log is entered
there. A run never fails of it.
"""

from datetime import datetime

from nightscore.errors import ConflictError, ScoringError
from nightscore.ledger.release_log import Release, ReleaseLog
from nightscore.models.aliases import Alias, alias_of_job
from nightscore.models.registries.protocol import ModelVersion
from nightscore.process import installed_version, user_and_host
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.release_entry import ReleaseEntry, VersionRecord


def note_alias_move(job: ScoringJob, now: datetime, found: ModelVersion | None = None) -> list[str]:
    """Enter into the release log what it does not know: the alias means another version.

    A job without the section `release` keeps no log of its own: there, nothing is written before
    the first `nightscore promote`.

    Args:
        job: Whose run begins.
        now: In UTC.
        found: What the alias meant when it was resolved. None: it is looked up.

    Returns:
        Warnings for the run's record.
    """
    alias = alias_of_job(job)

    if alias is None:
        return []

    try:
        return _note(job, alias, now, found)
    except ScoringError as error:
        return [f"the release log of {alias} was not looked at: {error.what}"]


def _note(job: ScoringJob, alias: Alias, now: datetime, found: ModelVersion | None) -> list[str]:
    log = ReleaseLog(job, alias.model, alias.alias)
    newest = log.newest()

    if newest is None and job.release is None:
        return []

    known = known_version(newest)
    is_known = found is not None and found.version == known

    if is_known or (newest is not None and newest.is_pending):
        return []

    noted = alias.noted_log()
    if noted not in (None, log.place):
        return [
            f"the releases of {alias} are logged in {noted}, not in {log.place}, so this job's "
            "runs enter nothing; name that place as release.log"
        ]

    entry = enter_move(job, alias, log, newest, now)
    if entry is None or entry.before is None:
        return []

    return [
        f"somebody moved {alias} by other means, from version {entry.before.version} to "
        f"{entry.after.version}; the release log has it as entry {entry.number}"
    ]


def known_version(newest: Release | None) -> str | None:
    """The version that the alias should mean by the newest entry. None: the log has none.

    An entry that was abandoned did not move the alias.
    """
    if newest is None:
        return None
    if newest.is_effective:
        return newest.entry.after.version
    return newest.entry.before.version if newest.entry.before is not None else None


def enter_move(
    job: ScoringJob, alias: Alias, log: ReleaseLog, newest: Release | None, now: datetime
) -> ReleaseEntry | None:
    """Enter that the alias means another version than the log says.

    The alias is read after the log: an entry that somebody adds in between has the number of this
    one, so that this one is refused.

    Returns:
        The entry. None: the alias means what the log says, or somebody else was first.
    """
    version, known = alias.version(), known_version(newest)

    if version is None or version == known:
        return None

    entry = ReleaseEntry(
        number=newest.entry.number + 1 if newest else 1,
        kind="moved",
        registry=alias.shown_registry,
        model=alias.model,
        alias=alias.alias,
        before=VersionRecord(version=known) if known is not None else None,
        after=VersionRecord(version=version),
        job=job.name,
        by=user_and_host(),
        at=now,
        engine=installed_version("nightscore"),
        jobs=(job.name,),
    )

    try:
        log.append(entry)
    except ConflictError:
        return None

    log.note_job(job, now)
    return entry
