"""The days before on the page of a report: a map of severities, and lines of chosen statistics."""

from collections.abc import Sequence

from nightscore.drift.findings import REFERENCES
from nightscore.drift.series import NOW, THRESHOLDS, Past, series_of
from nightscore.reports.cards import in_figures
from nightscore.reports.plots import sparkline, trend_svg
from nightscore.schemas.drift import ORDER, Severity
from nightscore.schemas.manifest import DriftRecord

MAX_DATES = 28
MAX_ROWS = 40
"""Columns in the map."""
MAX_TRENDS = 6

Line = tuple[str, Sequence[float | None], float | None]
"""Title, values and threshold of a statistic."""


def heat_map(past: Sequence[Past]) -> tuple[list[str], list[tuple[str, list[Severity | None]]]]:
    """Severity of each column in each partition; the gravest columns first, those that were always calm left out."""
    past = past[-MAX_DATES:]
    found: dict[str, list[Severity | None]] = {}
    for place, one in enumerate(past):
        references = {row["reference"] for row in one.rows}
        first = next((name for name in REFERENCES if name in references), None)
        for row in one.rows:
            is_own = row["role"] in ("rows", "schema") and row["reference"] != NOW
            if row["segment"] or not row["severity"] or not (row["reference"] == first or is_own):
                continue
            name = row["column"] if row["role"] != "schema" else f"{row['column']} (schema)"
            severity: Severity = "info" if row["status"] == "seasonal" else row["severity"]
            found.setdefault(name, [None] * len(past))[place] = severity
    rank = {
        name: sum(4 ** ORDER.index(s) for s in cells if s is not None)
        for name, cells in found.items()
    }
    moved = [
        name
        for name, cells in found.items()
        if any(s in ("info", "warning", "critical") for s in cells)
    ]
    rows = sorted(moved, key=lambda name: (-rank[name], name))[:MAX_ROWS]
    return [one.partition for one in past], [(name, found[name]) for name in rows]


def draw_trends(past: Sequence[Past], drift: DriftRecord) -> list[tuple[str, str, str]]:
    """Title, drawing and words: rows and score, then each column with a finding."""
    past = past[-MAX_DATES:]
    if len(past) < 2:
        return []
    dates = [one.partition for one in past]
    found = []
    first = next((name for name in REFERENCES if name in drift.references), "")
    series: list[Line] = [("rows", series_of(past, "rows", "rows", "rows", NOW), None)]
    if drift.score:
        series.append(
            (f"mean {drift.score}", series_of(past, "prediction", drift.score, "mean", NOW), None)
        )
    found.append(
        (
            "Rows and mean score",
            trend_svg(dates, series, "rows and score"),
            _values_in_words(dates, series),
        )
    )
    moved = [f for f in drift.findings if f.role not in ("rows", "schema") and f.severity != "info"]
    for finding in moved[:MAX_TRENDS]:
        of = (finding.role, finding.column)
        series = [
            (
                "psi_adjusted",
                series_of(past, *of, "psi_adjusted", first),
                THRESHOLDS["psi_adjusted"],
            ),
            ("null rate", series_of(past, *of, "null_rate", NOW), None),
        ]
        mean = series_of(past, *of, "mean", NOW)
        if any(value is not None for value in mean):
            series.append(("mean", mean, None))
        drawn = trend_svg(dates, series, " ".join(of))
        found.append((finding.column, drawn, _values_in_words(dates, series)))
    return found


def _values_in_words(dates: Sequence[str], series: Sequence[Line]) -> str:
    """From where to where each line goes."""
    texts = []
    for title, values, _ in series:
        known = [
            (date, value) for date, value in zip(dates, values, strict=True) if value is not None
        ]
        if known:
            texts.append(
                f"{title} {sparkline(values)} {in_figures(known[0][1])} on {known[0][0]}, "
                f"{in_figures(known[-1][1])} on {known[-1][0]}"
            )
    return "; ".join(texts)
