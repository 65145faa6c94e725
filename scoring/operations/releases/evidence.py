"""What is known of the version that is live and of the one that shall be."""

from collections.abc import Sequence

from nightscore.errors import InputError, ScoringError
from nightscore.ledger.release_log import Release
from nightscore.ledger.timeline import Timeline
from nightscore.ledger.workspace import Workspace
from nightscore.models.cache import ModelCache
from nightscore.models.registries.protocol import ModelVersion
from nightscore.monitoring.decisions.wording import describe_standing
from nightscore.monitoring.drift.stored_profiles import baseline_of_version
from nightscore.monitoring.performance.estimates.estimation import (
    baseline_values,
    calibrate,
    is_estimated,
)
from nightscore.operations.checklist import Check
from nightscore.operations.performance import estimate_performance, recorded_between
from nightscore.operations.standing import count_scored_by_both, find_comparison
from nightscore.schemas.challenger_jobs import challenger_jobs
from nightscore.schemas.comparison import ComparisonRecord
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import Manifest
from nightscore.schemas.model_uri import exact_uri
from nightscore.schemas.release_entry import (
    BaselineEvidence,
    CheckEvidence,
    EvidenceRecord,
    PartitionEvidence,
)
from nightscore.schemas.text import counted

NO_LABELS = "the job names no labels, by which predictions could be compared"
LATEST_PARTITIONS = 14
"""Two weeks of nightly runs: each weekday is in them twice."""


def gather_evidence(
    job: ScoringJob,
    live: ModelVersion | None,
    candidate: ModelVersion,
    checks: Sequence[Check],
    cache: ModelCache,
) -> EvidenceRecord:
    """What is known of both versions.

    Args:
        job: That scores with the alias.
        live: The version that the alias means now. None: there is none yet.
        candidate: The version that shall be live.
        checks: What was looked at on the newest partition.
        cache: Of baselines on this host.

    Raises:
        ScoringError: The registry or a store does not answer.
    """
    workspace = Workspace(job)

    versions = [candidate] if live is None else [live, candidate]

    comparison = None
    if live is not None:
        comparison = find_comparison(job, live.version, candidate.version, candidate.name)

    return EvidenceRecord(
        checks=tuple(
            CheckEvidence(name=check.name, state=check.state, found=check.found) for check in checks
        ),
        baselines=tuple(baseline_evidence(workspace, version, cache) for version in versions),
        live=() if live is None else _of_partitions(job, live, cache),
        challenger=_of_challenger(job, candidate, cache),
        comparison=comparison,
        no_comparison=why_no_comparison(job, live, candidate, comparison),
    )


def why_no_comparison(
    job: ScoringJob,
    live: ModelVersion | None,
    candidate: ModelVersion,
    comparison: ComparisonRecord | None,
) -> tuple[str, ...]:
    """Why nothing shows by labels that the candidate is better on the same rows.

    Args:
        job: That scores with the alias.
        live: The version that the alias means now. None: there is none yet.
        candidate: The version that shall be live.
        comparison: What compares both. None: nothing does.
    """
    if live is None:
        return ("no version is live yet, so there is nothing to compare with",)

    if comparison is not None and comparison.by == "labels":
        is_enough = comparison.is_better_by_labels
        return () if is_enough else (describe_standing(comparison),)

    if comparison is not None:
        return (describe_standing(comparison), *_how_labels_compare(job))

    n_both = count_scored_by_both(job, live.version, candidate.version, candidate.name)
    both = f"version {live.version} and version {candidate.version}"

    if n_both:
        scored = f"{both} have scored {counted(n_both, 'partition')} together"
        return (f"{scored}, of which none is compared by labels yet", *_how_labels_compare(job))

    reasons = [
        f"no rows are stored that both {both} have scored; their baselines are of rows of their own"
    ]
    if not challenger_jobs(job):
        reasons.append(f"with `release: {{challenger: {candidate.uri}}}` runs would score them")

    if job.labels is None:
        reasons.append(NO_LABELS)
    return tuple(reasons)


def nothing_new_since(
    demotion: Release | None, comparison: ComparisonRecord | None
) -> tuple[str, ...]:
    """Why what compares a version is no evidence any more: it was known when it was taken back.

    Args:
        demotion: That took it back. None: none did.
        comparison: What compares it with the live version. None: nothing does.
    """
    if demotion is None or comparison is None:
        return ()
    if comparison.last >= demotion.effective_at.date().isoformat():
        return ()

    entry = demotion.entry
    note = f": {entry.note}" if entry.note else ""
    return (
        f"{describe_standing(comparison)}, but version {comparison.challenger} was demoted at "
        f"{demotion.effective_at:%Y-%m-%d %H:%M} UTC by {entry.by}{note} (entry {entry.number}), "
        "and no night since compares both",
    )


def _how_labels_compare(job: ScoringJob) -> tuple[str, ...]:
    """What to do about rows that both versions have scored, and no labels compare."""
    if job.labels is None:
        return (NO_LABELS,)
    return (f"once labels are known, `{job.command('evaluate')}` compares both by them",)


def baseline_evidence(
    workspace: Workspace, version: ModelVersion, cache: ModelCache
) -> BaselineEvidence:
    """How right a version was on the labelled rows of its baseline."""
    try:
        found = baseline_of_version(workspace, version, cache)
    except (ScoringError, ValueError) as error:
        text = error.what if isinstance(error, ScoringError) else str(error)
        return BaselineEvidence(version=version.version, note=f"it cannot be read: {text}")

    if found is None:
        return BaselineEvidence(version=version.version, note="none is logged")

    sha256, columns = found

    if not is_estimated(columns):
        note = "performance is not known of models with such predictions"
        return BaselineEvidence(version=version.version, baseline=sha256, note=note)

    try:
        metrics = tuple(baseline_values(calibrate(columns), workspace.job.decision))
    except ValueError as error:
        return BaselineEvidence(version=version.version, baseline=sha256, note=str(error))

    return BaselineEvidence(version=version.version, baseline=sha256, metrics=metrics)


def _of_challenger(
    job: ScoringJob, candidate: ModelVersion, cache: ModelCache
) -> tuple[PartitionEvidence, ...]:
    """The latest partitions that a version has scored as a challenger, of its longest series."""
    series = [_of_partitions(own, candidate, cache) for own in challenger_jobs(job).values()]
    return max(series, key=len, default=())


def _of_partitions(
    job: ScoringJob, version: ModelVersion, cache: ModelCache
) -> tuple[PartitionEvidence, ...]:
    """The latest partitions that a version has scored, as far as anything is known."""
    recorded = recorded_between(job, None, None, LATEST_PARTITIONS)
    timeline = Timeline(Workspace(job))
    timeline.read(recorded)

    # Nothing is asked of other versions, which may be gone from the registry.
    values = [value for value in recorded if _is_of(version, timeline.results(value).published)]
    if not values:
        return ()

    try:
        found = estimate_performance(job, values, cache)
    except InputError:  # nothing is published, or nothing can be estimated and nothing came true
        return ()

    return tuple(
        PartitionEvidence(
            partition=partition.partition,
            run_id=partition.run_id,
            rows=partition.n_rows,
            estimated=partition.estimated,
            realised=partition.realised,
            is_matured=partition.is_matured,
            is_selection=partition.is_selection,
        )
        for partition in found.partitions
        if partition.estimated or partition.realised
    )


def _is_of(version: ModelVersion, manifest: Manifest | None) -> bool:
    """Whether a run is published, and a version has scored it."""
    model = None if manifest is None else manifest.model
    return model is not None and exact_uri(model.name, model.version) == version.uri
