"""Versions that are proposed and wait until somebody else approves or rejects them."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from nightscore.errors import ConflictError, ReleaseError
from nightscore.ledger.release_log import FORGOTTEN_DAYS, Release, waiting_days
from nightscore.monitoring.decisions.wording import describe_standing
from nightscore.operations.releases.target import ReleaseTarget
from nightscore.operations.standing import find_comparison
from nightscore.schemas.comparison import ComparisonRecord
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.release_entry import ReleaseEntry


def is_approval_required(job: ScoringJob) -> bool:
    """Whether somebody else must approve what is promoted."""
    return job.release is not None and job.release.approval == "required"


def decision_command(job: ScoringJob, verb: str, proposal: ReleaseEntry) -> str:
    """The command that approves or rejects a proposal."""
    return job.command(verb, "--release", proposal.after.version)


def describe_proposal(job: ScoringJob, proposal: ReleaseEntry, now: datetime | None = None) -> str:
    """What waits for whom, in a sentence; and for how long, if nobody seems to look at it.

    Args:
        job: Whose model.
        proposal: That waits.
        now: In UTC. None: how long it has waited is not said.
    """
    n_days = 0 if now is None else waiting_days(proposal, now)
    waited = f" It has waited for {n_days:,} days." if n_days >= FORGOTTEN_DAYS else ""

    approve = decision_command(job, "approve", proposal)
    reject = decision_command(job, "reject", proposal)

    return (
        f"Version {proposal.after.version} is proposed by {proposal.by} at "
        f"{proposal.at:%Y-%m-%d %H:%M} UTC. Somebody else makes it live with `{approve}`, or drops "
        f"it with `{reject}`.{waited}"
    )


def describe_overtaken(job: ScoringJob, proposal: ReleaseEntry) -> str:
    """That a proposal is void, since another version is live than when it was made."""
    version = proposal.after.version
    return (
        f"The proposal of version {version} by {proposal.by} is void now, since another version is "
        f"live. `{job.command('promote', '--to', version)}` proposes it again."
    )


def check_same(target: ReleaseTarget, waiting: ReleaseEntry, version: str | None) -> None:
    """Refuse to promote another version than the one that waits for a decision.

    Args:
        target: The alias and its log.
        waiting: The proposal.
        version: That somebody promotes. None: whichever.

    Raises:
        ConflictError: It is another one.
    """
    if version in (None, waiting.after.version):
        return

    raise ConflictError(
        "Another version is proposed and waits for a decision; nothing was changed.",
        target.log.place,
        expected=f"no proposal, or one of version {version}",
        found=f"version {waiting.after.version}, proposed by {waiting.by}",
        next_step=f"drop it with `{decision_command(target.job, 'reject', waiting)}`; "
        "then give the command again",
    )


def check_was_live(
    target: ReleaseTarget, releases: Sequence[Release], live: str, version: str
) -> None:
    """Refuse to go back to a version that never was live, where promotions need approval.

    Elsewhere, refuse one that is also newer than those that were: the log may not know of older
    ones. Otherwise a demotion would make any version live unseen.

    Args:
        target: The alias and its log.
        releases: The log as it was read.
        live: What the alias means.
        version: To go back to.

    Raises:
        ReleaseError: By the log, it never was.
    """
    versions = {live, *_were_live(releases)}
    is_older = int(version) < max(map(int, versions))
    needs_approval = is_approval_required(target.job)

    if version in versions or (is_older and not needs_approval):
        return

    why = "the job wants approval" if needs_approval else "it is newer than those that were"

    raise ReleaseError(
        f"Version {version} never was live, and {why}; nothing was changed.",
        target.log.place,
        expected=f"a version that was: {', '.join(sorted(versions, key=int))}",
        found=version,
        next_step=f"`{target.job.command('promote', '--to', version)}` "
        + ("proposes it" if needs_approval else "checks it and makes it live"),
    )


def compare_again(target: ReleaseTarget, proposal: ReleaseEntry) -> ComparisonRecord | None:
    """How both versions compare by now.

    Whoever approves has seen the evidence of the proposal. What speaks against the version since
    then, nobody has accepted: labels that say `worse`, or that no longer say `better`.

    Args:
        target: The alias and its log.
        proposal: That somebody approves.

    Returns:
        None: nothing compares them, as where the job no longer names the challenger.

    Raises:
        ReleaseError: It is worse by now, or no longer better.
    """
    before = proposal.before
    if before is None:
        return None

    job, version = target.job, proposal.after.version
    compared = find_comparison(job, before.version, version, target.alias.model)

    evidence = proposal.evidence
    seen = evidence.comparison if evidence is not None else None

    if compared is None or not _speaks_against(seen, compared):
        return compared

    before_it = "nothing that compares both" if seen is None else describe_standing(seen)
    raise ReleaseError(
        f"Less speaks for version {version} than when it was proposed; nothing was changed.",
        target.log.place,
        expected=f"as at {proposal.at:%Y-%m-%d %H:%M} UTC: {before_it}",
        found=describe_standing(compared),
        next_step=f"drop the proposal with `{decision_command(job, 'reject', proposal)}`; "
        f"`{job.command('promote', '--to', version)}` proposes it again with what is known now",
    )


def _speaks_against(seen: ComparisonRecord | None, compared: ComparisonRecord) -> bool:
    """Whether it is worse by now and was not, or no longer better."""
    if seen is not None and seen.is_better_by_labels:
        return not compared.is_better_by_labels

    was_worse = seen is not None and seen.verdict == "worse"
    return compared.verdict == "worse" and not was_worse


def _were_live(releases: Sequence[Release]) -> Iterator[str]:
    """The versions that were, by the log."""
    for release in releases:
        if not release.is_effective:
            continue
        if release.entry.before is not None:
            yield release.entry.before.version
        yield release.entry.after.version
