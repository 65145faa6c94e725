"""What the Prefect UI shows of a run's columns: Markdown and a table, as pure functions of the records."""

from collections.abc import Mapping, Sequence
from typing import Any

from nightscore.drift.findings import (
    counted,
    no_longer,
    show_drivers,
    show_rates,
    verdict_text,
)
from nightscore.drift.series import NOW
from nightscore.flows.ui.markdown import code, escaped
from nightscore.operations.report import Drawn
from nightscore.reports.cards import SIGNS
from nightscore.reports.plots import data_uri
from nightscore.schemas.drift import ORDER
from nightscore.schemas.manifest import DriftRecord, FindingRecord

MAX_FINDINGS = 12
SHOWN_STATISTICS = ("psi_adjusted", "ks", "linf", "null_rate_difference", "impact")
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
            f"The mean of {code(drift.score or '')} moved by {drift.score_movement:+.4f} since the baseline.",
            "",
        ]
    if rates := show_rates(drift):
        lines += [f"Mean label: {escaped(rates)}.", ""]
    graded = [f for f in drift.findings if counted(f) in ("warning", "critical")]
    if graded:
        lines += [
            "| column | severity | moves the score by | of late | why |",
            "| --- | --- | ---: | --- | --- |",
            *(_row(finding, drawn) for finding in graded[:MAX_FINDINGS]),
        ]
        if len(graded) > MAX_FINDINGS:
            lines.append(f"\nand {len(graded) - MAX_FINDINGS} more, in the table of all columns")
        lines.append("")
    usual = [f.column for f in drift.findings if f.is_seasonal]
    if usual:
        lines += [
            f"As on the same weekdays, or as is usual of late: {escaped(', '.join(usual))}.",
            "",
        ]
    if over := no_longer(drift):
        lines += [f"No longer: {escaped(', '.join(over))}.", ""]
    if drawn.sheet:
        words = "The columns that moved most: bars are the reference, the line is now"
        lines += [f"{words}.", "", f"![{words}]({data_uri(drawn.sheet)})", ""]
    lines += [f"{drift.n_columns} columns, compared with: {escaped(against)}.", ""]
    if days := [f"{name} is {', '.join(values)}" for name, values in drift.days.items()]:
        lines += [f"Of these, {escaped('; '.join(days))}.", ""]
    if drift.unprofiled_rows:
        lines += [
            f"{drift.unprofiled_rows:,} rows were not counted: the profile took more than its share.",
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
    for row in statistics:
        if row["segment"] or row["reference"] == NOW:
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
                **dict.fromkeys(SHOWN_STATISTICS, ""),
                "role": row["role"],
            },
        )
        if row["statistic"] in SHOWN_STATISTICS and row["value"] is not None:
            shown[row["statistic"]] = f"{round(row['value'], 6):.4g}"
    return [
        found[key] for key in sorted(found, key=lambda key: (-order[key], key))[:MAX_TABLE_ROWS]
    ]
