"""A run's statistics as one long table, with a row for each statistic.

The tables of many runs give the series of a column.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nightscore.arrow.arrays import from_numpy, from_texts, from_values, sparse_numbers
from nightscore.arrow.long_table import to_parquet
from nightscore.errors import CorruptFileError, ScoringError
from nightscore.ledger.layout import state_store
from nightscore.monitoring.drift import statistic_catalog
from nightscore.monitoring.drift.compare_profiles import Comparison
from nightscore.profiles.profile import NumberProfile
from nightscore.profiles.table import ColumnProfile, read_whole
from nightscore.schemas.drift import ColumnDrift
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import DriftRecord, FindingRecord, Manifest

NO_REFERENCE = "none"
"""Reference of a column's own figures: its mean, its missing values."""
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
_TEXTS_OF_BLOCKS = ("column", "role", "segment", "reference", "severity", "status")
"""The same for all statistics of a column against one reference."""
_TESTS = ("noise_floor", "p", "q")
"""Most statistics have none of these."""

Values = Mapping[str, float | None]
"""Statistic to value; None where it is not known."""
Tests = Sequence[tuple[str, str, float | None]]
"""One of `_TESTS`, the statistic that it belongs to, and its value; None where it is not known."""


def statistics_table(
    manifest: Manifest,
    profiles: Sequence[ColumnProfile],
    comparisons: Mapping[str, Comparison],
    record: DriftRecord,
) -> bytes:
    """One run's rows, as a Parquet file."""
    rows = _Rows(manifest)

    for column in profiles:
        if not column.segment and column.profile.n_rows:
            rows.add(column.key, NO_REFERENCE, _own_figures(column))

    for reference, comparison in comparisons.items():
        _add_comparison(rows, reference, comparison, record)

    for finding in record.findings:
        if finding.role in ("rows", "schema"):
            key = (finding.role, finding.column, "")
            rows.add(key, finding.reference, {"changed": 1.0}, finding.severity)

    rows.add(("rows", "rows", ""), NO_REFERENCE, {"rows": float(manifest.counts.rows_in)})

    return to_parquet(rows.table())


def read_table(content: bytes) -> list[dict[str, Any]]:
    """The rows of one run, but for those of segments.

    Raises:
        ValueError: It is no such table.
    """
    try:
        table = read_whole(content)
        return list(table.filter(pc.equal(table.column("segment"), "")).to_pylist())
    except CorruptFileError as error:
        raise ValueError(f"not a table of statistics: {error.found}") from error
    except (pa.ArrowException, KeyError) as error:
        raise ValueError(f"not a table of statistics: {error}") from error


def read_statistics(job: ScoringJob, manifest: Manifest) -> list[dict[str, Any]]:
    """The rows of a run's table of statistics; none if it has no table that can be read."""
    if manifest.drift is None or not manifest.drift.table:
        return []
    try:
        return read_table(state_store(job).read_bytes(manifest.drift.table))
    except (ScoringError, ValueError):
        return []


class _Rows:
    """The table under construction: blocks of rows, each of one column and one reference."""

    def __init__(self, manifest: Manifest) -> None:
        self._run = {
            "run_id": manifest.run_id,
            "partition": manifest.partition,
            "model_version": manifest.model.version,
        }
        self._blocks: list[tuple[str, ...]] = []
        """The texts of each."""
        self._sizes: list[int] = []
        self._statistics: list[str] = []
        self._values: list[float | None] = []
        self._tests: dict[str, dict[int, float]] = {name: {} for name in _TESTS}
        """By row."""

    def add(
        self,
        key: tuple[str, str, str],
        reference: str,
        values: Values,
        severity: str = "",
        status: str = "",
        tests: Tests = (),
    ) -> None:
        """A row for each statistic of a column.

        Args:
            key: Role, name and segment of the column.
            reference: What it is compared with.
            values: The statistics.
            severity: Of the column.
            status: Of its finding.
            tests: Of these statistics. Those of others are left out.
        """
        first = len(self._statistics)
        names = list(values)
        for column, name, number in tests:
            if number is not None and name in values:
                self._tests[column][first + names.index(name)] = number

        role, name, segment = key
        self._blocks.append((name, role, segment, reference, severity, status))
        self._sizes.append(len(values))
        self._statistics += names
        self._values += values.values()

    def table(self) -> pa.Table:
        """All rows. The texts of a block are repeated here, since a block has many rows."""
        n_rows = len(self._statistics)
        columns: dict[str, pa.Array] = {}

        for name, text in self._run.items():
            columns[name] = _repeat([text], np.zeros(n_rows, np.int64))

        blocks = np.repeat(np.arange(len(self._sizes)), self._sizes)
        texts_of_blocks = zip(*self._blocks, strict=True)
        for name, texts in zip(_TEXTS_OF_BLOCKS, texts_of_blocks, strict=True):
            columns[name] = _repeat(texts, blocks)

        for name, by_row in self._tests.items():
            columns[name] = sparse_numbers(by_row, n_rows)

        names = list(dict.fromkeys(self._statistics))
        codes = _codes(self._statistics, names)
        known = {one.name: one.warning for one in statistic_catalog.STATISTICS}
        thresholds = [known.get(name) for name in names]
        columns["statistic"] = _repeat(names, codes)
        columns["threshold"] = from_values(thresholds, pa.float64()).take(from_numpy(codes))
        columns["value"] = from_values(self._values, pa.float64())

        return pa.table({name: columns[name] for name in SCHEMA.names})


def _repeat(texts: Sequence[str | None], places: npt.NDArray[Any]) -> pa.Array:
    """The texts at these places: as a dictionary, which is written as it is, if none is null."""
    if None in texts:
        return from_texts(texts).take(from_numpy(places))

    distinct = list(dict.fromkeys(texts))
    codes = _codes(texts, distinct)[places]
    return pa.DictionaryArray.from_arrays(from_numpy(codes), from_texts(distinct))


def _codes(texts: Sequence[str | None], distinct: Sequence[str | None]) -> npt.NDArray[np.int32]:
    """The place of each text among the distinct ones."""
    places = dict(zip(distinct, range(len(distinct)), strict=True))
    return np.array(list(map(places.__getitem__, texts)), np.int32)


def _own_figures(column: ColumnProfile) -> dict[str, float | None]:
    """What a column is by itself."""
    profile = column.profile
    figures = {"null_rate": profile.n_null / profile.n_rows, "distinct": profile.n_distinct}

    if isinstance(profile, NumberProfile):
        figures["mean"] = profile.mean
        figures["std"] = profile.std
        figures["nan_rate"] = profile.n_nan / profile.n_rows

    return {name: _or_none(figure) for name, figure in figures.items()}


def _or_none(figure: float) -> float | None:
    """None in place of nan, which stands for what is not known."""
    if math.isnan(figure):
        return None
    return figure


def _add_comparison(
    rows: _Rows, reference: str, comparison: Comparison, record: DriftRecord
) -> None:
    findings: dict[tuple[str, str, str], FindingRecord] = {}
    for finding in record.findings:
        findings[finding.reference, finding.role, finding.column] = finding

    stored_of_columns = _stored_of_columns()
    stored_of_segments = {*statistic_catalog.names_in("segments")}
    sources = _sources_of_tests()

    for key, drift in comparison.columns.items():
        role, name, segment = key
        stored = stored_of_segments if segment else stored_of_columns
        values = drift.statistics | {"impact": comparison.impacts.get(key)}
        rows.add(
            key,
            reference,
            {statistic: value for statistic, value in values.items() if statistic in stored},
            drift.severity,
            "" if segment else _status(findings.get((reference, role, name))),
            _tests(drift, sources),
        )


def _stored_of_columns() -> set[str]:
    """Statistics of whole columns. Noise floors are left out: they have a column of their own."""
    names = {"impact"}
    noise_floors = set()
    for statistic in statistic_catalog.STATISTICS:
        names.add(statistic.name)
        noise_floors.add(statistic.noise_floor)

    return names - noise_floors


def _sources_of_tests() -> list[tuple[str, str, str]]:
    """Column of the table, statistic, and the statistic that the column's value is taken from."""
    sources = []
    for statistic in statistic_catalog.STATISTICS:
        if statistic.noise_floor:
            sources.append(("noise_floor", statistic.name, statistic.noise_floor))
        if statistic.p_value:
            sources.append(("p", statistic.name, statistic.p_value))
        if statistic.q_value:
            sources.append(("q", statistic.name, statistic.q_value))
    return sources


def _tests(drift: ColumnDrift, sources: Sequence[tuple[str, str, str]]) -> Tests:
    """Noise floor, p and q of the statistics that have them."""
    return [(column, name, drift.statistics.get(source)) for column, name, source in sources]


def _status(finding: FindingRecord | None) -> str:
    if finding is None:
        return ""
    if finding.is_seasonal:
        return "seasonal"
    return finding.status
