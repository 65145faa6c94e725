"""The table of a run's statistics is plain Parquet, however its texts were repeated."""

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nightscore.drift.statistics_table import SCHEMA, read_table, statistics_table
from nightscore.profiles.profile import CategoryProfile
from nightscore.profiles.table import ColumnProfile
from nightscore.schemas.manifest import DriftRecord, Manifest


def _manifest(partition: str | None) -> Manifest:
    values: dict[str, Any] = {
        "run_id": "01a2",
        "status": "published",
        "job": "delay",
        "partition_key": "ds",
        "partition": partition,
        "started_at": datetime(2024, 3, 3, tzinfo=UTC),
        "host": "h",
        "pid": 1,
        "engine": "0",
        "model": {"uri": "models:/m@champion", "name": "m", "version": "3"},
        "inputs": {"uri": "s3://lake/features"},
        "output": {"uri": "s3://lake/predictions", "format": "delta"},
        "drift": DriftRecord(verdict="ok", references={}),
    }
    return Manifest(**values)


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
