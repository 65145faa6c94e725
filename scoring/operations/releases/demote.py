"""Takes the live version of a job's model back: the alias means the version before again."""

from dataclasses import dataclass
from datetime import datetime

from nightscore.errors import ConflictError, ReleaseError
from nightscore.ledger.release_history import newest_effective, version_before
from nightscore.ledger.release_log import Release
from nightscore.models.cache import ModelCache
from nightscore.models.model_versions import fetch, resolve
from nightscore.models.registries.protocol import ModelVersion
from nightscore.operations.releases.affected_jobs import find_affected
from nightscore.operations.releases.completion import complete, read_completing
from nightscore.operations.releases.entries import (
    NewEntry,
    begin,
    recorded_version,
)
from nightscore.operations.releases.promote import Proposal, ReleaseResult
from nightscore.operations.releases.proposals import check_was_live
from nightscore.operations.releases.target import (
    ReleaseTarget,
    check_number,
    find_target,
    missing_alias,
)
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.model_uri import exact_uri


def demote(job: ScoringJob, proposal: Proposal, cache: ModelCache) -> ReleaseResult:
    """Have the alias mean the version before, by the release log, or the one that is named.

    If an earlier demotion has died, it is completed instead. The same command again does not lead
    further back: that takes a version by name. A demotion waits for nobody: a proposal that waits
    for a decision is void afterwards, and has to be made again.

    Args:
        job: Whose model is an alias.
        proposal: The version to go back to; None: the one before. Labels are not asked for.
        cache: Models of this host. The version is fetched and verified.

    Raises:
        InvalidJobError: The job's model names no alias, or another place has the log.
        ReleaseError: The log knows no version before, or the version never was live.
        ModelNotFoundError, ModelDigestError: The version is gone, or its artifacts have changed.
        ConflictError: Somebody else was first, or has moved the alias by other means.
        StorageError: The store of the log cannot tell who is first, or does not answer.
    """
    check_number(job, "demote", proposal.version)
    target = find_target(job, "demote")

    releases, completed = read_completing(target, "demoted", proposal.version, proposal.by)
    if completed is not None:
        return ReleaseResult(release=completed, affected=find_affected(target), is_new=False)

    live = target.alias.version()
    if live is None:
        raise missing_alias(target)

    newest = newest_effective(releases)

    if _is_demoted(newest, proposal, live):
        affected = find_affected(target)
        return ReleaseResult(release=newest, affected=affected, is_new=False, was_live=True)

    version = proposal.version or version_before(releases)

    if version is None:
        raise _nothing_before(target, live)
    check_was_live(target, releases, live, version)

    waiting = target.log.proposal(releases)
    done = _take_back(target, releases, proposal, (live, version), cache)

    # It has the number of the proposal, which nobody can approve any more.
    affected = find_affected(target)
    return ReleaseResult(release=done, affected=affected, is_new=True, overtaken=waiting)


def _take_back(
    target: ReleaseTarget,
    releases: list[Release],
    proposal: Proposal,
    versions: tuple[str, str],
    cache: ModelCache,
) -> Release:
    """Move the alias back, from the first of two versions to the second."""

    def known(version: str) -> ModelVersion:
        return resolve(exact_uri(target.alias.model, version), target.job.registry)

    live, before = known(versions[0]), known(versions[1])
    fetch(before, target.job.registry, cache)

    new = NewEntry(
        kind="demoted",
        before=recorded_version(live),
        after=recorded_version(before),
        by=proposal.by,
        note=proposal.note,
    )

    return complete(target, begin(target, releases, new), proposal.by)


def _is_demoted(newest: Release | None, proposal: Proposal, live: str) -> bool:
    """Whether the alias means the version already that is wanted."""
    if proposal.version is not None:
        return proposal.version == live
    return newest is not None and newest.entry.kind == "demoted"


@dataclass(frozen=True, slots=True)
class TakenBack:
    """What a demotion has taken back."""

    versions: frozenset[str]
    """The demoted one, and others that were live between it and the one that is live again."""
    since: datetime
    """A time from which on they may have been live, and before which none of them was."""


def taken_back(target: ReleaseTarget, releases: list[Release]) -> TakenBack:
    """What the newest entry has taken back, by what was live since the version that is live again.

    If the log knows of no time when that was live, it is the demoted version alone. Since when a
    version was live that somebody made live by other means, nobody knows: it is taken for since
    the log last knew of another one.

    Raises:
        ConflictError: The newest entry is no demotion.
        ReleaseError: The log does not have the entry that made the version live.
    """
    newest = newest_effective(releases)

    if newest is None or newest.entry.kind != "demoted" or newest.entry.before is None:
        raise _no_demotion(target, newest)

    demoted = newest.entry.before.version
    *earlier, _ = [release for release in releases if release.is_effective]
    n_before = _n_before(earlier, newest.entry.after.version)
    later = earlier[n_before:]

    if not later or later[-1].entry.after.version != demoted:
        raise _unknown_since(target, demoted)

    versions = frozenset(release.entry.after.version for release in later)

    if later[0].entry.kind != "moved":
        return TakenBack(versions, later[0].entry.at)
    if n_before:
        return TakenBack(versions, earlier[n_before - 1].effective_at)

    raise _unknown_since(target, demoted)


def _n_before(earlier: list[Release], version: str) -> int:
    """How many entries there were when a version was last live, before a demotion to it.

    All but the newest one, if it never was.
    """
    live = [n for n, release in enumerate(earlier, 1) if release.entry.after.version == version]
    if live:
        return live[-1]

    first = earlier[0].entry.before if earlier else None
    was_first = first is not None and first.version == version
    return 0 if was_first else max(0, len(earlier) - 1)


def _no_demotion(target: ReleaseTarget, newest: Release | None) -> ConflictError:
    return ConflictError(
        "Another release came after the demotion; no predictions were put back.",
        target.log.place,
        expected="a demotion as the newest entry",
        found="no entry" if newest is None else f"entry {newest.entry.number}",
        next_step=f"`{target.job.command('releases')}` shows the log",
    )


def _unknown_since(target: ReleaseTarget, version: str) -> ReleaseError:
    dates = ("--from", "DATE", "--to", "DATE")
    return ReleaseError(
        f"The log does not say since when version {version} was live; no predictions were put "
        "back.",
        target.log.place,
        expected="the entry that made it live",
        next_step=f"`{target.job.command('rollback', *dates)}` restores what was published before",
    )


def _nothing_before(target: ReleaseTarget, live: str) -> ReleaseError:
    return ReleaseError(
        f"The release log knows no version before version {live}; nothing was changed.",
        target.log.place,
        expected="an entry that says what was live before",
        next_step=f"name the version: `{target.job.command('demote', '--to', 'VERSION')}`",
    )
