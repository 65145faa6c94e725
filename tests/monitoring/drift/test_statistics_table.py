"""The table of a run's statistics is plain Parquet, however its texts were repeated."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nightscore.monitoring.drift.compare_profiles import Comparison
from nightscore.monitoring.drift.statistics_table import SCHEMA, read_table, statistics_table
from nightscore.profiles.profile import CategoryProfile
from nightscore.profiles.table import ColumnProfile
from nightscore.schemas.drift import ColumnDrift
from nightscore.schemas.manifest import DriftRecord, Manifest
from tests.support.manifests import published_run


def _manifest(partition: str | None) -> Manifest:
    return published_run(partition=partition, drift=DriftRecord(verdict="ok", references={}))


@pytest.mark.parametrize("partition", ["2024-03-01", None])
def test_texts_are_written_as_texts(partition: str | None) -> None:
    run = _manifest(partition)
    columns = []
    for name in ("a", "b"):
        profile = CategoryProfile(n_rows=10, n_null=1)
        columns.append(ColumnProfile(role="feature", name=name, profile=profile))

    assert run.drift
    content = statistics_table(run, columns, {}, run.drift)

    assert pq.read_schema(pa.BufferReader(content)).remove_metadata().equals(SCHEMA)
    rows = [(row["column"], row["statistic"], row["value"]) for row in read_table(content)]
    assert rows == [
        ("a", "null_rate", 0.1),
        ("a", "distinct", 0.0),
        ("b", "null_rate", 0.1),
        ("b", "distinct", 0.0),
        ("rows", "rows", run.counts.rows_in),
    ]
    assert {row["partition"] for row in read_table(content)} == {partition}
    assert {row["reference"] for row in read_table(content)} == {"none"}


def test_a_statistic_has_its_own_floor_probabilities_and_threshold() -> None:
    statistics: dict[str, float | None] = {
        "psi_adjusted": 0.3,
        "psi": None,
        "chi2_qvalue": 0.02,
        "psi_noise_floor": 0.1,
        "chi2_pvalue": 0.01,
    }
    drift = ColumnDrift(
        name="a",
        type="number",
        n_reference=10,
        n_current=10,
        null_rate_difference=0.0,
        statistics=statistics,
        severity="critical",
        reasons=(),
    )
    run = _manifest("2024-03-01")
    assert run.drift
    comparison = Comparison(columns={("feature", "a", ""): drift})

    rows = read_table(statistics_table(run, [], {"previous": comparison}, run.drift))

    shown = ("statistic", "value", "noise_floor", "p", "q", "threshold", "severity")
    assert [tuple(row[name] for name in shown) for row in rows] == [
        ("psi_adjusted", 0.3, 0.1, 0.01, 0.02, 0.1, "critical"),
        ("psi", None, None, None, None, None, "critical"),
        ("chi2_qvalue", 0.02, None, None, None, None, "critical"),
        ("chi2_pvalue", 0.01, None, None, None, None, "critical"),
        ("impact", None, None, None, None, None, "critical"),
        ("rows", 0.0, None, None, None, None, ""),
    ]
