"""Assesses a run: compares what its workers counted with the references, and stores the result."""

import base64
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from nightscore.engine.shard import ShardResult
from nightscore.ledger.layout import drift_path, profile_path, state_store
from nightscore.monitoring.drift.changes import find_changes
from nightscore.monitoring.drift.compare_profiles import (
    Comparison,
    compare_profiles,
    compare_several,
)
from nightscore.monitoring.drift.drivers import find_drivers
from nightscore.monitoring.drift.findings import QUIET, Context, Judgement, judge
from nightscore.monitoring.drift.impact import expected_rate, score_movement
from nightscore.monitoring.drift.neighbours import Neighbours
from nightscore.monitoring.drift.profiling import profile_of
from nightscore.monitoring.drift.references import Habits, References
from nightscore.monitoring.drift.seasonal import distances
from nightscore.monitoring.drift.statistics_table import statistics_table
from nightscore.process import start_daemon
from nightscore.profiles.profile_spec import score_column
from nightscore.profiles.table import (
    ColumnProfile,
    Key,
    merge_profiles,
    read_stream,
    to_bytes,
    with_recent,
    write_parquet,
)
from nightscore.schemas.drift import REFERENCES
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import DriftRecord, DriverRecord, Manifest
from nightscore.schemas.model_uri import is_logged_model
from nightscore.schemas.partition import show_value

Profiles = Mapping[Key, ColumnProfile]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """What is stored of a run's comparison."""

    record: DriftRecord
    profile: bytes
    """As a Parquet file."""
    table: bytes
    """The statistics, as a Parquet file."""
    warnings: tuple[str, ...]
    predictions: tuple[ColumnProfile, ...] = ()
    """The profiles of the prediction columns."""
    columns: tuple[ColumnProfile, ...] = ()
    """The profile, if it is what reading the file would give. A sum of several shards has its
    categories in another order."""


def assess(
    job: ScoringJob, manifest: Manifest, results: Sequence[ShardResult], references: References
) -> Drift:
    """Compare what the workers counted with the references."""
    profiles, failed = merge_profiles(profile_of(result) for result in results)
    columns = list(profiles.values())
    comparisons = compare_profiles(columns, references.profiles)
    _remember(columns, comparisons, references.habits, show_value(manifest.partition))

    errors = references.unwatched | failed

    for result in results:
        errors |= result.profile_errors

    if "baseline" in comparisons:
        errors |= comparisons["baseline"].errors

    judgement = judge(comparisons, _context(manifest, profiles, comparisons, references))
    record = _record(profiles, judgement, references).model_copy(
        update={
            "cpu_share": _cpu_share(results),
            "unprofiled_rows": sum(result.n_unprofiled for result in results),
            "errors": errors,
        }
    )

    table = statistics_table(manifest, columns, comparisons, record)
    warnings = _warnings(job, manifest, record, references)

    return Drift(
        record=record,
        profile=_stored(results, columns),
        table=table,
        warnings=warnings,
        predictions=tuple(column for column in columns if column.role == "prediction"),
        columns=tuple(columns) if len(results) == 1 else (),
    )


def _stored(results: Sequence[ShardResult], columns: Sequence[ColumnProfile]) -> bytes:
    """The profile as a Parquet file.

    That of a single shard is one already. It lacks only what the comparison has found.
    """
    if len(results) != 1 or not results[0].counted:
        return to_bytes(columns)

    (result,) = results
    if result.profile and not any(column.recent for column in columns):
        return base64.b64decode(result.profile)
    return write_parquet(with_recent(read_stream(result.counted), columns))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reassessment:
    """A run against other references than it had."""

    record: DriftRecord
    table: bytes
    """The statistics, as a Parquet file."""
    comparisons: Mapping[str, Comparison]
    context: Context


def assess_again(
    manifest: Manifest, own: DriftRecord, columns: Sequence[ColumnProfile], references: References
) -> Reassessment:
    """Compare a run with other references than it had.

    Args:
        manifest: Of the run.
        own: The run's own comparison. What was counted, and at which cost, is taken from it.
        columns: The run's stored profile. It stays as it is.
        references: What to compare with.
    """
    run = ProfiledRun(manifest=manifest, own=own, columns=columns, references=references)
    return assess_several_again([run])[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfiledRun:
    """A run to compare again; see `assess_again`."""

    manifest: Manifest
    own: DriftRecord
    columns: Sequence[ColumnProfile]
    references: References


def assess_several_again(runs: Sequence[ProfiledRun]) -> list[Reassessment]:
    """Compare runs with other references than they had, measured at once."""
    compared = compare_several([(run.columns, run.references.profiles) for run in runs])
    return [_reassess(*pair) for pair in zip(runs, compared, strict=True)]


def _reassess(run: ProfiledRun, comparisons: Mapping[str, Comparison]) -> Reassessment:
    manifest, own, columns, references = run.manifest, run.own, run.columns, run.references
    profiles = {column.key: column for column in columns}
    features = {column.name for column in manifest.columns if column.role == "feature"}

    references.features = frozenset({*features, *own.errors}) if features else None

    context = _context(manifest, profiles, comparisons, references)

    measured = ("cpu_share", "unprofiled_rows", "errors", "profile")
    record = _record(profiles, judge(comparisons, context), references).model_copy(
        update={name: getattr(own, name) for name in measured}
    )

    return Reassessment(
        record=record,
        table=statistics_table(manifest, columns, comparisons, record),
        comparisons=comparisons,
        context=context,
    )


def judge_again(
    early: Reassessment,
    manifest: Manifest,
    columns: Sequence[ColumnProfile],
    neighbours: Neighbours,
) -> tuple[DriftRecord, bytes]:
    """What `assess_again` says and stores once the comparison of the partition before is known.

    That one says since when a finding lasts. All else depends on stored profiles alone.

    Args:
        early: Made against the same neighbours, but without that comparison.
        manifest: Of the run.
        columns: The run's stored profile.
        neighbours: With that comparison.
    """
    context = replace(early.context, previous=neighbours.compared_before)
    judgement = judge(early.comparisons, context)
    record = early.record.model_copy(
        update={**judgement._asdict(), "neighbours": neighbours.digest}
    )

    if _statuses(record) == _statuses(early.record):
        return record, early.table
    return record, statistics_table(manifest, columns, early.comparisons, record)


def _statuses(record: DriftRecord) -> list[str]:
    """All that a table of statistics has of the partition before, in the order of the findings."""
    return [finding.status for finding in record.findings]


def keep(job: ScoringJob, folder: str, run_id: str, drift: Drift) -> DriftRecord:
    """Write profile and statistics beside the run's manifest; the record with their places."""
    state = state_store(job)
    profile, table = profile_path(folder, run_id), drift_path(folder, run_id)
    # Making a file durable is mostly waiting.
    writing = start_daemon("statistics", functools.partial(state.write_bytes, table, drift.table))
    state.write_bytes(profile, drift.profile)
    writing.result()

    return drift.record.model_copy(update={"profile": profile, "table": table})


def _context(
    manifest: Manifest,
    profiles: Profiles,
    comparisons: Mapping[str, Comparison],
    references: References,
) -> Context:
    return Context(
        partition=manifest.partition,
        previous=references.neighbours.compared_before,
        changes=[*find_changes(manifest, profiles, references)],
        drivers=_drivers(comparisons, profiles, references),
        habits=references.habits,
        n_weekdays=len(references.weekdays),
    )


def _record(profiles: Profiles, judgement: Judgement, references: References) -> DriftRecord:
    """The record, without what the counting has cost."""
    predictions = {c.name: c.kind for c in profiles.values() if c.role == "prediction"}
    score = score_column(predictions)
    key: Key = ("prediction", score, "")
    now = profiles.get(key)
    baseline = _of_baseline(references, key)
    labels = baseline.scores if baseline is not None else None

    return DriftRecord(
        verdict=judgement.verdict,
        references=references.names,
        days=references.days,
        habit_runs=references.neighbours.habit_runs,
        neighbours=references.neighbours.digest,
        findings=judgement.findings,
        resolved=judgement.resolved,
        score=score,
        score_movement=score_movement(now, baseline),
        n_columns=sum(not column.segment for column in profiles.values()),
        expected_rate=expected_rate(labels, now) if labels else None,
        baseline_rate=labels.mean if labels else None,
    )


def _of_baseline(references: References, key: Key) -> ColumnProfile | None:
    columns = references.profiles.get("baseline", ())
    # The last one counts, should a profile have two of a key.
    return {column.key: column for column in columns}.get(key)


def _remember(
    columns: Sequence[ColumnProfile],
    comparisons: Mapping[str, Comparison],
    habits: Habits,
    partition: str,
) -> None:
    """Hand the habits on, with today's distances."""
    compared = comparisons["baseline"].columns if "baseline" in comparisons else {}

    for column in columns:
        drift = None if column.segment else compared.get(column.key)
        if drift is not None and drift.severity != "insufficient data":
            column.recent = {**habits.get(column.key, {}), partition: distances(drift)}


def _drivers(
    comparisons: Mapping[str, Comparison], profiles: Profiles, references: References
) -> dict[Key, tuple[DriverRecord, ...]]:
    """Segments behind each column that differs from the first reference that has segments."""
    if not any(segment for _, _, segment in profiles):
        return {}

    for name in REFERENCES:
        reference = {column.key: column for column in references.profiles.get(name, ())}
        if not any(segment for _, _, segment in reference):
            continue
        compared = comparisons[name].columns.items()
        moved = [key for key, drift in compared if not key[2] and drift.severity not in QUIET]
        return {key: find_drivers(reference, profiles, key[0], key[1]) for key in moved}

    return {}


def _cpu_share(results: Sequence[ShardResult]) -> float:
    cpu_s = sum(result.cpu_s for result in results)
    profile_cpu_s = sum(result.profile_cpu_s for result in results)
    if cpu_s:
        return round(profile_cpu_s / cpu_s, 4)
    return 0.0


def _warnings(
    job: ScoringJob, manifest: Manifest, record: DriftRecord, references: References
) -> tuple[str, ...]:
    warnings = list(references.warnings)

    has_versions = not is_logged_model(manifest.model.version)  # others have no baseline
    if "baseline" not in references.names and has_versions:
        warnings.append("the model version has no baseline (`nightscore baseline` logs one)")

    if record.unprofiled_rows:
        warnings.append(
            f"{record.unprofiled_rows:,} of {manifest.counts.rows_in:,} rows were not profiled: "
            f"profiling took more than {job.drift.max_share:.0%} of the workers' CPU time "
            "(drift.max_share)"
        )

    return tuple(warnings)
