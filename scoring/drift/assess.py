"""Watches a run's columns: which bins they are counted in, what they are compared with, what comes of it."""

import base64
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from nightscore.drift.drivers import find_drivers
from nightscore.drift.findings import (
    QUIET,
    REFERENCES,
    Change,
    Comparison,
    compare_profiles,
    distances,
    expected_rate,
    judge,
    score_movement,
    worse,
)
from nightscore.drift.references import Habits, References
from nightscore.drift.series import read_table, statistics_table
from nightscore.engine.shard import ShardResult
from nightscore.errors import ScoringError
from nightscore.ledger.layout import drift_path, profile_path, state_store
from nightscore.profiles.profile import kind_of
from nightscore.profiles.profile_spec import (
    ProfiledColumn,
    ProfileSpec,
    match_column,
    match_segments,
    score_column,
)
from nightscore.profiles.table import ColumnProfile, Key, Role, from_bytes, merge_profiles, to_bytes
from nightscore.schemas.contract import Contract
from nightscore.schemas.drift import Severity
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import DriftRecord, DriverRecord, GateRecord, Manifest
from nightscore.schemas.partition import show_value

SHOWN = 5
FEW_ROWS = 200
"""Fewer rows on both sides are no change of their number worth a word."""
ROW_BOUNDS: tuple[tuple[Severity, float], ...] = (("critical", 0.2), ("warning", 0.5))
"""Rows as a share of those of the reference, or the other way round."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """What there are no bins and no segments for yet: they are taken from the first rows."""

    columns: tuple[tuple[Role, str], ...]
    segments: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        return [
            *(name for _, name in self.columns),
            *(f"segments of {name}" for name in self.segments),
        ]


def watch(
    job: ScoringJob,
    contract: Contract,
    references: References,
    resumed: Sequence[ShardResult],
) -> tuple[ProfileSpec, Unknown]:
    """What is profiled.

    Args:
        job: The job.
        contract: Names and types of the columns.
        references: Whose bins are taken.
        resumed: Shards of an earlier attempt, whose bins come first: theirs are to be added up.
    """
    like = references.bins | merge_profiles(profile_of(result) for result in resumed)[0]
    extra = {*job.drift.columns, *job.drift.segments}
    columns: list[tuple[Role, str, pa.DataType]] = [
        *(("feature", column.name, column.type) for column in contract.features),
        *(("prediction", column.name, column.type) for column in contract.predictions),
        *(("pass_through", c.name, c.type) for c in contract.kept if c.name in extra),
    ]
    wanted = [(role, name, kind) for role, name, kind in columns if kind_of(kind) is not None]
    references.unwatched = {
        name: f"{kind} is not profiled" for _, name, kind in columns if kind_of(kind) is None
    }
    found = {(role, name): match_column(role, name, like, kind) for role, name, kind in wanted}
    segments = {name: match_segments(name, like) for name in job.drift.segments}
    known = ProfileSpec(
        tuple(column for column in found.values() if column is not None),
        tuple(segment for segment in segments.values() if segment is not None),
        max_share=job.drift.max_share,
    )
    return known, Unknown(
        tuple(key for key, column in found.items() if column is None),
        tuple(name for name, segment in segments.items() if segment is None),
    )


def with_types(columns: Sequence[ProfiledColumn], contract: Contract) -> tuple[ProfiledColumn, ...]:
    """The columns, with the types that they have in the files."""
    types = dict(contract.types) | {
        column.name: str(column.type) for column in contract.predictions
    }
    return tuple(replace(column, type=types.get(column.name, "")) for column in columns)


def profile_of(result: ShardResult) -> list[ColumnProfile]:
    """What a shard's columns looked like."""
    return from_bytes(base64.b64decode(result.profile))


@dataclass(frozen=True, slots=True)
class Drift:
    """What is kept of a run."""

    record: DriftRecord
    profile: bytes
    """As a Parquet file."""
    table: bytes
    warnings: tuple[str, ...]


def assess(
    job: ScoringJob, manifest: Manifest, results: Sequence[ShardResult], references: References
) -> Drift:
    """Compare what the workers counted with what was there before."""
    profiles, failed = merge_profiles(profile_of(result) for result in results)
    now = list(profiles.values())
    comparisons = compare_profiles(now, references.profiles)
    _remember(now, comparisons, references.habits, show_value(manifest.partition))
    errors = references.unwatched | failed
    for result in results:
        errors |= result.profile_errors
    if "baseline" in comparisons:
        errors |= comparisons["baseline"].errors
    cpu_s = sum(result.cpu_s for result in results)
    record = _compare(manifest, profiles, comparisons, references).model_copy(
        update={
            "cpu_share": round(sum(result.profile_cpu_s for result in results) / cpu_s, 4)
            if cpu_s
            else 0.0,
            "unprofiled_rows": sum(result.n_unprofiled for result in results),
            "errors": errors,
        }
    )
    notes = list(references.warnings)
    if "baseline" not in references.names:
        notes.append("the model version has no baseline (`nightscore baseline` logs one)")
    if record.unprofiled_rows:
        notes.append(
            f"{record.unprofiled_rows:,} of {manifest.counts.rows_in:,} rows were not profiled, since that took more "
            f"than {job.drift.max_share:.0%} of the workers' CPU time (drift.max_share)"
        )
    table = statistics_table(manifest, now, comparisons, record)
    return Drift(record, to_bytes(now), table, tuple(notes))


def assess_again(
    manifest: Manifest, own: DriftRecord, columns: Sequence[ColumnProfile], references: References
) -> tuple[DriftRecord, bytes]:
    """The comparison of a run with other references than it had: the record, and its table of statistics.

    Args:
        manifest: Of the run.
        own: What the run itself has found; what was counted, and at which cost, is taken from it.
        columns: Its stored profile; it stays as it is.
        references: What to compare with.
    """
    profiles = {column.key: column for column in columns}
    features = {column.name for column in manifest.columns if column.role == "feature"}
    references.features = frozenset({*features, *own.errors}) if features else None
    comparisons = compare_profiles(columns, references.profiles)
    measured = {
        name: getattr(own, name) for name in ("cpu_share", "unprofiled_rows", "errors", "profile")
    }
    record = _compare(manifest, profiles, comparisons, references).model_copy(update=measured)
    return record, statistics_table(manifest, columns, comparisons, record)


def _compare(
    manifest: Manifest,
    profiles: Mapping[Key, ColumnProfile],
    comparisons: Mapping[str, Comparison],
    references: References,
) -> DriftRecord:
    """What the comparisons come to, without what the counting has cost."""
    changes = [*_schema_changes(manifest, profiles, references), *_row_change(manifest, references)]
    verdict, findings, resolved = judge(
        comparisons,
        references.neighbours.compared_before,
        manifest.partition,
        changes,
        _drivers(comparisons, profiles, references),
        references.habits,
        len(references.weekdays),
    )
    score = score_column({c.name: c.kind for c in profiles.values() if c.role == "prediction"})
    baseline = {column.key: column for column in references.profiles.get("baseline", ())}
    key: Key = ("prediction", score, "")
    labels = baseline[key].scores if key in baseline else None
    return DriftRecord(
        verdict=verdict,
        references=references.names,
        days=references.days,
        habit_runs=references.neighbours.habit_runs,
        neighbours=references.neighbours.digest,
        findings=findings,
        resolved=resolved,
        score=score,
        score_movement=score_movement(profiles.get(key), baseline.get(key)),
        n_columns=sum(not column.segment for column in profiles.values()),
        expected_rate=expected_rate(labels, profiles.get(key)) if labels else None,
        baseline_rate=labels.mean if labels else None,
    )


def _remember(
    now: Sequence[ColumnProfile],
    comparisons: Mapping[str, Comparison],
    habits: Habits,
    partition: str,
) -> None:
    """Hand the habits on, with today's distances."""
    found = comparisons["baseline"].columns if "baseline" in comparisons else {}
    for column in now:
        drift = None if column.segment else found.get(column.key)
        if drift is not None and drift.severity != "insufficient data":
            column.recent = {**habits.get(column.key, {}), partition: {**distances(drift)}}


def _drivers(
    comparisons: Mapping[str, Comparison], now: Mapping[Key, ColumnProfile], references: References
) -> dict[Key, tuple[DriverRecord, ...]]:
    """Of each column that differs, against the first reference that has segments."""
    if not any(segment for _, _, segment in now):
        return {}
    for name in REFERENCES:
        then = {column.key: column for column in references.profiles.get(name, ())}
        if any(segment for _, _, segment in then):
            moved = [
                k
                for k, d in comparisons[name].columns.items()
                if not k[2] and d.severity not in QUIET
            ]
            return {key: find_drivers(then, now, key[0], key[1]) for key in moved}
    return {}


def _schema_changes(
    manifest: Manifest, now: Mapping[Key, ColumnProfile], references: References
) -> Iterator[Change]:
    """Columns whose type in the files is another, or that came or went."""
    reference = next((name for name in REFERENCES if name in references.profiles), None)
    if reference is not None:
        for then in references.profiles[reference]:
            here = now.get(then.key)
            if then.segment or then.role == "prediction":
                continue
            if here is None:
                is_known = references.features is None or then.name in references.features
                if then.role == "feature" and not is_known:
                    yield Change(
                        "schema", then.name, reference, "warning", "is not in the input any more"
                    )
            elif then.type and here.type and then.type != here.type:
                severity: Severity = "info" if _both_numbers(then, here) else "warning"
                yield Change(
                    "schema", then.name, reference, severity, f"was {then.type}, is {here.type}"
                )
    if references.previous is not None:
        before, after = references.previous.inputs.extra_columns, manifest.inputs.extra_columns
        for name in sorted(set(after) - set(before)):
            yield Change(
                "schema", name, "previous", "info", "is new in the input, and nothing uses it"
            )
        for name in sorted(set(before) - set(after)):
            yield Change(
                "schema", name, "previous", "info", "was in the input, unused, and is not any more"
            )


def _both_numbers(then: ColumnProfile, now: ColumnProfile) -> bool:
    """Integers with a null in some file are floating numbers in the next: no news."""
    families = ("int", "uint", "float", "double", "halffloat", "decimal")
    return then.type.startswith(families) and now.type.startswith(families)


def _row_change(manifest: Manifest, references: References) -> Iterator[Change]:
    """Many more or fewer rows than on the same weekdays, or than in the partition before."""
    name = "weekdays" if references.weekdays else "previous"
    others = references.weekdays or ((references.previous,) if references.previous else ())
    if not others:
        return
    usual, rows = statistics.median(m.counts.rows_in for m in others), manifest.counts.rows_in
    ratio = min(rows, usual) / max(rows, usual, 1)
    if max(rows, usual) < FEW_ROWS:
        return
    for severity, bound in ROW_BOUNDS:
        if ratio < bound:
            where = "on the same weekdays" if name == "weekdays" else "in the partition before"
            yield Change("rows", "rows", name, severity, f"{rows:,} rows, {usual:,.0f} {where}")
            return


def drift_gate(job: ScoringJob, record: DriftRecord) -> GateRecord:
    """What the job's drift gate says of what a run has found."""
    closed = worse(record.findings, job.drift.severity)
    shown = "; ".join(
        f"{f.column} {f.severity}: {f.reasons[0] if f.reasons else ''}" for f in closed[:SHOWN]
    )
    more = f"; and {len(closed) - SHOWN} more" if len(closed) > SHOWN else ""
    return GateRecord(
        gate="drift",
        action="hold" if job.drift.gate == "hold" else "warn",
        passed=not closed,
        expected=f"no {job.drift.severity} finding"
        + (" or worse" if job.drift.severity == "warning" else ""),
        found=shown + more,
    )


def keep(job: ScoringJob, folder: str, run_id: str, drift: Drift) -> DriftRecord:
    """Write profile and statistics beside the run's manifest; the record with their places."""
    state = state_store(job)
    profile, table = profile_path(folder, run_id), drift_path(folder, run_id)
    state.write_bytes(profile, drift.profile)
    state.write_bytes(table, drift.table)
    return drift.record.model_copy(update={"profile": profile, "table": table})


def read_statistics(job: ScoringJob, manifest: Manifest) -> list[dict[str, Any]]:
    """The rows of a run's table of statistics; none where there is none that can be read."""
    if manifest.drift is None or not manifest.drift.table:
        return []
    try:
        return read_table(state_store(job).read_bytes(manifest.drift.table))
    except (ScoringError, ValueError):
        return []
