"""Takes an entry of the release log to its outcome: moves the alias, or finds that it must not.

It may be begun again at any point. The entry says from which version to which; what the alias means
now says how far an earlier attempt came.
"""

from datetime import UTC, datetime

from nightscore.errors import ConflictError
from nightscore.ledger.release_log import Release
from nightscore.operations.releases.entries import read_noticing
from nightscore.operations.releases.target import ReleaseTarget
from nightscore.runs.alias_moves import enter_move
from nightscore.schemas.release_entry import OutcomeRecord, ReleaseKind


def read_completing(
    target: ReleaseTarget, kind: ReleaseKind, version: str | None, by: str
) -> tuple[list[Release], Release | None]:
    """The log as a new release finds it, once what has died before is completed.

    Args:
        target: The alias and its log.
        kind: Of the release that is wanted.
        version: That shall be live by it. None: whichever the command chooses.
        by: Who wants it.

    Returns:
        All entries, and the newest one if it was the same release, which has died and is completed
        now. None: there is none, and a new entry may be begun.

    Raises:
        ConflictError: Another release has died or is under way, or somebody has moved the alias by
            other means; or the completion fails, as `complete` says.
    """
    releases = read_noticing(target)
    newest = releases[-1] if releases else None

    if newest is None or not newest.is_pending:
        return releases, None

    is_same = newest.entry.kind == kind and version in (None, newest.entry.after.version)
    if not is_same:
        target.check_complete(releases)

    return releases, complete(target, newest, by)


def complete(target: ReleaseTarget, pending: Release, by: str) -> Release:
    """Move the alias as an entry says, and write its outcome.

    Args:
        target: The alias and its log.
        pending: The newest entry, without an outcome.
        by: Who completes it.

    Raises:
        ConflictError: Somebody has moved the alias by other means since, or has given the entry up.
            The alias stays as it is.
        InvalidJobError: The registered model says that another place has the log.
        StorageUnavailableError: The registry or the store does not answer. The same command again
            goes on.
    """
    target.alias.check_log(target.log.place, target.job.name)
    entry, version = pending.entry, target.alias.version()
    before = entry.before.version if entry.before is not None else None

    if version not in (before, entry.after.version):
        raise _moved_meanwhile(target, pending, version, by)
    if version != entry.after.version:
        target.alias.move(entry.after.version)

    outcome = target.log.end(
        OutcomeRecord(number=entry.number, outcome="done", by=by, at=datetime.now(UTC))
    )

    if outcome.outcome != "done":
        raise _given_up(target, pending, outcome)

    _check_still_newest(target, pending)
    return Release(entry, outcome)


def abandon(target: ReleaseTarget, by: str, reason: str) -> Release:
    """Give up the newest entry, if the alias was not moved yet.

    Raises:
        ConflictError: There is no entry without an outcome, or the alias was moved already.
    """
    newest = target.log.newest()
    if newest is None or not newest.is_pending:
        raise ConflictError(
            f"No release of {target.alias} is under way; nothing was changed.",
            target.log.place,
            expected="an entry without an outcome",
            found="none" if newest is None else f"entry {newest.entry.number}, which has one",
            next_step=f"`{target.job.command('releases')}` lists the entries; "
            f"`{target.job.command('reject', '--release', 'VERSION')}` drops a proposal",
        )

    entry = newest.entry
    if target.alias.version() == entry.after.version:
        raise ConflictError(
            f"{target.alias} was moved already; nothing was changed.",
            target.log.place,
            expected="an alias that does not mean the new version yet",
            found=f"version {entry.after.version}",
            next_step=f"complete it with `{target.command(newest)}`; then "
            f"`{target.job.command('demote')}` takes it back",
        )

    outcome = target.log.end(
        OutcomeRecord(
            number=entry.number, outcome="abandoned", by=by, at=datetime.now(UTC), reason=reason
        )
    )

    if outcome.outcome != "abandoned":
        raise ConflictError(
            "Somebody else has completed the release meanwhile.",
            target.log.place,
            found=f"entry {entry.number}, done by {outcome.by}",
            next_step=f"`{target.job.command('demote')}` takes it back",
        )

    return Release(entry, outcome)


def _moved_meanwhile(
    target: ReleaseTarget, pending: Release, version: str | None, by: str
) -> ConflictError:
    """Write down that somebody else has moved the alias; returns the error."""
    entry, now = pending.entry, datetime.now(UTC)
    found = "no alias" if version is None else f"version {version}"
    reason = f"the alias was moved by other means: {found}"

    outcome = OutcomeRecord(number=entry.number, outcome="abandoned", by=by, at=now, reason=reason)
    ended = Release(entry, target.log.end(outcome))
    enter_move(target.job, target.alias, target.log, ended, now)

    before = "no alias" if entry.before is None else f"version {entry.before.version}"
    how = "completed this release and made another one"

    if not ended.is_effective:
        how = f"moved {target.alias} by other means since this release was begun"

    return ConflictError(
        f"Somebody has {how}; the alias was left as it is.",
        target.log.place,
        expected=before,
        found=found,
        next_step=f"`{target.job.command('releases')}` shows what the log has now; if version "
        f"{entry.after.version} shall be live all the same, give the command again",
    )


def _given_up(target: ReleaseTarget, pending: Release, outcome: OutcomeRecord) -> ConflictError:
    """Undo the move of an alias whose entry somebody gave up meanwhile; returns the error."""
    entry = pending.entry

    newest = target.log.newest()
    is_newest = newest is not None and newest.entry.number == entry.number
    if is_newest and entry.before is not None and target.alias.version() == entry.after.version:
        target.alias.move(entry.before.version)

    # An alias that this entry has made stays: the log then has what it means.
    enter_move(target.job, target.alias, target.log, newest, datetime.now(UTC))

    return ConflictError(
        "Somebody has given this release up while it was completed.",
        target.log.place,
        expected=f"entry {entry.number} without an outcome",
        found=f"abandoned by {outcome.by}: {outcome.reason}",
        next_step=f"`{target.job.command('releases')}` shows what {target.alias} means now",
    )


def _check_still_newest(target: ReleaseTarget, done: Release) -> None:
    """Notice that somebody else has completed this entry long ago, and begun a later one.

    This process then had paused between its look at the alias and its move, and has undone theirs.
    """
    newest = target.log.newest()
    if newest is None or newest.entry.number == done.entry.number or not newest.is_effective:
        return
    if newest.entry.after.version == target.alias.version():
        return

    entry = enter_move(target.job, target.alias, target.log, newest, datetime.now(UTC))

    if entry is None:
        return

    raise ConflictError(
        f"A later release of {target.alias} was made while this one was completed.",
        target.log.place,
        expected=f"version {newest.entry.after.version}, by entry {newest.entry.number}",
        found=f"version {entry.after.version}",
        next_step=f"if the later one shall stand, give `{target.command(newest)}` again",
    )
