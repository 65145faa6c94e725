"""A run's report page, drawn from what runs have stored.

No data are read again.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from urllib.parse import quote

from nightscore.errors import PartitionNotFoundError
from nightscore.ledger.evaluation_files import newest_of
from nightscore.ledger.layout import report_path, state_store
from nightscore.ledger.timeline import earlier_values
from nightscore.ledger.workspace import Workspace
from nightscore.models.cache import ModelCache
from nightscore.monitoring.drift import statistic_catalog
from nightscore.monitoring.drift.recompare_runs import compared_now
from nightscore.monitoring.performance.estimates.wording import OVER_TIME
from nightscore.operations.history import run_history
from nightscore.operations.report_sources import StoredReport, first_reference, read_stored
from nightscore.operations.rollback import restorable_run
from nightscore.operations.run_differences import (
    Standings,
    pictures_of_run,
    sections_of_run,
    standings_of_run,
)
from nightscore.reports.outcomes_section import draw_outcomes
from nightscore.reports.page import render
from nightscore.reports.performance_figures import known_metrics
from nightscore.reports.performance_plot import draw_performance
from nightscore.reports.plots import contact_sheet_png
from nightscore.reports.run_page import run_page, worst_columns
from nightscore.reports.series import series_of, sparkline
from nightscore.reports.trends import MAX_DATES
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
    standings = standings_of_run(job, manifest)
    path = _path(job, manifest, standings)
    if not state_store(job).exists(path):
        _write(job, manifest, path, read_stored(job, manifest, cache), standings)

    return path


@dataclass(frozen=True, slots=True)
class Drawn:
    """What other pages show of a report."""

    sheet: bytes = b""
    """The columns with the worst findings, as a PNG; empty if there is nothing to draw."""
    sparklines: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """By role and column of a finding: its distances from the reference in the last fortnight,
    today last."""
    challengers: Mapping[str, bytes] = field(default_factory=dict)
    """By label, how a challenger's predictions differ, as a PNG."""


NOTHING_DRAWN = Drawn()


def draw_report(job: ScoringJob, manifest: Manifest, cache: ModelCache) -> Drawn:
    """Write a run's page, and return what other pages show of it; called in a worker."""
    drift = manifest.drift
    assert drift is not None  # noqa: S101
    stored = read_stored(job, manifest, cache)
    standings = standings_of_run(job, manifest)
    path = _path(job, manifest, standings)
    if not state_store(job).exists(path):
        _write(job, manifest, path, stored, standings)

    past = stored.past[-SPARK_DAYS:]
    reference = first_reference(drift.references)
    sparklines: dict[tuple[str, str], str] = {}
    for finding in drift.findings[:SPARK_FINDINGS]:
        role, column = finding.role, finding.column
        if role not in ("rows", "schema"):
            series = series_of(past, role, column, statistic_catalog.PRIMARY.name, reference)
            sparklines[role, column] = sparkline(series)

    pictures = pictures_of_run(job, manifest)
    return Drawn(_contact_sheet(manifest, stored), sparklines, pictures)


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


def compare_link(base: str, job: str) -> str:
    """The address of the page of a job's challengers on that server."""
    return f"{base.rstrip('/')}/{quote(job)}/-/compare"


def read_report(job: ScoringJob, manifest: Manifest, cache: ModelCache) -> str:
    """The page of a run, drawn now if it does not exist yet."""
    return state_store(job).read_bytes(_draw_once(job, manifest, cache)).decode()


def _contact_sheet(manifest: Manifest, stored: StoredReport) -> bytes:
    """The columns with the worst findings as one PNG; empty if there is nothing to draw."""
    reference = stored.references.get(first_reference(stored.references), [])
    columns = worst_columns(manifest, stored.current, reference, SHEET_COLUMNS)
    if not columns:
        return b""

    return contact_sheet_png(columns)


def newest_report(job: ScoringJob, manifest: Manifest, cache: ModelCache) -> Manifest:
    """The run with its newest comparison, computed now if its neighbours have newer results."""
    return compared_now(job, manifest, cache, datetime.now(UTC))


def _path(job: ScoringJob, manifest: Manifest, standings: Standings) -> str:
    drift = manifest.drift
    is_recomputed = drift is not None and drift.made_at is not None
    compared = drift.neighbours[:12] if drift is not None and is_recomputed else ""

    folder = encode_folder(manifest.partition_key, manifest.partition)
    evaluated = _evaluations_digest(job, manifest, standings)
    return report_path(folder, manifest.run_id, manifest.status, compared, evaluated)


def _evaluations_digest(job: ScoringJob, manifest: Manifest, standings: Standings) -> str:
    """Tells apart what is known of the partitions on a page. Empty: nothing."""
    known: list[str] = []

    if job.labels is not None:
        workspace = Workspace(job)
        before = islice(earlier_values(workspace, manifest.partition), MAX_DATES - 1)
        newest = newest_of(workspace, [*before, manifest.partition])
        known += sorted(file.path for file in newest)

    known += (standing.model_dump_json() for standing in standings.values())
    if not known:
        return ""
    return hashlib.sha256("|".join(known).encode()).hexdigest()[:12]


def _write(
    job: ScoringJob, manifest: Manifest, path: str, stored: StoredReport, standings: Standings
) -> None:
    earlier = restorable_run(job, manifest)
    page = run_page(job, manifest, stored.current, stored.references, stored.past, earlier)
    shown = known_metrics(stored.performance, OVER_TIME)[:SHOWN_METRICS]
    page.performance = draw_performance(stored.performance, shown)
    if stored.evaluation is not None:
        page.outcomes = draw_outcomes(stored.performance[-1], stored.evaluation)
    page.differences = sections_of_run(job, manifest, standings)

    state_store(job).write_bytes(path, render(page).encode())
