"""How a column differed from its reference in the latest partitions, from what runs have stored."""

from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

from nightscore.ledger.comparison_records import with_newest_comparisons
from nightscore.ledger.timeline import latest_publications, recorded_values
from nightscore.ledger.workspace import Workspace
from nightscore.monitoring.drift.statistics_table import NO_REFERENCE, read_statistics
from nightscore.operations.report_sources import first_reference
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import Manifest
from nightscore.schemas.partition import show_value


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnDay:
    """A column in one partition; None for unknown or undefined values."""

    partition: str
    run_id: str
    severity: str
    status: str
    values: dict[str, float | None]
    """By statistic: values against the first reference, and values of the column itself."""
    compared_at: datetime | None = None
    """When it was compared again, in UTC; None: by the run itself."""


def column_series(job: ScoringJob, column: str, n_partitions: int) -> list[ColumnDay] | None:
    """How a column differed in the latest partitions, in order; None if none of them has it."""
    workspace = Workspace(job)
    partitions = reversed(recorded_values(workspace))
    latest = islice(latest_publications(workspace, partitions, or_held=True), n_partitions)
    manifests = [manifest for manifest in latest if manifest.drift is not None]

    days: list[ColumnDay] = []
    for manifest in reversed(with_newest_comparisons(workspace.state, manifests)):
        rows = read_statistics(job, manifest)
        rows = [row for row in rows if row["column"] == column and row["role"] != "schema"]
        if rows:
            days.append(_column_day(manifest, rows))

    return days or None


def compared_columns(job: ScoringJob) -> list[str]:
    """The columns that the newest comparison has; none if there is no comparison."""
    workspace = Workspace(job)
    partitions = reversed(recorded_values(workspace))
    for manifest in latest_publications(workspace, partitions, or_held=True):
        if manifest.drift is not None:
            rows = read_statistics(job, manifest)
            return list(dict.fromkeys(str(row["column"]) for row in rows))
    return []


def _column_day(manifest: Manifest, rows: list[dict[str, Any]]) -> ColumnDay:
    """One day of a column, from the rows of the table of statistics that are about it."""
    rows = [row for row in rows if row["role"] == rows[0]["role"]]
    reference = first_reference({row["reference"] for row in rows})
    graded = next((row for row in rows if row["reference"] == reference), rows[0])

    values: dict[str, float | None] = {}
    for row in rows:
        if row["reference"] in (reference, NO_REFERENCE):
            values[row["statistic"]] = row["value"]

    return ColumnDay(
        partition=show_value(manifest.partition),
        run_id=manifest.run_id,
        severity=graded["severity"],
        status=graded["status"],
        values=values,
        compared_at=manifest.drift.made_at if manifest.drift else None,
    )
