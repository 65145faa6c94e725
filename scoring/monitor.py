"""Watches a run's columns: which bins they are counted in, what they are compared with, what comes of it."""

import base64
import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.columns import Contract
from schemas.job import ScoringJob
from schemas.manifest import DriftRecord, FindingRecord, GateRecord, Manifest
from scoring.engine.pool import WorkerPool
from scoring.engine.prepare import PinnedModel
from scoring.engine.shard import ShardResult
from scoring.errors import ModelDigestError, ScoringError
from scoring.inputs.partitions import partition_date
from scoring.models.baseline import fetch_baseline
from scoring.models.cache import ModelCache
from scoring.monitoring.compare import CATEGORY_BOUNDS, NUMBER_BOUNDS
from scoring.monitoring.findings import Comparison, compare_profiles, judge, score_movement, worse
from scoring.monitoring.profile import kind_of
from scoring.monitoring.table import ColumnProfile, Key, Role, from_bytes, merge_profiles, to_bytes
from scoring.monitoring.watch import WatchedColumn, score_column, watch_column
from scoring.outputs.layout import drift_path, profile_path, state_store
from scoring.outputs.manifests import earlier_publications, publication

WEEKS = 4
"""Weeks whose same weekdays are pooled."""
SHOWN = 5
THRESHOLDS = {name: (warning, critical) for name, warning, critical in (*NUMBER_BOUNDS, *CATEGORY_BOUNDS)}
TABLE = pa.schema(
    [
        ("run_id", pa.string()),
        ("partition", pa.string()),
        ("model_version", pa.string()),
        ("column", pa.string()),
        ("role", pa.string()),
        ("segment", pa.string()),
        ("reference", pa.string()),
        ("statistic", pa.string()),
        ("value", pa.float64()),
        ("noise_floor", pa.float64()),
        ("p", pa.float64()),
        ("q", pa.float64()),
        ("threshold", pa.float64()),
        ("severity", pa.string()),
        ("status", pa.string()),
    ]
)


@dataclass(slots=True)
class References:
    """What a partition can be compared with, from stored profiles alone."""

    profiles: dict[str, list[ColumnProfile]] = field(default_factory=dict)
    """By reference: `baseline`, `weekdays`, `previous`."""
    names: dict[str, str] = field(default_factory=dict)
    previous: Manifest | None = None
    warnings: tuple[str, ...] = ()

    @property
    def bins(self) -> dict[Key, ColumnProfile]:
        """The columns over whose bins the partition is counted: the baseline's, else those of the run before."""
        found: dict[Key, ColumnProfile] = {}
        for name in ("previous", "weekdays", "baseline"):
            found |= {column.key: column for column in self.profiles.get(name, ())}
        return found


def find_references(job: ScoringJob, value: str | None, model: PinnedModel, cache: ModelCache) -> References:
    """The model's baseline, the partition before, the same weekdays. One that cannot be had is a warning."""
    found = References()
    warnings = []
    try:
        baseline = fetch_baseline(model.version, job.registry, cache)
        if baseline is not None:
            found.profiles["baseline"] = from_bytes(baseline[1])
            found.names["baseline"] = baseline[0]
    except ModelDigestError:
        raise
    except (ScoringError, ValueError) as error:
        warnings.append(f"no comparison with the model's baseline: {error}")
    state, key = state_store(job), job.input.partition_key
    found.previous = next((m for m in earlier_publications(state, key, value) if m.drift and m.drift.profile), None)
    if found.previous is not None:
        found.profiles["previous"] = _stored(job, [found.previous])
        found.names["previous"] = found.previous.run_id
    day = partition_date(job, value)
    days = [day - timedelta(weeks=week) for week in range(1, WEEKS + 1)] if day else []
    earlier = [publication(state, key, date.strftime(job.input.partition_format)) for date in days]
    weekdays = [m for m in earlier if m is not None and m.drift is not None and m.drift.profile]
    if weekdays and (pooled := _stored(job, weekdays)):
        found.profiles["weekdays"] = pooled
        found.names["weekdays"] = ", ".join(m.run_id for m in weekdays)
    found.profiles = {name: columns for name, columns in found.profiles.items() if columns}
    found.names = {name: text for name, text in found.names.items() if name in found.profiles}
    found.warnings = tuple(warnings)
    return found


def _stored(job: ScoringJob, manifests: Sequence[Manifest]) -> list[ColumnProfile]:
    """The sum of the runs' profiles; those that are gone are left out."""
    state, parts = state_store(job), []
    for manifest in manifests:
        with contextlib.suppress(ScoringError, ValueError):
            assert manifest.drift is not None  # noqa: S101
            parts.append(from_bytes(state.read_bytes(manifest.drift.profile)))
    return list(merge_profiles(parts)[0].values())


def watch(
    job: ScoringJob,
    contract: Contract,
    references: References,
    resumed: Sequence[ShardResult],
) -> tuple[tuple[WatchedColumn, ...], list[tuple[Role, str]]]:
    """The columns to profile, and those of numbers that there are no bins for yet.

    Args:
        job: The job.
        contract: Names and types of the columns.
        references: Whose bins are taken.
        resumed: Shards of an earlier attempt, whose bins come first: theirs are to be added up.
    """
    like = references.bins | merge_profiles(profile_of(result) for result in resumed)[0]
    columns: list[tuple[Role, str, pa.DataType]] = [
        *(("feature", column.name, column.type) for column in contract.features),
        *(("prediction", column.name, column.type) for column in contract.predictions),
        *(("pass_through", c.name, c.type) for c in contract.kept if c.name in job.drift.columns),
    ]
    wanted = [(role, name, kind) for role, name, kind in columns if kind_of(kind) is not None]
    found = {(role, name): watch_column(role, name, like, kind) for role, name, kind in wanted}
    unknown = [key for key, column in found.items() if column is None]
    return tuple(column for column in found.values() if column is not None), unknown


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
    closed: tuple[FindingRecord, ...]
    """Findings that the job's drift gate does not let pass."""


def assess(
    job: ScoringJob, manifest: Manifest, results: Sequence[ShardResult], references: References, pool: WorkerPool
) -> Drift:
    """Compare what the workers counted with what was there before."""
    profiles, failed = merge_profiles(profile_of(result) for result in results)
    now = list(profiles.values())
    comparisons = pool.call(compare_profiles, now, references.profiles) if references.profiles else {}
    before = references.previous.drift if references.previous else None
    verdict, findings, resolved = judge(comparisons, before, manifest.partition)
    errors = dict(failed)
    for result in results:
        errors |= result.profile_errors
    if "baseline" in comparisons:
        errors |= comparisons["baseline"].errors
    score = score_column({c.name: c.kind for c in profiles.values() if c.role == "prediction"})
    baseline = {column.key: column for column in references.profiles.get("baseline", ())}
    key: Key = ("prediction", score, "")
    record = DriftRecord(
        verdict=verdict,
        references=references.names,
        findings=findings,
        resolved=resolved,
        score=score,
        score_movement=score_movement(profiles.get(key), baseline.get(key)),
        n_columns=len(profiles),
        errors=errors,
    )
    closed = tuple(worse(findings, job.drift.severity)) if job.drift.gate != "off" else ()
    notes = list(references.warnings)
    if "baseline" not in references.names:
        notes.append("the model version has no baseline (`nightscore baseline` logs one)")
    table = _table(manifest, comparisons, findings)
    return Drift(record, to_bytes(now), table, tuple(notes), closed)


def drift_gate(job: ScoringJob, drift: Drift) -> GateRecord:
    """What the job's drift gate says."""
    shown = "; ".join(f"{f.column} {f.severity}: {f.reasons[0] if f.reasons else ''}" for f in drift.closed[:SHOWN])
    more = f"; and {len(drift.closed) - SHOWN} more" if len(drift.closed) > SHOWN else ""
    return GateRecord(
        gate="drift",
        action="hold" if job.drift.gate == "hold" else "warn",
        passed=not drift.closed,
        expected=f"no {job.drift.severity} finding" + (" or worse" if job.drift.severity == "warning" else ""),
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
        content = state_store(job).read_bytes(manifest.drift.table)
        return list(pq.read_table(io.BytesIO(content)).to_pylist())
    except (ScoringError, pa.ArrowException):
        return []


def _table(manifest: Manifest, comparisons: dict[str, Comparison], findings: Sequence[FindingRecord]) -> bytes:
    """One row for each statistic of each column and reference."""
    status = {(f.reference, f.role, f.column): "seasonal" if f.is_seasonal else f.status for f in findings}
    rows = []
    for reference, comparison in comparisons.items():
        for (role, name, segment), drift in comparison.columns.items():
            values = drift.statistics | {
                "null_rate_difference": drift.null_rate_difference,
                "impact": comparison.impacts.get((role, name, segment)),
            }
            floor = None
            if (laplace := values.get("psi_laplace")) is not None and (adjusted := values.get("psi_adjusted")):
                floor = laplace - adjusted
            for statistic, value in values.items():
                rows.append(
                    {
                        "run_id": manifest.run_id,
                        "partition": manifest.partition,
                        "model_version": manifest.model.version,
                        "column": name,
                        "role": role,
                        "segment": segment,
                        "reference": reference,
                        "statistic": statistic,
                        "value": value,
                        "noise_floor": floor if statistic == "psi_adjusted" else None,
                        "p": values.get("chi2_pvalue") if statistic in ("chi2", "psi_adjusted") else None,
                        "q": values.get("chi2_qvalue") if statistic in ("chi2", "psi_adjusted") else None,
                        "threshold": THRESHOLDS.get(statistic, (None,))[0],
                        "severity": drift.severity,
                        "status": status.get((reference, role, name), ""),
                    }
                )
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, TABLE), sink, compression="zstd")
    return sink.getvalue()
