"""A run's report page and the series of a column, from what runs have stored.

No data are read again.
"""

import hashlib
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Any
from urllib.parse import quote

from nightscore.errors import CorruptFileError, PartitionNotFoundError, ScoringError
from nightscore.ledger.comparison_records import with_newest_comparisons
from nightscore.ledger.evaluation_files import evaluations_of, newest_of
from nightscore.ledger.layout import report_path, state_store
from nightscore.ledger.timeline import earlier_values, latest_publications, recorded_values
from nightscore.ledger.workspace import Workspace
from nightscore.models.cache import ModelCache
from nightscore.monitoring.drift import statistic_catalog
from nightscore.monitoring.drift.recompare_runs import compared_now
from nightscore.monitoring.drift.statistics_table import NO_REFERENCE, read_statistics
from nightscore.monitoring.drift.stored_profiles import stored_baseline
from nightscore.monitoring.performance.estimates.wording import OVER_TIME
from nightscore.monitoring.performance.track_record import PartitionPerformance
from nightscore.operations.history import run_history
from nightscore.operations.performance import recorded_performance_of
from nightscore.operations.rollback import restorable_run
from nightscore.profiles.table import ColumnProfile, from_bytes, merge_profiles
from nightscore.reports.outcomes_section import draw_outcomes
from nightscore.reports.page import render
from nightscore.reports.performance_figures import known_metrics
from nightscore.reports.performance_plot import draw_performance
from nightscore.reports.plots import contact_sheet_png
from nightscore.reports.run_page import run_page, worst_columns
from nightscore.reports.series import Past, series_of, sparkline
from nightscore.reports.trends import MAX_DATES
from nightscore.schemas.drift import REFERENCES
from nightscore.schemas.evaluation import EvaluationRecord
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import Manifest
from nightscore.schemas.partition import encode_folder, show_value

SHEET_COLUMNS = 9
"""Columns on the contact sheet: three rows of three."""
SHOWN_METRICS = 1
"""Of a model's performance: the page over time has the others."""
SPARK_DAYS = 14
SPARK_FINDINGS = 40


def reported_run(job: ScoringJob, value: str | None, run_id: str | None = None) -> Manifest:
    """The partition's newest run that compared its columns, or the run that is named.

    Raises:
        PartitionNotFoundError: There is none.
    """
    history = run_history(job, value, everything=False)
    newest = next((m for m in history if m.status in ("published", "held")), None)
    restored = newest.restores if newest else None  # after a rollback, what readers see
    wanted = run_id or restored

    for manifest in history:
        if manifest.drift is not None and wanted in (None, manifest.run_id):
            return manifest

    if run_id is not None:
        raise _no_such_report(job, value, run_id, history)

    expected = "a run that was published or held, with drift.profile left on"
    raise PartitionNotFoundError(
        "No run of this partition has compared its columns.",
        f"{job.output.uri}.nightscore/runs/{encode_folder(job.input.partition_key, value)}",
        expected=expected,
        found=f"{len(history)} runs without a comparison",
        next_step=f"score it with `{job.command('run', show_value(value))}`, or compare two "
        "datasets with `nightscore drift`",
    )


def _no_such_report(
    job: ScoringJob, value: str | None, run_id: str, history: Iterable[Manifest]
) -> PartitionNotFoundError:
    known = [manifest.run_id for manifest in history if manifest.drift is not None]
    return PartitionNotFoundError(
        "This run has no comparison of the partition's columns.",
        f"{job.output.uri}.nightscore/runs/{encode_folder(job.input.partition_key, value)}",
        expected=f"a run that has one: {', '.join(known)}" if known else "a run that has one",
        found=run_id,
        next_step=f"`{job.command('runs', show_value(value))}` lists the runs",
    )


def write_report(job: ScoringJob, manifest: Manifest, cache: ModelCache) -> str:
    """Draw a run's page and store it beside the run's record.

    A page that exists is not drawn again.

    Returns:
        The page's URL.

    Raises:
        ScoringError: The store cannot be read or written.
    """
    return state_store(job).locate_url(_draw_once(job, manifest, cache))


def _draw_once(job: ScoringJob, manifest: Manifest, cache: ModelCache) -> str:
    """Draw the page, unless it exists. Returns its path below the state folder."""
    path = _path(job, manifest)
    if not state_store(job).exists(path):
        _write(job, manifest, path, _read_stored(job, manifest, cache))

    return path


@dataclass(frozen=True, slots=True)
class _Stored:
    """What a report is drawn from."""

    current: list[ColumnProfile]
    references: dict[str, list[ColumnProfile]]
    past: list[Past]
    performance: list[PartitionPerformance]
    """Of the same partitions."""
    evaluation: EvaluationRecord | None
    """The newest one of the run's results."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """What other pages show of a report."""

    sheet: bytes = b""
    """The columns with the worst findings, as a PNG; empty if there is nothing to draw."""
    sparklines: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """By role and column of a finding: its distances from the reference in the last fortnight,
    today last."""


NOTHING_DRAWN = Drawn()


def draw_report(job: ScoringJob, manifest: Manifest, cache: ModelCache) -> Drawn:
    """Write a run's page, and return what other pages show of it; called in a worker."""
    drift = manifest.drift
    assert drift is not None  # noqa: S101
    stored = _read_stored(job, manifest, cache)
    path = _path(job, manifest)
    if not state_store(job).exists(path):
        _write(job, manifest, path, stored)

    past = stored.past[-SPARK_DAYS:]
    reference = _first_of(drift.references)
    sparklines: dict[tuple[str, str], str] = {}
    for finding in drift.findings[:SPARK_FINDINGS]:
        role, column = finding.role, finding.column
        if role not in ("rows", "schema"):
            series = series_of(past, role, column, statistic_catalog.PRIMARY.name, reference)
            sparklines[role, column] = sparkline(series)

    return Drawn(_contact_sheet(manifest, stored), sparklines)


def _first_of(references: Container[str]) -> str:
    """The first reference that a run was compared with; empty if there is none."""
    return next((name for name in REFERENCES if name in references), "")


def report_link(base: str, job: str, manifest: Manifest) -> str:
    """The address of a run's page on the server that `nightscore pages` starts.

    Args:
        base: URL of that server.
        job: Name of the job's file there.
        manifest: The run's record.
    """
    partition = quote(show_value(manifest.partition), safe="")
    return f"{base.rstrip('/')}/{quote(job)}/{partition}/{manifest.run_id}"


def performance_link(base: str, job: str) -> str:
    """The address of a job's performance over time on that server."""
    return f"{base.rstrip('/')}/{quote(job)}/-/performance"


def read_report(job: ScoringJob, manifest: Manifest, cache: ModelCache) -> str:
    """The page of a run, drawn now if it does not exist yet."""
    return state_store(job).read_bytes(_draw_once(job, manifest, cache)).decode()


def _contact_sheet(manifest: Manifest, stored: _Stored) -> bytes:
    """The columns with the worst findings as one PNG; empty if there is nothing to draw."""
    reference = stored.references.get(_first_of(stored.references), [])
    columns = worst_columns(manifest, stored.current, reference, SHEET_COLUMNS)
    if not columns:
        return b""

    return contact_sheet_png(columns)


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
    reference = _first_of({row["reference"] for row in rows})
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


def past_of(job: ScoringJob, manifest: Manifest, n_partitions: int = MAX_DATES) -> list[Past]:
    """The partitions before a run, and the run itself, in order."""
    return past_of_runs(job, _runs_before(job, manifest, n_partitions))


def _runs_before(job: ScoringJob, manifest: Manifest, n_partitions: int) -> list[Manifest]:
    """The run of each partition before a run, and the run itself, in order."""
    workspace = Workspace(job)
    values = earlier_values(workspace, manifest.partition)
    before = islice(latest_publications(workspace, values, or_held=True), n_partitions - 1)
    earlier = with_newest_comparisons(workspace.state, before)
    return [*reversed(earlier), manifest]


def past_of_runs(job: ScoringJob, manifests: Iterable[Manifest]) -> list[Past]:
    """The tables of statistics of some runs; runs without one are left out."""
    past: list[Past] = []
    for manifest in manifests:
        if manifest.drift is not None and (rows := read_statistics(job, manifest)):
            past.append(Past(show_value(manifest.partition), rows))

    return past


def newest_report(job: ScoringJob, manifest: Manifest, cache: ModelCache) -> Manifest:
    """The run with its newest comparison, computed now if its neighbours have newer results."""
    return compared_now(job, manifest, cache, datetime.now(UTC))


def _path(job: ScoringJob, manifest: Manifest) -> str:
    drift = manifest.drift
    is_recomputed = drift is not None and drift.made_at is not None
    compared = drift.neighbours[:12] if drift is not None and is_recomputed else ""

    folder = encode_folder(manifest.partition_key, manifest.partition)
    evaluated = _evaluations_digest(job, manifest)
    return report_path(folder, manifest.run_id, manifest.status, compared, evaluated)


def _evaluations_digest(job: ScoringJob, manifest: Manifest) -> str:
    """Tells apart what is known of the partitions on a page. Empty: nothing."""
    if job.labels is None:
        return ""

    workspace = Workspace(job)
    before = islice(earlier_values(workspace, manifest.partition), MAX_DATES - 1)
    newest = newest_of(workspace, [*before, manifest.partition])
    paths = sorted(file.path for file in newest)

    if not paths:
        return ""
    return hashlib.sha256("|".join(paths).encode()).hexdigest()[:12]


def _read_stored(job: ScoringJob, manifest: Manifest, cache: ModelCache) -> _Stored:
    runs = _runs_before(job, manifest, MAX_DATES)
    evaluations = {}
    if job.labels is not None:
        evaluations = evaluations_of(Workspace(job), runs)

    return _Stored(
        current=_current_profile(job, manifest),
        references=_reference_profiles(job, manifest, cache),
        past=past_of_runs(job, runs),
        performance=recorded_performance_of(runs, evaluations, job.decision),
        evaluation=evaluations.get(manifest.result_id),
    )


def _write(job: ScoringJob, manifest: Manifest, path: str, stored: _Stored) -> None:
    earlier = restorable_run(job, manifest)
    page = run_page(job, manifest, stored.current, stored.references, stored.past, earlier)
    shown = known_metrics(stored.performance, OVER_TIME)[:SHOWN_METRICS]
    page.performance = draw_performance(stored.performance, shown)
    if stored.evaluation is not None:
        page.outcomes = draw_outcomes(stored.performance[-1], stored.evaluation)

    state_store(job).write_bytes(path, render(page).encode())


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
