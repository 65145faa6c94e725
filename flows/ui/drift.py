"""A run's drift in the Prefect UI: Markdown and a table, as pure functions of the records."""

from collections.abc import Mapping, Sequence
from typing import Any

from nightscore.flows.ui.markdown import code, escaped
from nightscore.monitoring.drift import statistic_catalog
from nightscore.monitoring.drift.findings import column_names, counted
from nightscore.monitoring.drift.statistics_table import NO_REFERENCE
from nightscore.monitoring.drift.wording import (
    resolved_columns,
    show_drivers,
    show_rates,
    verdict_text,
)
from nightscore.monitoring.performance.estimates.wording import CONCEPT_DRIFT, headlines
from nightscore.operations.report import SPARK_DAYS, Drawn
from nightscore.reports.cards import SIGNS
from nightscore.reports.plots import data_uri
from nightscore.schemas.drift import ORDER
from nightscore.schemas.manifest import DriftRecord, FindingRecord
from nightscore.schemas.performance import EstimateRecord

MAX_FINDINGS = 12
MAX_ERRORS = 20
MAX_TABLE_ROWS = 400
"""The server lists artifacts with their data: each must stay well under 100 KB."""
PLOTS_CAPTION = "The columns that moved most: the reference as bars, the current values as a line"


def drift_lines(drift: DriftRecord, report_url: str, drawn: Drawn) -> list[str]:
    """The verdict, the columns that moved and since when, their effect on the score, and plots.

    Args:
        drift: The run's drift.
        report_url: URL of the whole report; empty if no server has it.
        drawn: Plots and sparklines, as far as they are drawn.
    """
    lines = [f"**Columns: {escaped(verdict_text(drift))}**", ""]
    if report_url:
        lines += [f"**[Open the whole report]({report_url})**", ""]

    lines += _score_lines(drift)
    lines += _finding_table(drift, drawn)
    lines += _quiet_columns(drift)

    if drawn.sheet:
        lines += [f"{PLOTS_CAPTION}.", "", f"![{PLOTS_CAPTION}]({data_uri(drawn.sheet)})", ""]

    lines += _reference_lines(drift)
    lines += _gaps(drift)

    return [*lines, f"All statistics: {code(drift.table)} below the state folder.", ""]


def estimate_lines(estimate: EstimateRecord | None) -> list[str]:
    """How right the predictions are likely to be; empty if it is not known."""
    lines = [f"{escaped(subject)}: {escaped(value)}." for subject, value in headlines(estimate)]
    if not lines:
        return []
    return [*lines, "", f"*{escaped(CONCEPT_DRIFT)}*", ""]


def _score_lines(drift: DriftRecord) -> list[str]:
    lines = []
    if drift.score_movement is not None:
        score, movement = code(drift.score or ""), drift.score_movement
        lines += [f"Mean {score}: {movement:+.4f} against the baseline.", ""]

    rates = show_rates(drift)
    if rates:
        lines += [f"{escaped(rates)}.", ""]
    return lines


def _finding_table(drift: DriftRecord, drawn: Drawn) -> list[str]:
    """Findings that count as a warning or worse."""
    graded = [f for f in drift.findings if counted(f) in ("warning", "critical")]
    if not graded:
        return []

    lines = [
        f"| column | severity | moves the score by | last {SPARK_DAYS} runs | why |",
        "| --- | --- | ---: | --- | --- |",
    ]

    for finding in graded[:MAX_FINDINGS]:
        lines.append(_finding_row(finding, drawn))

    if len(graded) > MAX_FINDINGS:
        lines.append(f"\nand {len(graded) - MAX_FINDINGS} more, in the table of all columns")

    return [*lines, ""]


def _finding_row(finding: FindingRecord, drawn: Drawn) -> str:
    name, severity, impact = finding.column, counted(finding), ""

    if finding.role == "schema":
        name += " (schema)"

    if finding.impact is not None:
        impact = f"{finding.impact:+.4f}"

    cells = (
        escaped(name),
        f"{SIGNS[severity]} {severity}",
        impact,
        drawn.sparklines.get((finding.role, finding.column), ""),
        escaped("; ".join(_reasons(finding))),
    )

    return f"| {' | '.join(cells)} |"


def _reasons(finding: FindingRecord) -> list[str]:
    reasons = list(finding.reasons[:1]) or [""]

    if len(finding.reasons) > 1:
        reasons.append(f"{len(finding.reasons) - 1} more")

    if finding.status == "ongoing" and finding.since:
        reasons.append(f"since {finding.since}")
    else:
        reasons.append("new")

    drivers = ", ".join(show_drivers(finding))
    if drivers:
        reasons.append(f"driven by {drivers}")

    return reasons


def _quiet_columns(drift: DriftRecord) -> list[str]:
    """Columns that differ as usual, and columns whose findings are resolved."""
    lines = []
    usual = column_names([finding for finding in drift.findings if finding.is_seasonal])
    if usual:
        lines += [f"Seasonal or usual: {escaped(', '.join(usual))}.", ""]

    resolved = resolved_columns(drift)
    if resolved:
        lines += [f"Resolved: {escaped(', '.join(resolved))}.", ""]
    return lines


def _reference_lines(drift: DriftRecord) -> list[str]:
    names = ", ".join(drift.references) or "nothing yet"
    lines = [f"{drift.n_columns} columns, compared with: {escaped(names)}.", ""]

    days = [f"{name} is {', '.join(values)}" for name, values in drift.days.items()]
    if days:
        lines += [f"{escaped('; '.join(days))}.", ""]
    return lines


def _gaps(drift: DriftRecord) -> list[str]:
    """What was not counted or compared."""
    lines = []
    if drift.unprofiled_rows:
        lines += [
            f"{drift.unprofiled_rows:,} rows were not profiled, to stay within `drift.max_share`.",
            "",
        ]

    if drift.errors:
        lines += ["Not compared:", ""]
        for name, reason in list(drift.errors.items())[:MAX_ERRORS]:
            lines.append(f"- {escaped(f'{name}: {reason}')}")
        lines.append("")

    return lines


def drift_rows(statistics: Sequence[Mapping[str, Any]]) -> list[dict[str, object]]:
    """All columns of a partition as a table, the most severe first.

    Args:
        statistics: Rows of the run's table of statistics.
    """
    figures = {figure.name: figure for figure in statistic_catalog.shown_in("prefect")}
    labels = [figure.label for figure in figures.values()]
    table: dict[tuple[str, str, str], dict[str, object]] = {}
    severities: dict[tuple[str, str, str], int] = {}

    for row in statistics:
        if row["segment"] or row["reference"] == NO_REFERENCE:
            continue

        key = (row["role"], row["column"], row["reference"])
        severities[key] = ORDER.index(row["severity"])
        shown = table.setdefault(key, _empty_row(row, labels))

        figure = figures.get(row["statistic"])
        if figure is not None:
            shown[figure.label] = figure.show(row["value"])

    most_severe_first = sorted(table, key=lambda key: (-severities[key], key))
    return [table[key] for key in most_severe_first[:MAX_TABLE_ROWS]]


def _empty_row(row: Mapping[str, Any], labels: Sequence[str]) -> dict[str, object]:
    return {
        "column": row["column"],
        "severity": row["severity"],
        "status": row["status"],
        "against": row["reference"],
        **dict.fromkeys(labels, ""),
        "role": row["role"],
    }
