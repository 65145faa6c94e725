"""The days before on a report's page: a map of severities, and lines of chosen statistics."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nightscore.drift.labels import show_number
from nightscore.drift.statistics import catalog
from nightscore.drift.statistics_table import NO_REFERENCE
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
    past = past[-MAX_DATES:]
    severities: dict[str, list[Severity | None]] = {}
    for place, one in enumerate(past):
        for name, severity in _graded_rows(one):
            severities.setdefault(name, [None] * len(past))[place] = severity

    moved = [name for name, cells in severities.items() if _has_moved(cells)]
    moved.sort(key=lambda name: (-_weight(severities[name]), name))
    rows = [(name, severities[name]) for name in moved[:MAX_ROWS]]

    return HeatMap([one.partition for one in past], rows)


def draw_trends(past: Sequence[Past], drift: DriftRecord) -> list[Trend]:
    """Rows and score, then each column with a finding."""
    past = past[-MAX_DATES:]
    if len(past) < 2:
        return []

    partitions = [one.partition for one in past]

    lines = [Line("rows", series_of(past, "rows", "rows", "rows", NO_REFERENCE))]
    if drift.score:
        means = series_of(past, "prediction", drift.score, "mean", NO_REFERENCE)
        lines.append(Line(f"mean {drift.score}", means))

    trends = [_trend("Rows and mean score", partitions, lines, "rows and score")]

    first = next((name for name in REFERENCES if name in drift.references), "")

    moved = [f for f in drift.findings if f.role not in ("rows", "schema") and f.severity != "info"]
    for finding in moved[:MAX_TRENDS]:
        lines = _lines_of(finding, past, first)
        name = f"{finding.role} {finding.column}"
        trends.append(_trend(finding.column, partitions, lines, name))

    return trends


def _graded_rows(one: Past) -> Iterator[tuple[str, Severity]]:
    """Column and severity of each row of the table that grades a column."""
    references = {row["reference"] for row in one.rows}
    first = next((name for name in REFERENCES if name in references), None)
    for row in one.rows:
        if row["segment"] or not row["severity"] or not _is_graded(row, first):
            continue
        name = row["column"] if row["role"] != "schema" else f"{row['column']} (schema)"
        yield name, "info" if row["status"] == "seasonal" else row["severity"]


def _is_graded(row: Mapping[str, Any], first: str | None) -> bool:
    is_change = row["role"] in ("rows", "schema") and row["reference"] != NO_REFERENCE
    return bool(is_change or row["reference"] == first)


def _has_moved(cells: Sequence[Severity | None]) -> bool:
    return any(severity in ("info", "warning", "critical") for severity in cells)


def _weight(cells: Sequence[Severity | None]) -> int:
    """A critical day weighs more than three warnings."""
    return sum(4 ** ORDER.index(severity) for severity in cells if severity is not None)


def _lines_of(finding: FindingRecord, past: Sequence[Past], reference: str) -> list[Line]:
    role, column, primary = finding.role, finding.column, catalog.PRIMARY
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
        pairs = zip(partitions, line.values, strict=True)
        known = [(partition, value) for partition, value in pairs if value is not None]
        if not known:
            continue

        (first, before), (last, now) = known[0], known[-1]
        texts.append(
            f"{line.title} {sparkline(line.values)} {show_number(before, 4)} on {first}, "
            f"{show_number(now, 4)} on {last}"
        )

    return "; ".join(texts)
