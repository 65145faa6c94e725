"""`nightscore drift`."""

import json
import sys
from collections.abc import Sequence

from nightscore.cli.figures import explain_figures
from nightscore.cli.show import out, print_json, print_table
from nightscore.monitoring.drift import statistic_catalog
from nightscore.operations.compare_datasets import compare_sides, open_side
from nightscore.schemas.drift import ORDER, DriftReport


def drift(
    reference: str, current: str, columns: Sequence[str] | None, output: str, as_json: bool
) -> None:
    """Print how the columns of two datasets differ."""
    names = [name for text in columns or () for name in text.split(",")]
    report, profiles = compare_sides(open_side(reference), open_side(current), names)
    title = f"{current} against {reference}"

    if output == "html":
        from nightscore.reports.dataset_page import dataset_page
        from nightscore.reports.page import render

        sys.stdout.write(render(dataset_page(title, report, profiles)))
    elif as_json or output == "json":
        print_json(json.loads(report.model_dump_json()))
    else:
        _print_report(title, report)


def _print_report(title: str, report: DriftReport) -> None:
    figures = statistic_catalog.shown_in("drift")
    most_severe_first = sorted(report.columns, key=lambda column: -ORDER.index(column.severity))

    rows = []
    for column in most_severe_first:
        values = {
            figure.label: figure.show(column.statistics.get(figure.name)) for figure in figures
        }
        why = "; ".join(column.reasons)
        rows.append({"column": column.name, "severity": column.severity, **values, "why": why})

    labels = [figure.label for figure in figures]
    print_table(title, ("column", "severity", *labels, "why"), rows)
    explain_figures(figures)

    for kind, names in (("missing", report.missing_columns), ("new", report.new_columns)):
        if names:
            out.print(f"{kind} columns: {', '.join(names)}")

    for name, reason in {**report.changed_types, **report.errors}.items():
        out.print(f"{name}: {reason}")

    out.print(f"verdict: {report.verdict}")
