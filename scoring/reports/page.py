"""The page that says what moved, since when, and what it does to the score: one HTML file that loads nothing."""

import importlib.metadata
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nightscore.drift.findings import (
    REFERENCES,
    counted,
    no_longer,
    show_drivers,
    show_made_at,
    show_rates,
    show_references,
    verdict_text,
)
from nightscore.drift.series import Past
from nightscore.profiles.table import ColumnProfile, Key
from nightscore.reports.cards import SIGNS, Card, make_card
from nightscore.reports.plots import Bars, bars_of
from nightscore.reports.trends import draw_trends, heat_map
from nightscore.schemas.drift import ORDER, ColumnDrift, DriftReport, Severity
from nightscore.schemas.manifest import DriftRecord, FindingRecord, Manifest
from nightscore.schemas.partition import show_value
from nightscore.schemas.text import printable

MAX_PLOTS = 30
"""Columns that are drawn, the most severe first: a plot takes about 8 KB, and the page is to stay below 400."""


@dataclass(slots=True)
class Page:
    """All that the template shows."""

    title: str
    verdict: Severity
    headline: str
    steps: list[str]
    """What to do first."""
    facts: list[tuple[str, str]]
    references: list[str]
    columns: list[Card]
    findings: list[FindingRecord] = field(default_factory=list)
    dates: list[str] = field(default_factory=list)
    heat: list[tuple[str, list[Severity | None]]] = field(default_factory=list)
    trends: list[tuple[str, str, str]] = field(default_factory=list)
    """Title, drawing, its values in words."""
    notes: list[str] = field(default_factory=list)
    unplotted: int = 0

    @property
    def sign(self) -> str:
        return SIGNS[self.verdict]


def run_page(
    manifest: Manifest,
    now: Sequence[ColumnProfile],
    references: Mapping[str, Sequence[ColumnProfile]],
    past: Sequence[Past],
) -> Page:
    """The page of a run.

    Args:
        manifest: With its drift.
        now: What its columns looked like.
        references: The same of what it was compared with.
        past: Partitions before it and itself, in order.
    """
    drift = manifest.drift
    assert drift is not None  # noqa: S101
    names = [name for name in REFERENCES if name in references]
    then = {column.key: column for column in references[names[0]]} if names else {}
    mine = past[-1].rows if past else ()
    statistics = _by_column(mine)
    severities = {(f.role, f.column): counted(f) for f in drift.findings}
    graded = {
        (row["role"], row["column"]): row["severity"]
        for row in mine
        if row["reference"] in names[:1] and not row["segment"]
    }
    findings = {(f.role, f.column): f for f in drift.findings}
    whole = [column for column in now if not column.segment]
    order = {key: place for place, key in enumerate(findings)}
    whole.sort(
        key=lambda c: (order.get((c.role, c.name), len(order)), c.role != "prediction", c.name)
    )
    shown = []
    for place, column in enumerate(whole):
        key = (column.role, column.name)
        severity = severities.get(key) or graded.get(key) or "insufficient data"
        shown.append(
            make_card(
                column,
                then.get(column.key),
                severity,
                findings.get(key),
                statistics.get(key, {}),
                names,
                is_drawn=place < MAX_PLOTS,
            )
        )
    dates, heat = heat_map(past)
    return Page(
        title=f"{manifest.job}, {show_value(manifest.partition)}",
        verdict=drift.verdict,
        headline=_headline(manifest, drift),
        steps=_steps(manifest, drift),
        facts=_facts(manifest, drift),
        references=names,
        columns=shown,
        findings=list(drift.findings),
        dates=dates,
        heat=heat,
        trends=draw_trends(past, drift),
        notes=_notes(drift),
        unplotted=max(0, len(whole) - MAX_PLOTS),
    )


def comparison_page(
    title: str, report: DriftReport, profiles: Mapping[str, tuple[ColumnProfile, ColumnProfile]]
) -> Page:
    """The page of two datasets that were compared without a job."""
    ordered = sorted(
        report.columns, key=lambda column: (-ORDER.index(column.severity), column.name)
    )
    findings = [
        _finding(column) for column in ordered if column.severity not in ("ok", "insufficient data")
    ]
    by_name = {finding.column: finding for finding in findings}
    shown = [
        make_card(
            profiles[column.name][1],
            profiles[column.name][0],
            column.severity,
            by_name.get(column.name),
            {
                "reference": column.statistics
                | {"null_rate_difference": column.null_rate_difference}
            },
            ["reference"],
            is_drawn=place < MAX_PLOTS,
        )
        for place, column in enumerate(ordered)
    ]
    moved = [finding.column for finding in findings if finding.severity in ("warning", "critical")]
    notes = [f"{name}: is in the reference only" for name in report.missing_columns]
    notes += [f"{name}: is new" for name in report.new_columns]
    notes += [
        f"{name}: the type was and is {types}" for name, types in report.changed_types.items()
    ]
    notes += [f"{name}: could not be compared: {reason}" for name, reason in report.errors.items()]
    rows = [(c.n_reference, c.n_current) for c in report.columns][:1]
    return Page(
        title=title,
        verdict=report.verdict,
        headline=f"{len(moved)} of {len(shown)} columns moved"
        if moved
        else "No column moved beyond its noise",
        steps=[f"Look at {_listed(moved)}"] if moved else [],
        facts=[("Rows, reference", f"{n:,}") for n, _ in rows]
        + [("Rows, current", f"{m:,}") for _, m in rows],
        references=["reference"],
        columns=shown,
        findings=findings,
        notes=notes,
        unplotted=max(0, len(shown) - MAX_PLOTS),
    )


def render(page: Page) -> str:
    """As HTML; runs no script and loads nothing."""
    from jinja2 import Environment, PackageLoader  # only a report pays for it

    environment = Environment(
        loader=PackageLoader("nightscore", "reports"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    environment.filters["code"] = _with_code
    template = environment.get_template("report.html")
    return template.render(
        page=page, signs=SIGNS, version=importlib.metadata.version("nightscore"), counted=counted
    )


def _shown(value: object) -> object:
    """What the template puts in: text from outside drives no terminal either, should one show the page's source."""
    return printable(value) if type(value) is str else value


def _with_code(text: str) -> str:
    """HTML of a text whose commands stand between backticks."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(printable(text)))))  # noqa: S704 (escaped before)


def worst_columns(
    manifest: Manifest, now: Sequence[ColumnProfile], then: Sequence[ColumnProfile], n_columns: int
) -> list[tuple[str, Bars]]:
    """What is drawn of the columns with the gravest findings."""
    drift = manifest.drift
    before, after = {c.key: c for c in then}, {c.key: c for c in now}
    found = []
    for finding in drift.findings if drift else ():
        key: Key = (finding.role, finding.column, "")  # type: ignore[assignment]
        if (
            key in before
            and key in after
            and (bars := bars_of(before[key], after[key])) is not None
        ):
            found.append((f"{SIGNS[counted(finding)]} {finding.column}", bars))
    return found[:n_columns]


def _headline(manifest: Manifest, drift: DriftRecord) -> str:
    closed = [gate.gate for gate in manifest.gates if not gate.passed and gate.action == "hold"]
    held = f"Held by the gate {', '.join(closed)}. " if manifest.status == "held" and closed else ""
    return held + _columns_headline(drift)


def _columns_headline(drift: DriftRecord) -> str:
    if not drift.references:
        return "Nothing to compare with yet: this partition is the first that was profiled"
    graded = [f for f in drift.findings if counted(f) in ("warning", "critical")]
    if not graded:
        if drift.verdict == "insufficient data":
            return (
                "Too little to tell: there were too few rows, or no column that could be compared"
            )
        return "No column moved beyond what is usual"
    first = graded[0]
    moved = f"{len(graded)} of {drift.n_columns} columns moved, first of all {first.column}"
    return (
        f"Look before you rely on them: {moved}"
        if drift.verdict == "critical"
        else f"Worth a look: {moved}"
    )


def _steps(manifest: Manifest, drift: DriftRecord) -> list[str]:
    day = show_value(manifest.partition)
    steps = []
    graded = [f for f in drift.findings if counted(f) in ("warning", "critical")]
    for finding in graded[:3]:
        parts = [f"{finding.column}: {'; '.join(finding.reasons)}"]
        if finding.impact is not None:
            parts.append(f"it moves the mean {drift.score or 'score'} by {finding.impact:+.4f}")
        if finding.drivers:
            parts.append(f"driven by {' and '.join(show_drivers(finding))}")
        if finding.status == "ongoing" and finding.since:
            parts.append(f"so since {finding.since}")
        steps.append("; ".join(parts))
    if manifest.status == "held":
        steps.append(
            f"The run is held: publish it with `nightscore approve {manifest.job} {day}`, or drop it with "
            f"`nightscore reject {manifest.job} {day}`"
        )
    elif drift.verdict == "critical":
        steps.append(
            "If the input is wrong, have it written again: the next run scores it. Until then readers can have the "
            f"results before: `nightscore rollback {manifest.job} --from {day} --to {day}`"
        )
    return steps


def _facts(manifest: Manifest, drift: DriftRecord) -> list[tuple[str, str]]:
    counts, model = manifest.counts, manifest.model
    facts = [
        ("Status", manifest.status),
        (
            "Rows",
            f"{counts.rows_in:,} read, {counts.rows_scored:,} scored, {counts.rows_quarantined:,} quarantined",
        ),
        ("Model", f"{model.name} version {model.version}, {model.digest[:19]}…"),
        ("Compared with", show_references(drift)),
    ]
    if drift.score_movement is not None:
        facts.append((f"Mean {drift.score}", f"{drift.score_movement:+.4f} against the baseline"))
    if rates := show_rates(drift):
        facts.append(("Labels", rates))
    facts.append(("Run", manifest.run_id))
    if manifest.finished_at:
        facts.append(("Finished", f"{manifest.finished_at:%Y-%m-%d %H:%M:%S} UTC"))
    if again := show_made_at(drift):
        facts.append(("Comparison", again))
    facts.append(("Cost of the profile", f"{drift.cpu_share:.1%} of the workers' CPU time"))
    return facts


def _notes(drift: DriftRecord) -> list[str]:
    notes = [f"{name}: could not be compared: {reason}" for name, reason in drift.errors.items()]
    if drift.unprofiled_rows:
        notes.append(
            f"{drift.unprofiled_rows:,} rows were not counted, since the profile took more than its share; "
            "rates are of the others"
        )
    if over := no_longer(drift):
        notes.append(f"No longer: {', '.join(over)}")
    return notes


def _finding(column: ColumnDrift) -> FindingRecord:
    return FindingRecord(
        column=column.name,
        role="feature",
        reference="reference",
        severity=column.severity,
        reasons=column.reasons,
    )


def _by_column(
    rows: Iterable[Mapping[str, Any]],
) -> dict[tuple[str, str], dict[str, dict[str, float | None]]]:
    found: dict[tuple[str, str], dict[str, dict[str, float | None]]] = {}
    for row in rows:
        if not row["segment"]:
            by_reference = found.setdefault((row["role"], row["column"]), {})
            by_reference.setdefault(row["reference"], {})[row["statistic"]] = row["value"]
    return found


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"{', '.join(names[:5])}{more}"


def summary(drift: DriftRecord) -> str:
    """One line for a description."""
    return f"{drift.verdict} {SIGNS[drift.verdict]} {verdict_text(drift)}"
