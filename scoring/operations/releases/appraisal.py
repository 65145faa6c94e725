"""What is known of a version that shall go live, and what keeps it from that."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from nightscore.engine.pool import Pool
from nightscore.errors import ModelNotFoundError, ScoringError
from nightscore.ledger.canary_log import CanaryLog
from nightscore.ledger.release_history import last_demotion
from nightscore.models.cache import ModelCache
from nightscore.models.model_diff import compare_versions
from nightscore.models.model_versions import resolve
from nightscore.models.registries.protocol import ModelVersion
from nightscore.operations.check import check_model
from nightscore.operations.releases.evidence import gather_evidence, nothing_new_since
from nightscore.operations.releases.suitability import find_problems, refusal
from nightscore.operations.releases.target import ReleaseTarget, check_number, find_target
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.model_uri import exact_uri
from nightscore.schemas.release_entry import CheckEvidence, EvidenceRecord, ModelDiffRecord

CANARY_CHECK = "canary"
"""Name of the check that looks at the version's canary in the release log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Appraisal:
    """What was found out about a version before it goes live."""

    target: ReleaseTarget
    candidate: ModelVersion
    live: ModelVersion | None
    """The version that the alias means now. None: there is no alias yet."""
    evidence: EvidenceRecord
    problems: Sequence[str]
    """What keeps it from going live, each with what to do about it."""
    diff: ModelDiffRecord | None = None
    """None: there is no live version to compare it with, or the new one cannot be read."""

    def check(self) -> None:
        """Refuse a version that something keeps from going live.

        Raises:
            ReleaseError: With all reasons.
        """
        if self.problems:
            raise refusal(self.target.job, self.candidate, self.problems)


def appraise(
    target: ReleaseTarget,
    version: str,
    live: str | None,
    *,
    without_labels: bool,
    pool: Pool,
    cache: ModelCache,
) -> Appraisal:
    """Look at a version that shall go live. Nothing is changed.

    Args:
        target: The alias and its log.
        version: Its number.
        live: The version that the alias means now. None: there is no alias.
        without_labels: Nobody asks for a comparison by labels.
        pool: Loads the version in a worker.
        cache: Models of this host.

    Raises:
        ModelNotFoundError: There is no such version.
        ScoringError: The registry or a store does not answer.
    """
    job = target.job
    candidate, present = resolve_version(target, version), None

    if live is not None:
        present = resolve_version(target, live)

    # Once it is live, its challenger is another one.
    alone = job.model_copy(update={"model": candidate.uri, "release": None})
    checks = check_model(alone, cache, pool)
    evidence = gather_evidence(job, present, candidate, checks, cache)

    taken_back = last_demotion(target.log.read(), version)
    reasons = evidence.no_comparison or nothing_new_since(taken_back, evidence.comparison)
    evidence = evidence.model_copy(
        update={
            "checks": (*evidence.checks, *_check_canary(target, candidate)),
            "without_labels": without_labels,
            "no_comparison": reasons,
        }
    )

    appraisal = Appraisal(
        target=target,
        candidate=candidate,
        live=present,
        evidence=evidence,
        problems=find_problems(job, present, candidate, checks, evidence),
    )

    return _with_diff(appraisal, cache)


def _check_canary(target: ReleaseTarget, candidate: ModelVersion) -> Iterator[CheckEvidence]:
    """Whether a critical finding has stopped the version's canary. Nothing, if it had none."""
    entries = [
        entry
        for entry in CanaryLog(target.log, target.job.name).read()
        if (entry.canary.name, entry.canary.version) == (candidate.name, candidate.version)
    ]
    if not entries:
        return

    newest = entries[-1]
    found, state = f"{newest.kind} at {newest.at:%Y-%m-%d %H:%M} UTC", "ok"

    if newest.kind == "stopped":
        state = "warning"
        found += f", by a critical finding: {newest.why}"
    yield CheckEvidence(name=CANARY_CHECK, state=state, found=found)


def _with_diff(appraisal: Appraisal, cache: ModelCache) -> Appraisal:
    """The same with what differs between both versions, as far as the new one can be read."""
    if appraisal.live is None:
        return appraisal

    try:
        registry = appraisal.target.job.registry
        diff = compare_versions(appraisal.live, appraisal.candidate, registry, cache)
    except ScoringError:
        if appraisal.problems:  # they say why, and that it must not go live
            return appraisal
        raise

    return replace(appraisal, diff=diff)


def preview(
    job: ScoringJob, version: str | None, *, without_labels: bool, pool: Pool, cache: ModelCache
) -> Appraisal | None:
    """What `promote` would go by. Nothing is changed.

    Args:
        job: Whose model is an alias.
        version: Its number. None: the newest of the model.
        without_labels: Nobody asks for a comparison by labels.
        pool: Loads the version in a worker.
        cache: Models of this host.

    Returns:
        What was found out. None: the version is live already.

    Raises:
        InvalidJobError, ModelNotFoundError, ScoringError: As of `promote`.
    """
    check_number(job, "promote", version)
    target = find_target(job)

    live = target.alias.version()
    wanted = version or newest_version(target)

    if wanted == live:
        return None

    return appraise(target, wanted, live, without_labels=without_labels, pool=pool, cache=cache)


def resolve_version(target: ReleaseTarget, version: str) -> ModelVersion:
    """A version of the target's model, as the registry has it."""
    return resolve(exact_uri(target.alias.model, version), target.job.registry)


def newest_version(target: ReleaseTarget) -> str:
    """The newest version of the target's model.

    Raises:
        ModelNotFoundError: It has none.
    """
    versions = target.alias.versions()

    if versions:
        return versions[-1]

    raise ModelNotFoundError(
        f"The model {target.alias.model} has no version that could go live.",
        target.alias.shown_registry,
        expected="at least one version",
        next_step="check the `model` key of the job file and which registry it means",
    )
