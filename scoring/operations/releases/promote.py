"""Makes a version of the job's model live."""

from dataclasses import dataclass, field

from nightscore.engine.pool import Pool
from nightscore.errors import ModelNotFoundError
from nightscore.ledger.release_log import Release
from nightscore.models.cache import ModelCache
from nightscore.models.model_diff import compare_versions
from nightscore.models.model_versions import resolve
from nightscore.models.registries.protocol import ModelVersion
from nightscore.operations.check import check_model
from nightscore.operations.releases.affected_jobs import AffectedJobs, find_affected
from nightscore.operations.releases.completion import complete, read_completing
from nightscore.operations.releases.entries import (
    NewEntry,
    begin,
    recorded_version,
)
from nightscore.operations.releases.evidence import gather_evidence
from nightscore.operations.releases.suitability import check_suitable
from nightscore.operations.releases.target import ReleaseTarget, check_number, find_target
from nightscore.process import user_and_host
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.model_uri import exact_uri


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


def promote(job: ScoringJob, proposal: Proposal, *, pool: Pool, cache: ModelCache) -> ReleaseResult:
    """Make a version live: check it, write it into the release log, and move the alias.

    If an earlier promotion of the version has died, it is completed instead. If the version is live
    already, nothing is done.

    Args:
        job: Whose model is an alias.
        proposal: The version.
        pool: Loads the version in a worker.
        cache: Models of this host.

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

    live = target.alias.version()
    version = proposal.version or _newest_version(target)

    if version == live:
        newest = releases[-1] if releases else None
        affected = find_affected(target)
        return ReleaseResult(release=newest, affected=affected, is_new=False, was_live=True)

    promotion = _Promotion(target, releases, proposal, pool, cache)
    done = promotion.make_live(version, live)

    return ReleaseResult(release=done, affected=find_affected(target), is_new=True)


@dataclass(frozen=True, slots=True)
class _Promotion:
    """A promotion that begins now."""

    target: ReleaseTarget
    releases: list[Release]
    proposal: Proposal
    pool: Pool
    cache: ModelCache

    def make_live(self, version: str, live: str | None) -> Release:
        """Check a version, write it into the log, and move the alias."""
        job, proposal = self.target.job, self.proposal
        candidate = self._resolve(version)
        present = None if live is None else self._resolve(live)

        checks = check_model(job.model_copy(update={"model": candidate.uri}), self.cache, self.pool)
        evidence = gather_evidence(job, present, candidate, checks, self.cache)
        evidence = evidence.model_copy(update={"without_labels": proposal.without_labels})
        check_suitable(job, present, candidate, checks, evidence)

        diff = None
        if present is not None:
            diff = compare_versions(present, candidate, job.registry, self.cache)

        begun = begin(
            self.target,
            self.releases,
            NewEntry(
                kind="promoted",
                before=recorded_version(present),
                after=recorded_version(candidate),
                by=proposal.by,
                note=proposal.note,
                evidence=evidence,
                diff=diff,
            ),
        )

        return complete(self.target, begun, proposal.by)

    def _resolve(self, version: str) -> ModelVersion:
        uri = exact_uri(self.target.alias.model, version)
        return resolve(uri, self.target.job.registry)


def _newest_version(target: ReleaseTarget) -> str:
    versions = target.alias.versions()
    if versions:
        return versions[-1]

    raise ModelNotFoundError(
        f"The model {target.alias.model} has no version that could go live.",
        target.alias.shown_registry,
        expected="at least one version",
        next_step="check the `model` key of the job file and which registry it means",
    )
