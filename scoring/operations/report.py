"""A run's report: its page, drawn from what runs have stored, and the series of a column. No data are read again."""

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from urllib.parse import quote

from nightscore.drift.recompare import compared_now
from nightscore.drift.references import stored_baseline
from nightscore.drift.statistics import registry
from nightscore.drift.statistics_table import NO_REFERENCE, read_statistics
from nightscore.errors import CorruptFileError, PartitionNotFoundError, ScoringError
from nightscore.ledger.comparisons import with_newest_comparisons
from nightscore.ledger.layout import report_path, state_store
from nightscore.ledger.timeline import earlier_values, latest_publications, recorded_values
from nightscore.ledger.workspace import Workspace
from nightscore.models.cache import ModelCache
from nightscore.operations.history import run_history
from nightscore.profiles.table import ColumnProfile, from_bytes, merge_profiles
from nightscore.reports.page import render
from nightscore.reports.plots import contact_sheet_png
from nightscore.reports.run_page import run_page, worst_columns
from nightscore.reports.series import Past, series_of, sparkline
from nightscore.reports.trends import MAX_DATES
from nightscore.schemas.drift import REFERENCES
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import Manifest
from nightscore.schemas.partition import encode_folder, show_value

SHEET_COLUMNS = 9
SPARK_DAYS = 14
SPARK_FINDINGS = 40
_drawing = threading.Lock()
"""Matplotlib's settings are one for all threads."""


def reported_run(job: ScoringJob, value: str | None, run_id: str | None = None) -> Manifest:
    """The partition's newest run that has compared its columns, or the one that is named.

    Raises:
        PartitionNotFoundError: There is none.
    """
    history = run_history(job, value, everything=False)
    newest = next((m for m in history if m.status in ("published", "held")), None)
    wanted = run_id or (newest.restores if newest else None)  # after a rollback, what readers see
    for manifest in history:
        if manifest.drift is not None and wanted in (None, manifest.run_id):
            return manifest
    raise PartitionNotFoundError(
        "No run of this partition has compared its columns.",
        f"{job.output.uri}.nightscore/runs/{encode_folder(job.input.partition_key, value)}",
        expected=f"the run {run_id}"
        if run_id
        else "a run that was published or held, with drift.profile left on",
        found=f"{len(history)} runs without",
        next_step="run it; or look at two datasets with `nightscore drift`",
    )


def write_report(job: ScoringJob, manifest: Manifest, cache: ModelCache) -> str:
    """Draw a run's page and keep it beside the run's record; its URL. Drawn once: a second call finds it.

    Raises:
        ScoringError: The store cannot be read or written.
    """
    state, path = state_store(job), _path(manifest)
    if not state.exists(path):
        _write(job, manifest, _read_stored(job, manifest, cache))
    return state.locate_url(path)


@dataclass(frozen=True, slots=True)
class _Stored:
    """What a report is drawn from."""

    now: list[ColumnProfile]
    references: dict[str, list[ColumnProfile]]
    past: list[Past]


@dataclass(frozen=True, slots=True)
class Drawn:
    """What another page shows of a report."""

    sheet: bytes = b""
    """The columns with the gravest findings, as a PNG; empty where there is nothing to draw."""
    sparklines: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """Role and column of each finding to its distance from the reference in the last fortnight, today at the end."""


NOTHING_DRAWN = Drawn()


def draw_report(job: ScoringJob, manifest: Manifest, cache: ModelCache) -> Drawn:
    """For a worker: the page is written, what another page shows of it is returned."""
    drift = manifest.drift
    assert drift is not None  # noqa: S101
    stored = _read_stored(job, manifest, cache)
    _write(job, manifest, stored)
    past, first = (
        stored.past[-SPARK_DAYS:],
        next((n for n in REFERENCES if n in drift.references), ""),
    )
    lines = {
        (f.role, f.column): sparkline(
            series_of(past, f.role, f.column, registry.PRIMARY.name, first)
        )
        for f in drift.findings[:SPARK_FINDINGS]
        if f.role not in ("rows", "schema")
    }
    return Drawn(_contact_sheet(manifest, stored), lines)


def report_link(base: str, job: str, manifest: Manifest) -> str:
    """Where `nightscore pages` has a run's page.

    Args:
        base: URL of that server.
        job: Name of the job's file there.
        manifest: Of the run.
    """
    return f"{base.rstrip('/')}/{quote(job)}/{quote(show_value(manifest.partition), safe='')}/{manifest.run_id}"


def read_report(job: ScoringJob, manifest: Manifest, cache: ModelCache) -> str:
    """The page of a run, drawn now if it was not before."""
    write_report(job, manifest, cache)
    return state_store(job).read_bytes(_path(manifest)).decode()


def _contact_sheet(manifest: Manifest, stored: _Stored) -> bytes:
    """The columns with the gravest findings as one PNG; empty where there is nothing to draw."""
    first = next((stored.references[name] for name in REFERENCES if name in stored.references), [])
    columns = worst_columns(manifest, stored.now, first, SHEET_COLUMNS)
    with _drawing:
        return contact_sheet_png(columns) if columns else b""


@dataclass(frozen=True, slots=True)
class ColumnDay:
    """A column in one partition; None for what is not known or not defined."""

    partition: str
    run_id: str
    severity: str
    status: str
    values: dict[str, float | None]
    """Statistic to value: those against the first reference, and of the column itself."""
    compared_at: datetime | None = None
    """When it was compared again, in UTC; None: by the run itself."""


def column_series(job: ScoringJob, column: str, n_partitions: int) -> list[ColumnDay] | None:
    """How a column has differed in the latest partitions, in order; None: none of them has it."""
    workspace = Workspace(job)
    partitions = reversed(recorded_values(workspace))
    latest = islice(latest_publications(workspace, partitions, or_held=True), n_partitions)
    manifests = [manifest for manifest in latest if manifest.drift is not None]
    found = []
    for manifest in reversed(with_newest_comparisons(workspace.state, manifests)):
        rows = [
            r
            for r in read_statistics(job, manifest)
            if r["column"] == column and r["role"] != "schema"
        ]
        if not rows:
            continue
        rows = [row for row in rows if row["role"] == rows[0]["role"]]
        first = next((name for name in REFERENCES if any(r["reference"] == name for r in rows)), "")
        graded = next((row for row in rows if row["reference"] == first), rows[0])
        values = {
            row["statistic"]: row["value"]
            for row in rows
            if row["reference"] in (first, NO_REFERENCE)
        }
        day = show_value(manifest.partition)
        made_at = manifest.drift.made_at if manifest.drift else None
        found.append(
            ColumnDay(day, manifest.run_id, graded["severity"], graded["status"], values, made_at)
        )
    return found or None


def past_of(job: ScoringJob, manifest: Manifest, n_partitions: int = MAX_DATES) -> list[Past]:
    """The partitions before a run, and the run itself, in order."""
    workspace = Workspace(job)
    values = earlier_values(workspace, manifest.partition)
    before = islice(latest_publications(workspace, values, or_held=True), n_partitions - 1)
    earlier = with_newest_comparisons(workspace.state, before)
    return past_of_runs(job, [*reversed(earlier), manifest])


def past_of_runs(job: ScoringJob, manifests: Iterable[Manifest]) -> list[Past]:
    """What the tables of statistics of some runs say; those without one are left out."""
    found = [
        Past(show_value(m.partition), read_statistics(job, m))
        for m in manifests
        if m.drift is not None
    ]
    return [past for past in found if past.rows]


def newest_report(job: ScoringJob, manifest: Manifest, cache: ModelCache) -> Manifest:
    """The run with its newest comparison, which is made now if its neighbours have other results by now."""
    return compared_now(job, manifest, cache, datetime.now(UTC))


def _path(manifest: Manifest) -> str:
    drift = manifest.drift
    compared = drift.neighbours[:12] if drift is not None and drift.made_at is not None else ""
    folder = encode_folder(manifest.partition_key, manifest.partition)
    return report_path(folder, manifest.run_id, manifest.status, compared)


def _read_stored(job: ScoringJob, manifest: Manifest, cache: ModelCache) -> _Stored:
    now, references = _profiles(job, manifest, cache)
    return _Stored(now, references, past_of(job, manifest))


def _write(job: ScoringJob, manifest: Manifest, stored: _Stored) -> None:
    state, path = state_store(job), _path(manifest)
    if not state.exists(path):
        with _drawing:
            page = render(run_page(manifest, stored.now, stored.references, stored.past))
        state.write_bytes(path, page.encode())


def _profiles(
    job: ScoringJob, manifest: Manifest, cache: ModelCache
) -> tuple[list[ColumnProfile], dict[str, list[ColumnProfile]]]:
    """Of the run, and of the first reference that it was compared with and that is still there.

    The other references have no profiles here: their statistics are in the table.
    """
    drift, state = manifest.drift, state_store(job)
    assert drift is not None  # noqa: S101
    try:
        now = from_bytes(state.read_bytes(drift.profile)) if drift.profile else []
    except ValueError as error:
        raise CorruptFileError(
            "The run's profile cannot be read.",
            state.locate_url(drift.profile),
            found=str(error)[:200],
            next_step="score the partition again with `nightscore run --force`",
        ) from error
    found: dict[str, list[ColumnProfile]] = {
        name: [] for name in REFERENCES if name in drift.references
    }
    for name in found:
        try:
            found[name] = _reference(job, manifest, name, cache)
        except (ScoringError, ValueError):
            continue
        break
    return now, found


def _reference(
    job: ScoringJob, manifest: Manifest, name: str, cache: ModelCache
) -> list[ColumnProfile]:
    assert manifest.drift is not None  # noqa: S101
    workspace = Workspace(job)
    if name == "baseline":
        return stored_baseline(workspace, manifest, cache)

    ids = set(manifest.drift.references[name].split(", "))
    state = workspace.state
    values = earlier_values(workspace, manifest.partition)
    parts = []
    for other in islice(latest_publications(workspace, values), 2 * MAX_DATES):
        if other.run_id in ids and other.drift and other.drift.profile:
            parts.append(from_bytes(state.read_bytes(other.drift.profile)))
            ids.discard(other.run_id)
        if not ids:
            break
    return list(merge_profiles(parts)[0].values())
