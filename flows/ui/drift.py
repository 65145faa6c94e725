"""What the Prefect UI shows of a run's columns: Markdown and a table, as pure functions of the records."""

from collections.abc import Mapping, Sequence
from typing import Any

from nightscore.drift.findings import counted
from nightscore.drift.statistics import registry
from nightscore.drift.statistics_table import NO_REFERENCE
from nightscore.drift.wording import no_longer, show_drivers, show_rates, verdict_text
from nightscore.flows.ui.markdown import code, escaped
from nightscore.operations.report import Drawn
from nightscore.reports.cards import SIGNS
from nightscore.reports.plots import data_uri
from nightscore.schemas.drift import ORDER
from nightscore.schemas.manifest import DriftRecord, FindingRecord

MAX_FINDINGS = 12
MAX_TABLE_ROWS = 400
"""List calls return every artifact whole: each stays well under 100 KB."""


def drift_lines(drift: DriftRecord, report_url: str, drawn: Drawn) -> list[str]:
    """The verdict, what moved and since when, and what it does to the score; the plots of what moved most.

    Args:
        drift: Of the run.
        report_url: Of the whole report; empty: no server has it.
        drawn: What there is of plots and sparklines.
    """
    against = ", ".join(drift.references) or "nothing yet"
    lines = [f"**Columns: {escaped(verdict_text(drift))}**", ""]
    if report_url:
        lines += [f"**[Open the whole report]({report_url})**", ""]
    if drift.score_movement is not None:
        lines += [
            f"Mean {code(drift.score or '')}: {drift.score_movement:+.4f} against the baseline.",
            "",
        ]
    if rates := show_rates(drift):
        lines += [f"{escaped(rates)}.", ""]
    graded = [f for f in drift.findings if counted(f) in ("warning", "critical")]
    if graded:
        lines += [
            "| column | severity | moves the score by | last 14 runs | why |",
            "| --- | --- | ---: | --- | --- |",
            *(_row(finding, drawn) for finding in graded[:MAX_FINDINGS]),
        ]
        if len(graded) > MAX_FINDINGS:
            lines.append(f"\nand {len(graded) - MAX_FINDINGS} more, in the table of all columns")
        lines.append("")
    usual = [f.column for f in drift.findings if f.is_seasonal]
    if usual:
        lines += [
            f"Seasonal or usual: {escaped(', '.join(usual))}.",
            "",
        ]
    if over := no_longer(drift):
        lines += [f"Resolved: {escaped(', '.join(over))}.", ""]
    if drawn.sheet:
        words = "The columns that moved most: the reference as bars, the current values as a line"
        lines += [f"{words}.", "", f"![{words}]({data_uri(drawn.sheet)})", ""]
    lines += [f"{drift.n_columns} columns, compared with: {escaped(against)}.", ""]
    if days := [f"{name} is {', '.join(values)}" for name, values in drift.days.items()]:
        lines += [f"{escaped('; '.join(days))}.", ""]
    if drift.unprofiled_rows:
        lines += [
            f"{drift.unprofiled_rows:,} rows were not profiled: profiling took more than its share.",
            "",
        ]
    if drift.errors:
        failed = [escaped(f"{name}: {why}") for name, why in list(drift.errors.items())[:20]]
        lines += ["Not compared:", "", *(f"- {text}" for text in failed), ""]
    return [*lines, f"All statistics: {code(drift.table)} below the state folder.", ""]


def _row(finding: FindingRecord, drawn: Drawn) -> str:
    why = finding.reasons[0] if finding.reasons else ""
    why += f"; {len(finding.reasons) - 1} more" if len(finding.reasons) > 1 else ""
    why += f"; since {finding.since}" if finding.status == "ongoing" and finding.since else "; new"
    driven = ", ".join(show_drivers(finding))
    why += f"; driven by {driven}" if driven else ""
    name = finding.column if finding.role != "schema" else f"{finding.column} (schema)"
    severity = counted(finding)
    cells = (
        escaped(name),
        f"{SIGNS[severity]} {severity}",
        "" if finding.impact is None else f"{finding.impact:+.4f}",
        drawn.sparklines.get((finding.role, finding.column), ""),
        escaped(why),
    )
    return f"| {' | '.join(cells)} |"


def drift_rows(statistics: Sequence[Mapping[str, Any]]) -> list[dict[str, object]]:
    """All columns of a partition as a table, the most severe first.

    Args:
        statistics: Rows of the run's table of statistics.
    """
    found: dict[tuple[str, str, str], dict[str, object]] = {}
    order = {}
    figures = {figure.name: figure for figure in registry.shown_in("prefect")}
    empty = {figure.label: "" for figure in figures.values()}
    for row in statistics:
        if row["segment"] or row["reference"] == NO_REFERENCE:
            continue
        key = (row["role"], row["column"], row["reference"])
        order[key] = ORDER.index(row["severity"])
        shown = found.setdefault(
            key,
            {
                "column": row["column"],
                "severity": row["severity"],
                "status": row["status"],
                "against": row["reference"],
                **empty,
                "role": row["role"],
            },
        )
        figure = figures.get(row["statistic"])
        if figure is not None:
            shown[figure.label] = figure.show(row["value"])
    return [
        found[key] for key in sorted(found, key=lambda key: (-order[key], key))[:MAX_TABLE_ROWS]
    ]
