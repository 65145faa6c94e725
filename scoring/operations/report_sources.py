"""What a run's report is drawn from: what the run and those before it have stored."""

from collections.abc import Container, Iterable
from dataclasses import dataclass
from itertools import islice

from nightscore.errors import CorruptFileError, ScoringError
from nightscore.ledger.comparison_records import with_newest_comparisons
from nightscore.ledger.evaluation_files import evaluations_of
from nightscore.ledger.layout import state_store
from nightscore.ledger.timeline import earlier_values, latest_publications
from nightscore.ledger.workspace import Workspace
from nightscore.models.cache import ModelCache
from nightscore.monitoring.drift.statistics_table import read_statistics
from nightscore.monitoring.drift.stored_profiles import stored_baseline
from nightscore.monitoring.performance.track_record import PartitionPerformance
from nightscore.operations.performance import recorded_performance_of
from nightscore.profiles.table import ColumnProfile, from_bytes, merge_profiles
from nightscore.reports.series import Past
from nightscore.reports.trends import MAX_DATES
from nightscore.schemas.drift import REFERENCES
from nightscore.schemas.evaluation import EvaluationRecord
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import Manifest
from nightscore.schemas.partition import show_value


@dataclass(frozen=True, slots=True)
class StoredReport:
    """What a report is drawn from."""

    current: list[ColumnProfile]
    references: dict[str, list[ColumnProfile]]
    past: list[Past]
    performance: list[PartitionPerformance]
    """Of the same partitions."""
    evaluation: EvaluationRecord | None
    """The newest one of the run's results."""


def read_stored(job: ScoringJob, manifest: Manifest, cache: ModelCache) -> StoredReport:
    """What the report of a run is drawn from.

    Raises:
        ScoringError: A store cannot be read, or a file in it.
    """
    runs = _runs_before(job, manifest, MAX_DATES)
    evaluations = {}
    if job.labels is not None:
        evaluations = evaluations_of(Workspace(job), runs)

    return StoredReport(
        current=_current_profile(job, manifest),
        references=_reference_profiles(job, manifest, cache),
        past=past_of_runs(job, runs),
        performance=recorded_performance_of(runs, evaluations, job.decision),
        evaluation=evaluations.get(manifest.result_id),
    )


def past_of(job: ScoringJob, manifest: Manifest, n_partitions: int = MAX_DATES) -> list[Past]:
    """The partitions before a run, and the run itself, in order."""
    return past_of_runs(job, _runs_before(job, manifest, n_partitions))


def past_of_runs(job: ScoringJob, manifests: Iterable[Manifest]) -> list[Past]:
    """The tables of statistics of some runs; runs without one are left out."""
    past: list[Past] = []
    for manifest in manifests:
        if manifest.drift is not None and (rows := read_statistics(job, manifest)):
            past.append(Past(show_value(manifest.partition), rows))

    return past


def _runs_before(job: ScoringJob, manifest: Manifest, n_partitions: int) -> list[Manifest]:
    """The run of each partition before a run, and the run itself, in order."""
    workspace = Workspace(job)
    values = earlier_values(workspace, manifest.partition)
    before = islice(latest_publications(workspace, values, or_held=True), n_partitions - 1)
    earlier = with_newest_comparisons(workspace.state, before)
    return [*reversed(earlier), manifest]


def first_reference(references: Container[str]) -> str:
    """The first reference that a run was compared with; empty if there is none."""
    return next((name for name in REFERENCES if name in references), "")


def _current_profile(job: ScoringJob, manifest: Manifest) -> list[ColumnProfile]:
    """The run's own profile; empty if it stored none.

    Raises:
        CorruptFileError: It cannot be read.
    """
    drift, state = manifest.drift, state_store(job)
    assert drift is not None  # noqa: S101

    if not drift.profile:
        return []

    try:
        return from_bytes(state.read_bytes(drift.profile))
    except ValueError as error:
        raise CorruptFileError(
            "The run's profile cannot be read.",
            state.locate_url(drift.profile),
            found=str(error)[:200],
            next_step="score the partition again with "
            f"`{job.command('run', show_value(manifest.partition), '--force')}`",
        ) from error


def _reference_profiles(
    job: ScoringJob, manifest: Manifest, cache: ModelCache
) -> dict[str, list[ColumnProfile]]:
    """The profiles of the first reference that still exists; the others are empty.

    The page takes the statistics of all references from the table, and draws only one.
    """
    drift = manifest.drift
    assert drift is not None  # noqa: S101
    profiles: dict[str, list[ColumnProfile]] = {
        name: [] for name in REFERENCES if name in drift.references
    }

    for name in profiles:
        try:
            profiles[name] = _reference(job, manifest, name, cache)
        except (ScoringError, ValueError):
            continue  # the next reference may still be there
        break

    return profiles


def _reference(
    job: ScoringJob, manifest: Manifest, name: str, cache: ModelCache
) -> list[ColumnProfile]:
    """The profile of one reference: the baseline, or the sum of the runs it was made of."""
    assert manifest.drift is not None  # noqa: S101
    workspace = Workspace(job)

    if name == "baseline":
        return stored_baseline(workspace, manifest, cache)

    run_ids = set(manifest.drift.references[name].split(", "))
    values = earlier_values(workspace, manifest.partition)
    parts: list[list[ColumnProfile]] = []

    for other in islice(latest_publications(workspace, values), 2 * MAX_DATES):
        if other.run_id in run_ids and other.drift and other.drift.profile:
            parts.append(from_bytes(workspace.state.read_bytes(other.drift.profile)))
            run_ids.discard(other.run_id)
        if not run_ids:
            break

    merged, _ = merge_profiles(parts)
    return list(merged.values())
