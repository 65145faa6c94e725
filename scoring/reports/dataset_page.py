"""The page of two datasets that were compared without a job."""

from collections.abc import Mapping

from nightscore.monitoring.drift.findings import worse
from nightscore.monitoring.drift.wording import list_names
from nightscore.profiles.table import ColumnProfile
from nightscore.reports.cards import Card, ColumnSides, make_card
from nightscore.reports.page import MAX_PLOTS, Page
from nightscore.schemas.drift import ORDER, ColumnDrift, DriftReport
from nightscore.schemas.manifest import FindingRecord

REFERENCE = "reference"
SHOWN_NAMES = 5


def dataset_page(
    title: str, report: DriftReport, profiles: Mapping[str, tuple[ColumnProfile, ColumnProfile]]
) -> Page:
    """The page.

    Args:
        title: Of the page.
        report: What differs.
        profiles: Column to its profile in the reference and now.
    """
    findings: list[FindingRecord] = []
    cards: list[Card] = []

    for column in sorted(report.columns, key=_rank):
        finding = None
        if column.severity not in ("ok", "insufficient data"):
            finding = _finding(column)
            findings.append(finding)

        reference, current = profiles[column.name]
        sides = ColumnSides(
            current=current,
            reference=reference,
            severity=column.severity,
            finding=finding,
            statistics={REFERENCE: column.statistics},
            references=[REFERENCE],
        )
        cards.append(make_card(sides, is_drawn=len(cards) < MAX_PLOTS))

    moved = [finding.column for finding in worse(findings, "warning")]
    headline = "No column moved beyond its noise"
    if moved:
        headline = f"{len(moved)} of {len(cards)} columns moved"

    return Page(
        title=title,
        verdict=report.verdict,
        headline=headline,
        steps=[f"Look at {list_names(moved, SHOWN_NAMES)}"] if moved else [],
        facts=_facts(report),
        references=[REFERENCE],
        columns=cards,
        findings=findings,
        notes=_notes(report),
        unplotted=max(0, len(cards) - MAX_PLOTS),
    )


def _rank(column: ColumnDrift) -> tuple[int, str]:
    """The most severe first."""
    return -ORDER.index(column.severity), column.name


def _finding(column: ColumnDrift) -> FindingRecord:
    return FindingRecord(
        column=column.name,
        role="feature",
        reference=REFERENCE,
        severity=column.severity,
        reasons=column.reasons,
    )


def _facts(report: DriftReport) -> list[tuple[str, str]]:
    if not report.columns:
        return []
    first = report.columns[0]
    return [
        ("Rows in the reference", f"{first.n_reference:,}"),
        ("Rows now", f"{first.n_current:,}"),
    ]


def _notes(report: DriftReport) -> list[str]:
    notes = [f"{name} is only in the reference" for name in report.missing_columns]
    notes += [f"{name} is new" for name in report.new_columns]

    for name, types in report.changed_types.items():
        reference_type, _, current_type = types.partition(", ")
        notes.append(f"{name} changed its type from {reference_type} to {current_type}")

    for name, reason in report.errors.items():
        notes.append(f"{name} could not be compared: {reason}")

    return notes
