"""Approves or rejects a version that was proposed.

Either adds the entry whose number the proposal has, on the condition that there is none. So of two
who decide one succeeds, and a proposal that was overtaken cannot be approved any more.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

from nightscore.errors import ConflictError, ReleaseError
from nightscore.ledger.release_log import Release
from nightscore.models.cache import ModelCache
from nightscore.models.model_versions import fetch
from nightscore.operations.releases.affected_jobs import find_affected
from nightscore.operations.releases.appraisal import resolve_version
from nightscore.operations.releases.completion import complete
from nightscore.operations.releases.entries import add, read_noticing
from nightscore.operations.releases.promote import ReleaseResult
from nightscore.operations.releases.proposals import compare_again, decision_command
from nightscore.operations.releases.target import ReleaseTarget, check_number, find_target
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import DecisionRecord
from nightscore.schemas.release_entry import ReleaseEntry


def approve_release(
    job: ScoringJob, version: str, *, by: str, note: str = "", cache: ModelCache
) -> ReleaseResult:
    """Make a proposed version live: look again at what may have changed, log it, move the alias.

    The evidence is that of the proposal, with how both versions compare by now. If an earlier
    approval has died, it is completed instead.

    Args:
        job: Whose model is an alias.
        version: That was proposed. It is named, so that nobody approves another one by mistake.
        by: Who approves it.
        note: Why, for the log.
        cache: Models of this host. The version is fetched and verified.

    Raises:
        ConflictError: None of this version waits, somebody else has decided, or somebody has moved
            the alias by other means.
        ReleaseError: The same person has proposed it, the version is pinned to other bytes now, or
            labels have become known that no longer speak for it.
        ModelNotFoundError, ModelDigestError: The version is gone, or its artifacts have changed.
        InvalidJobError, StorageError: As of `promote`.
    """
    check_number(job, "approve", version, "--release")
    target = find_target(job, "approve")

    releases = read_noticing(target)
    newest = releases[-1] if releases else None

    if newest is not None and _is_approval(newest, version) and newest.is_pending:
        done = complete(target, newest, by)
        return ReleaseResult(release=done, affected=find_affected(target), is_new=False)

    target.check_complete(releases)

    if newest is not None and _is_approval(newest, version) and newest.is_effective:
        affected = find_affected(target)
        return ReleaseResult(release=newest, affected=affected, is_new=False, was_live=True)

    proposal = _find_proposal(target, releases, version)
    _check_somebody_else(target, proposal, by)
    _check_unchanged(target, proposal, cache)
    compared = compare_again(target, proposal)

    entry = _decided(proposal, DecisionRecord(verdict="approved", at=_now(), by=by, note=note))
    entry = entry.model_copy(update={"at_approval": compared})

    add(target, entry)

    done = complete(target, Release(entry), by)
    return ReleaseResult(release=done, affected=find_affected(target), is_new=True)


def reject_release(job: ScoringJob, version: str, *, by: str, note: str = "") -> Release:
    """Drop a proposal. The log keeps it, with who rejected it and why. The alias stays.

    Whoever has proposed a version may reject it, too. The same again changes nothing.

    Args:
        job: Whose model is an alias.
        version: That was proposed.
        by: Who rejects it.
        note: Why, for the log.

    Raises:
        ConflictError: None of this version waits, or somebody else has decided.
        InvalidJobError, StorageError: As of `promote`.
    """
    check_number(job, "reject", version, "--release")
    target = find_target(job, "reject")

    releases = target.log.read()
    target.check_complete(releases)

    if _is_rejected(releases, version) and target.log.proposal(releases) is None:
        return releases[-1]

    proposal = _find_proposal(target, releases, version)
    entry = _decided(proposal, DecisionRecord(verdict="rejected", at=_now(), by=by, note=note))

    add(target, entry)
    return Release(entry)


def _is_approval(release: Release, version: str) -> bool:
    """Whether an entry is the approved promotion of a version."""
    entry = release.entry
    is_approved = entry.decision is not None and entry.decision.verdict == "approved"
    return is_approved and entry.after.version == version


def _is_rejected(releases: Sequence[Release], version: str) -> bool:
    """Whether the newest entry is the rejection of a version."""
    if not releases:
        return False
    entry = releases[-1].entry
    return entry.kind == "rejected" and entry.after.version == version


def _decided(proposal: ReleaseEntry, decision: DecisionRecord) -> ReleaseEntry:
    """The entry that a proposal becomes."""
    kind = "promoted" if decision.verdict == "approved" else "rejected"
    return proposal.model_copy(update={"kind": kind, "at": decision.at, "decision": decision})


def _find_proposal(
    target: ReleaseTarget, releases: Sequence[Release], version: str
) -> ReleaseEntry:
    """The proposal of a version that waits for a decision."""
    proposal = target.log.proposal(releases)

    if proposal is not None and proposal.after.version == version:
        return proposal

    found, next_step = "none", f"`{target.job.command('releases')}` shows the log"
    if proposal is not None:
        found = f"version {proposal.after.version}, proposed by {proposal.by}"
        next_step = f"if you mean that, `{decision_command(target.job, 'approve', proposal)}`"
    elif releases:
        newest = releases[-1].entry
        found = f"none; entry {newest.number}: version {newest.after.version}, {newest.kind}"
        if newest.kind == "promoted" and newest.decision is not None:
            found += f", {newest.decision.verdict} by {newest.decision.by}"
        elif newest.decision is not None:
            found += f" by {newest.decision.by}"

    raise ConflictError(
        f"Version {version} does not wait for a decision; nothing was changed.",
        target.log.place,
        expected=f"a proposal of version {version} that nothing has overtaken",
        found=found,
        next_step=next_step,
    )


def _check_somebody_else(target: ReleaseTarget, proposal: ReleaseEntry, by: str) -> None:
    """Refuse an approval by whoever has proposed the version, as far as names tell."""
    if _name_of(proposal.by) != _name_of(by):
        return

    raise ReleaseError(
        "Whoever proposes a version cannot approve it; nothing was changed.",
        target.log.place,
        expected=f"somebody other than {_name_of(proposal.by)}",
        found=by,
        next_step="have another person give the command, or drop the proposal with "
        f"`{decision_command(target.job, 'reject', proposal)}`",
    )


def _name_of(by: str) -> str:
    """The person without the host or the flow run; a flow run without a person is itself."""
    return by.partition(", flow run ")[0].partition("@")[0]


def _check_unchanged(target: ReleaseTarget, proposal: ReleaseEntry, cache: ModelCache) -> None:
    """Refuse a proposal whose grounds have changed: what is live, or the version itself."""
    version, live = proposal.after, target.alias.version()
    before = None if proposal.before is None else proposal.before.version

    if live != before:
        raise ConflictError(
            f"{target.alias} means another version than when version {version.version} was "
            "proposed; nothing was changed.",
            target.log.place,
            expected="no alias" if before is None else f"version {before}",
            found="no alias" if live is None else f"version {live}",
            next_step=f"drop the proposal with "
            f"`{decision_command(target.job, 'reject', proposal)}`, then promote it again",
        )

    candidate = resolve_version(target, version.version)
    if (candidate.digest_tag or "") != version.digest:
        raise ReleaseError(
            f"{candidate} is pinned to other bytes than when it was proposed; nothing was changed.",
            target.log.place,
            expected=version.digest,
            found=candidate.digest_tag or "no pin",
            next_step="find out who changed it; then drop the proposal with "
            f"`{decision_command(target.job, 'reject', proposal)}`",
        )

    fetch(candidate, target.job.registry, cache)


def _now() -> datetime:
    return datetime.now(UTC)
