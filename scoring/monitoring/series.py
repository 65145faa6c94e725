"""The statistics of all runs as one long table, a row a statistic: the time series of each column."""

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from schemas.manifest import DriftRecord, FindingRecord, Manifest
from scoring.arrays import to_table
from scoring.monitoring.compare import CATEGORY_BOUNDS, NUMBER_BOUNDS
from scoring.monitoring.findings import Comparison
from scoring.monitoring.profile import NumberProfile
from scoring.monitoring.table import ColumnProfile, Key, read_whole

THRESHOLDS = {name: warning for name, warning, _ in (*NUMBER_BOUNDS, *CATEGORY_BOUNDS)}
OF_SEGMENTS = ("psi_adjusted", "ks", "linf", "null_rate_difference")
"""Of a segment's columns only these: there are many."""
NOW = "none"
"""Reference of what a column is by itself: its mean, its missing values."""
SCHEMA = pa.schema(
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


@dataclass(frozen=True, slots=True)
class _Place:
    """What the rows of one column and reference have in common."""

    run_id: str
    partition: str | None
    model_version: str
    column: str
    role: str
    segment: str
    reference: str
    severity: str = ""
    status: str = ""

    def row(self, statistic: str, value: float | None, **known: float | None) -> dict[str, Any]:
        common = {name: getattr(self, name) for name in self.__slots__}
        return common | {"statistic": statistic, "value": value, "threshold": THRESHOLDS.get(statistic)} | known


def statistics_table(
    manifest: Manifest,
    profiles: Sequence[ColumnProfile],
    comparisons: Mapping[str, Comparison],
    record: DriftRecord,
) -> bytes:
    """One run's rows, as a Parquet file."""
    rows = [row for column in profiles for row in _own_rows(manifest, column)]
    rows += [row for name, comparison in comparisons.items() for row in _rows(manifest, name, comparison, record)]
    for finding in record.findings:
        if finding.role in ("rows", "schema"):
            place = _place(manifest, (finding.role, finding.column, ""), finding.reference, finding.severity)
            rows.append(place.row("changed", 1.0))
    rows.append(_place(manifest, ("rows", "rows", ""), NOW).row("rows", float(manifest.counts.rows_in)))
    sink = io.BytesIO()
    pq.write_table(to_table(rows, SCHEMA), sink, compression="zstd")
    return sink.getvalue()


def read_table(content: bytes) -> list[dict[str, Any]]:
    """The rows of one run, but for those of segments.

    Raises:
        ValueError: It is no such table.
    """
    try:
        table = read_whole(content)
        return list(table.filter(pc.equal(table.column("segment"), "")).to_pylist())
    except (pa.ArrowException, OSError, KeyError) as error:
        raise ValueError(f"no table of statistics: {error}") from error


@dataclass(frozen=True, slots=True)
class Past:
    """One partition of the series."""

    partition: str
    rows: Sequence[Mapping[str, Any]]
    """Of its table of statistics."""


def series_of(
    past: Sequence[Past], role: str | None, column: str, statistic: str, reference: str
) -> list[float | None]:
    """One statistic of a column over the partitions; None where it is not known. `role` None: whichever has it."""
    return [
        next(
            (
                row["value"]
                for row in one.rows
                if row["column"] == column
                and row["statistic"] == statistic
                and row["reference"] == reference
                and not row["segment"]
                and role in (None, row["role"])
            ),
            None,
        )
        for one in past
    ]


def _own_rows(manifest: Manifest, column: ColumnProfile) -> Iterable[dict[str, Any]]:
    if column.segment or not column.profile.n_rows:
        return
    place, profile = _place(manifest, column.key, NOW), column.profile
    values = {"null_rate": profile.n_null / profile.n_rows, "distinct": profile.n_distinct}
    if isinstance(profile, NumberProfile):
        values |= {"mean": profile.mean, "std": profile.std, "nan_rate": profile.n_nan / profile.n_rows}
    for statistic, value in values.items():
        yield place.row(statistic, value if value == value else None)


def _rows(
    manifest: Manifest, reference: str, comparison: Comparison, record: DriftRecord
) -> Iterable[dict[str, Any]]:
    by_key: dict[tuple[str, str, str], FindingRecord] = {(f.reference, f.role, f.column): f for f in record.findings}
    for key, drift in comparison.columns.items():
        role, name, segment = key
        finding = None if segment else by_key.get((reference, role, name))
        status = "" if finding is None else "seasonal" if finding.is_seasonal else finding.status
        place = _place(manifest, key, reference, drift.severity, status)
        values = drift.statistics | {
            "null_rate_difference": drift.null_rate_difference,
            "impact": comparison.impacts.get(key),
        }
        floor = values.pop("psi_noise_floor", None)
        p, q = values.get("chi2_pvalue"), values.get("chi2_qvalue")
        for statistic, value in values.items():
            if segment and statistic not in OF_SEGMENTS:
                continue
            is_tested = statistic in ("chi2", "psi_adjusted")
            yield place.row(
                statistic,
                value,
                noise_floor=floor if statistic == "psi_adjusted" else None,
                p=p if is_tested else None,
                q=q if is_tested else None,
            )


def _place(
    manifest: Manifest, key: Key | tuple[str, str, str], reference: str, severity: str = "", status: str = ""
) -> _Place:
    role, name, segment = key
    return _Place(
        manifest.run_id, manifest.partition, manifest.model.version, name, role, segment, reference, severity, status
    )
