"""Begins an entry of the release log: the point from which a release is completed, or given up."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import overload

from nightscore.errors import ConflictError, InvalidJobError
from nightscore.ledger.release_log import Release, next_number
from nightscore.models.registries.protocol import ModelVersion
from nightscore.operations.releases.affected_jobs import find_affected
from nightscore.operations.releases.target import ReleaseTarget
from nightscore.process import installed_version
from nightscore.runs.alias_moves import enter_move, known_version
from nightscore.schemas.release_entry import (
    EvidenceRecord,
    ModelDiffRecord,
    ReleaseEntry,
    ReleaseKind,
    VersionRecord,
)


def read_noticing(target: ReleaseTarget) -> list[Release]:
    """The log, after a look at whether somebody has moved the alias by other means.

    Raises:
        ConflictError: Somebody has. It is entered into the log, and nothing else is done.
    """
    releases = target.log.read()
    if not releases or releases[-1].is_pending:
        return releases

    entry = enter_move(target.job, target.alias, target.log, releases[-1], datetime.now(UTC))
    if entry is None:
        return releases

    known = known_version(releases[-1])

    raise ConflictError(
        f"Somebody has moved {target.alias} by other means; it was left as it is.",
        target.log.place,
        expected=f"version {known}, as the log had it",
        found=f"version {entry.after.version}, which is entry {entry.number} now",
        next_step="find out who moved it and why; then give the command again",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEntry:
    """What an entry is going to say. Its fields are those of `ReleaseEntry`."""

    kind: ReleaseKind
    before: VersionRecord | None
    """What the alias means now. None: there is no alias yet."""
    after: VersionRecord
    by: str
    note: str = ""
    evidence: EvidenceRecord | None = None
    diff: ModelDiffRecord | None = None


@overload
def recorded_version(version: ModelVersion) -> VersionRecord: ...
@overload
def recorded_version(version: None) -> None: ...
def recorded_version(version: ModelVersion | None) -> VersionRecord | None:
    """A version of the model as the log has it."""
    if version is None:
        return None
    return VersionRecord(version=version.version, digest=version.digest_tag or "")


def begin(target: ReleaseTarget, releases: list[Release], new: NewEntry) -> Release:
    """Add the next entry to the log, and have the registered model say where the log is.

    Args:
        target: The alias and its log.
        releases: The log as it was read.
        new: The entry.

    Raises:
        ConflictError: Somebody else has added an entry since.
        InvalidJobError: Somebody else has noted another place as the log, or this log is of another
            registry.
    """
    entry = _next_entry(target, releases, new)

    add(target, entry)

    return Release(entry)


def propose(target: ReleaseTarget, releases: list[Release], new: NewEntry) -> ReleaseEntry:
    """Add the next entry as a proposal. The arguments are those of `begin`.

    Raises:
        ConflictError: Somebody else has proposed another version since.
        InvalidJobError: As of `begin`.
    """
    entry = _next_entry(target, releases, new)
    proposal = entry.model_copy(update={"proposed_at": entry.at})

    try:
        target.log.propose(proposal)
    except ConflictError as error:
        raise ConflictError(
            f"Somebody else has proposed a version for {target.alias}; nothing was changed.",
            target.log.place,
            expected="no proposal that waits",
            found=f"one for entry {entry.number}",
            next_step=f"`{target.job.command('releases')}` shows it",
        ) from error

    return proposal


def _next_entry(target: ReleaseTarget, releases: list[Release], new: NewEntry) -> ReleaseEntry:
    """The next entry, once the registered model and the log know of each other and of the job."""
    now = datetime.now(UTC)

    _note_place(target, releases)
    target.log.note_job(target.job, now)

    return ReleaseEntry(
        number=next_number(releases),
        kind=new.kind,
        registry=target.alias.shown_registry,
        model=target.alias.model,
        alias=target.alias.alias,
        before=new.before,
        after=new.after,
        job=target.job.name,
        by=new.by,
        at=now,
        engine=installed_version("nightscore"),
        note=new.note,
        jobs=find_affected(target).names,
        evidence=new.evidence,
        diff=new.diff,
    )


def add(target: ReleaseTarget, entry: ReleaseEntry) -> None:
    """Add an entry to the log.

    Raises:
        ConflictError: Somebody else has added one of its number.
    """
    try:
        target.log.append(entry)
    except ConflictError as error:
        raise ConflictError(
            f"Somebody else releases {target.alias} at the same time; nothing was changed.",
            target.log.place,
            expected=f"no entry {entry.number}",
            found="one that was added since",
            next_step=f"`{target.job.command('releases')}` shows it",
        ) from error


def _note_place(target: ReleaseTarget, releases: list[Release]) -> None:
    """Have the registered model say where the log is.

    Tags are no locks: if two jobs note two places at once, the later one stands. So it is looked at
    again before the alias moves.
    """
    if not target.alias.check_log(target.log.place, target.job.name):
        _check_registry(target, releases)
        target.alias.note_log(target.log.place)


def _check_registry(target: ReleaseTarget, releases: list[Release]) -> None:
    """Refuse a log that another registry's model of the same name and alias has.

    A registry that has noted this log is the same under another address.
    """
    others = {release.entry.registry for release in releases} - {target.alias.shown_registry}

    if not others:
        return

    raise InvalidJobError(
        f"The release log is of another registry's {target.alias}; nothing was changed.",
        target.log.place,
        expected=f"entries of {target.alias.shown_registry}",
        found=f"entries of {', '.join(sorted(others))}",
        next_step="name another place as release.log in the job file; or, if it is the same "
        "registry under another address, name that address as `registry`",
    )
