"""The days before on a report's page: a map of severities, and lines of chosen statistics."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nightscore.monitoring.drift import statistic_catalog
from nightscore.monitoring.drift.labels import show_number
from nightscore.monitoring.drift.statistics_table import NO_REFERENCE
from nightscore.reports.plots import Line, trend_svg
from nightscore.reports.series import Past, series_of, sparkline
from nightscore.schemas.drift import ORDER, REFERENCES, Severity
from nightscore.schemas.manifest import DriftRecord, FindingRecord

MAX_DATES = 28
MAX_ROWS = 40
"""Columns in the map."""
MAX_TRENDS = 6


@dataclass(frozen=True, slots=True)
class HeatMap:
    """Severity of each column in each partition."""

    partitions: list[str]
    rows: list[tuple[str, list[Severity | None]]]
    """Column and its severities; None: not compared."""


@dataclass(frozen=True, slots=True)
class Trend:
    """One drawing of lines."""

    title: str
    svg: str
    alternative: str
    """What the lines show, in words."""


def heat_map(past: Sequence[Past]) -> HeatMap:
    """The most severe columns first; columns that never moved are left out."""
    shown = past[-MAX_DATES:]
    severities: dict[str, list[Severity | None]] = {}

    for place, partition in enumerate(shown):
        for name, severity in _graded_rows(partition):
            cells = severities.setdefault(name, [None] * len(shown))
            cells[place] = severity

    rows = [(name, cells) for name, cells in severities.items() if _has_moved(cells)]
    rows.sort(key=lambda row: (-_weight(row[1]), row[0]))

    return HeatMap([partition.partition for partition in shown], rows[:MAX_ROWS])


def draw_trends(past: Sequence[Past], drift: DriftRecord) -> list[Trend]:
    """Rows and score, then each column with a finding."""
    shown = past[-MAX_DATES:]
    if len(shown) < 2:
        return []

    partitions = [partition.partition for partition in shown]

    lines = [Line("rows", series_of(shown, "rows", "rows", "rows", NO_REFERENCE))]
    if drift.score:
        means = series_of(shown, "prediction", drift.score, "mean", NO_REFERENCE)
        lines.append(Line(f"mean {drift.score}", means))

    trends = [_trend("Rows and mean score", partitions, lines, "rows and score")]

    first_reference = _first_of(drift.references) or ""
    for finding in _moved_columns(drift)[:MAX_TRENDS]:
        lines = _lines_of(finding, shown, first_reference)
        name = f"{finding.role} {finding.column}"
        trends.append(_trend(finding.column, partitions, lines, name))

    return trends


def _first_of(references: Collection[str]) -> str | None:
    """The reference that counts most, of those that there are."""
    for name in REFERENCES:
        if name in references:
            return name
    return None


def _moved_columns(drift: DriftRecord) -> list[FindingRecord]:
    """Findings of a warning or worse that are about a column's values."""
    moved = []
    for finding in drift.findings:
        if finding.role not in ("rows", "schema") and finding.severity != "info":
            moved.append(finding)
    return moved


def _graded_rows(partition: Past) -> Iterator[tuple[str, Severity]]:
    """Column and severity of each row of the table that grades a column."""
    first_reference = _first_of({row["reference"] for row in partition.rows})

    for row in partition.rows:
        if row["segment"] or not row["severity"] or not _is_graded(row, first_reference):
            continue

        name = row["column"]
        if row["role"] == "schema":
            name = f"{name} (schema)"

        yield name, "info" if row["status"] == "seasonal" else row["severity"]


def _is_graded(row: Mapping[str, Any], first_reference: str | None) -> bool:
    is_change = row["role"] in ("rows", "schema") and row["reference"] != NO_REFERENCE
    return bool(is_change or row["reference"] == first_reference)


def _has_moved(cells: Sequence[Severity | None]) -> bool:
    return not {"info", "warning", "critical"}.isdisjoint(cells)


def _weight(cells: Sequence[Severity | None]) -> int:
    """A critical day weighs more than three warnings."""
    return sum(4 ** ORDER.index(severity) for severity in cells if severity is not None)


def _lines_of(finding: FindingRecord, past: Sequence[Past], reference: str) -> list[Line]:
    role, column, primary = finding.role, finding.column, statistic_catalog.PRIMARY
    lines = [
        Line(
            primary.title,
            series_of(past, role, column, primary.name, reference),
            primary.warning,
        ),
        Line("null rate", series_of(past, role, column, "null_rate", NO_REFERENCE)),
    ]

    means = series_of(past, role, column, "mean", NO_REFERENCE)
    if any(value is not None for value in means):
        lines.append(Line("mean", means))

    return lines


def _trend(title: str, partitions: Sequence[str], lines: Sequence[Line], name: str) -> Trend:
    return Trend(title, trend_svg(partitions, lines, name), _in_words(partitions, lines))


def _in_words(partitions: Sequence[str], lines: Sequence[Line]) -> str:
    """From where to where each line goes."""
    texts = []
    for line in lines:
        known = []
        for partition, value in zip(partitions, line.values, strict=True):
            if value is not None:
                known.append(f"{show_number(value, 4)} on {partition}")

        if known:
            texts.append(f"{line.title} {sparkline(line.values)} {known[0]}, {known[-1]}")

    return "; ".join(texts)
