"""Makes a version of the job's model live."""

from collections.abc import Callable
from dataclasses import dataclass, field

from nightscore.engine.pool import Pool
from nightscore.ledger.release_log import Release
from nightscore.models.cache import ModelCache
from nightscore.operations.releases.affected_jobs import AffectedJobs, find_affected
from nightscore.operations.releases.appraisal import Appraisal, appraise, newest_version
from nightscore.operations.releases.completion import complete, read_completing
from nightscore.operations.releases.entries import NewEntry, begin, propose, recorded_version
from nightscore.operations.releases.proposals import check_same, is_approval_required
from nightscore.operations.releases.target import check_number, find_target
from nightscore.process import user_and_host
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.release_entry import ReleaseEntry


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseResult:
    """What became of a command."""

    release: Release | None
    """The entry of the log. None: the version is live, and the log has no entry."""
    affected: AffectedJobs
    is_new: bool
    """The command has added the entry. Otherwise it has completed an earlier one, or there was
    nothing to do."""
    was_live: bool = False
    """There was nothing to do."""
    proposal: ReleaseEntry | None = None
    """The version is only proposed, and waits for approval. None: it is not."""
    overtaken: ReleaseEntry | None = None
    """A proposal that waited, and is void since the alias has moved. None: there was none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A version that somebody wants to be live."""

    version: str | None = None
    """None: the newest of the model."""
    note: str = ""
    """Why, for the log."""
    without_labels: bool = False
    """It may go live although nothing compares it with the version in use by labels."""
    by: str = field(default_factory=user_and_host)
    """Who wants it: the user and the host, or a flow run."""


def promote(
    job: ScoringJob,
    proposal: Proposal,
    *,
    pool: Pool,
    cache: ModelCache,
    on_appraised: Callable[[Appraisal], None] | None = None,
) -> ReleaseResult:
    """Make a version live: check it, write it into the release log, and move the alias.

    If an earlier promotion of the version has died, it is completed instead. If the version is live
    already, nothing is done. If the job wants approval, the version is only proposed: the alias
    moves when somebody else approves it.

    Args:
        job: Whose model is an alias.
        proposal: The version.
        pool: Loads the version in a worker.
        cache: Models of this host.
        on_appraised: Told what is known of the version, also if it must not go live.

    Raises:
        InvalidJobError: The job's model names no alias, or another place has the log.
        ModelNotFoundError: There is no such version.
        ReleaseError: It must not go live; with all reasons.
        ConflictError: Somebody else was first, or has moved the alias by other means.
        StorageError: The store of the log cannot tell who is first, or does not answer.
    """
    check_number(job, "promote", proposal.version)
    target = find_target(job, "promote")

    releases, completed = read_completing(target, "promoted", proposal.version, proposal.by)
    if completed is not None:
        return ReleaseResult(release=completed, affected=find_affected(target), is_new=False)

    waiting = target.log.proposal(releases)
    if waiting is not None:
        check_same(target, waiting, proposal.version)
        affected = find_affected(target)
        return ReleaseResult(release=None, affected=affected, is_new=False, proposal=waiting)

    live = target.alias.version()
    version = proposal.version or newest_version(target)

    if version == live:
        newest = releases[-1] if releases else None
        affected = find_affected(target)
        return ReleaseResult(release=newest, affected=affected, is_new=False, was_live=True)

    appraisal = appraise(
        target, version, live, without_labels=proposal.without_labels, pool=pool, cache=cache
    )
    if on_appraised is not None:
        on_appraised(appraisal)
    appraisal.check()

    new = _entry_of(appraisal, proposal)
    if is_approval_required(job):
        proposed, affected = propose(target, releases, new), find_affected(target)
        return ReleaseResult(release=None, affected=affected, is_new=True, proposal=proposed)

    begun = begin(target, releases, new)
    done = complete(target, begun, proposal.by)
    return ReleaseResult(release=done, affected=find_affected(target), is_new=True)


def _entry_of(appraisal: Appraisal, proposal: Proposal) -> NewEntry:
    """What the log is going to say of a promotion."""
    return NewEntry(
        kind="promoted",
        before=recorded_version(appraisal.live),
        after=recorded_version(appraisal.candidate),
        by=proposal.by,
        note=proposal.note,
        evidence=appraisal.evidence,
        diff=appraisal.diff,
    )
