"""The statistics of all runs as one long table, a row a statistic: the time series of each column."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from nightscore.arrow.arrays import from_columns
from nightscore.drift.distances import CATEGORY_BOUNDS, NUMBER_BOUNDS
from nightscore.drift.findings import Comparison
from nightscore.errors import CorruptFileError
from nightscore.profiles.profile import NumberProfile
from nightscore.profiles.table import ColumnProfile, read_whole
from nightscore.schemas.manifest import DriftRecord, FindingRecord, Manifest

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


class _Rows:
    """The table on its way, by columns."""

    def __init__(self, manifest: Manifest) -> None:
        self.columns: dict[str, list[Any]] = {name: [] for name in SCHEMA.names}
        self._run = (manifest.run_id, manifest.partition, manifest.model.version)

    def add(
        self,
        key: tuple[str, str, str],
        reference: str,
        values: Mapping[str, float | None],
        severity: str = "",
        status: str = "",
    ) -> dict[str, list[float | None]]:
        """A row for each statistic of a column; returns what else can be known of them, to be filled in."""
        role, name, segment = key
        common = (*self._run, name, role, segment, reference, severity, status)
        n_rows = len(values)
        for column, value in zip(_COMMON, common, strict=True):
            self.columns[column] += [value] * n_rows
        self.columns["statistic"] += values
        self.columns["value"] += values.values()
        self.columns["threshold"] += [THRESHOLDS.get(statistic) for statistic in values]
        return {name: [None] * n_rows for name in _TESTS}

    def fill(self, known: Mapping[str, list[float | None]]) -> None:
        """Have it, of the rows that were added last."""
        for name, values in known.items():
            self.columns[name] += values


_COMMON = (
    "run_id",
    "partition",
    "model_version",
    "column",
    "role",
    "segment",
    "reference",
    "severity",
    "status",
)
"""What the rows of one column and reference have in common."""
_TESTS = ("noise_floor", "p", "q")


def statistics_table(
    manifest: Manifest,
    profiles: Sequence[ColumnProfile],
    comparisons: Mapping[str, Comparison],
    record: DriftRecord,
) -> bytes:
    """One run's rows, as a Parquet file."""
    import pyarrow.parquet as pq  # what a driver that writes nothing need not import

    rows = _Rows(manifest)
    for column in profiles:
        if not column.segment and column.profile.n_rows:
            rows.fill(rows.add(column.key, NOW, _own(column)))
    for name, comparison in comparisons.items():
        _add_comparison(rows, name, comparison, record)
    for finding in record.findings:
        if finding.role in ("rows", "schema"):
            key = (finding.role, finding.column, "")
            rows.fill(rows.add(key, finding.reference, {"changed": 1.0}, finding.severity))
    rows.fill(rows.add(("rows", "rows", ""), NOW, {"rows": float(manifest.counts.rows_in)}))
    sink = io.BytesIO()
    pq.write_table(
        from_columns(rows.columns, SCHEMA), sink, compression="zstd", use_dictionary=_TEXTS
    )
    return sink.getvalue()


_TEXTS = [field.name for field in SCHEMA if pa.types.is_string(field.type)]
"""They repeat; numbers do not."""


def read_table(content: bytes) -> list[dict[str, Any]]:
    """The rows of one run, but for those of segments.

    Raises:
        ValueError: It is no such table.
    """
    try:
        table = read_whole(content)
        return list(table.filter(pc.equal(table.column("segment"), "")).to_pylist())
    except CorruptFileError as error:
        raise ValueError(f"no table of statistics: {error.found}") from error
    except (pa.ArrowException, KeyError) as error:
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


def _own(column: ColumnProfile) -> dict[str, float | None]:
    """What a column is by itself; None where that is not known."""
    profile = column.profile
    values = {"null_rate": profile.n_null / profile.n_rows, "distinct": profile.n_distinct}
    if isinstance(profile, NumberProfile):
        values |= {
            "mean": profile.mean,
            "std": profile.std,
            "nan_rate": profile.n_nan / profile.n_rows,
        }
    return {statistic: value if value == value else None for statistic, value in values.items()}


def _add_comparison(
    rows: _Rows, reference: str, comparison: Comparison, record: DriftRecord
) -> None:
    by_key: dict[tuple[str, str, str], FindingRecord] = {
        (f.reference, f.role, f.column): f for f in record.findings
    }
    for key, drift in comparison.columns.items():
        role, name, segment = key
        finding = None if segment else by_key.get((reference, role, name))
        status = "" if finding is None else "seasonal" if finding.is_seasonal else finding.status
        values = drift.statistics | {
            "null_rate_difference": drift.null_rate_difference,
            "impact": comparison.impacts.get(key),
        }
        floor = values.pop("psi_noise_floor", None)
        p, q = values.get("chi2_pvalue"), values.get("chi2_qvalue")
        if segment:
            values = {
                statistic: value for statistic, value in values.items() if statistic in OF_SEGMENTS
            }
        known = rows.add(key, reference, values, drift.severity, status)
        for place, statistic in enumerate(values):
            if statistic in ("chi2", "psi_adjusted"):
                known["p"][place], known["q"][place] = p, q
            if statistic == "psi_adjusted":
                known["noise_floor"][place] = floor
        rows.fill(known)
