"""The command about drift between two datasets."""

import json
from enum import StrEnum
from typing import Annotated

import typer

from schemas.drift import ORDER
from scoring.cli.app import app
from scoring.cli.show import out, print_json, print_table


class Format(StrEnum):
    TABLE = "table"
    JSON = "json"


SHOWN = ("psi_adjusted", "js_distance", "ks", "wasserstein_over_std")


@app.command()
def drift(
    reference: Annotated[str, typer.Argument(help="Parquet file, folder or URL.", metavar="REFERENCE")],
    current: Annotated[str, typer.Argument(help="What is compared with it.", metavar="CURRENT")],
    columns: Annotated[list[str] | None, typer.Option(help="Only this column; may be given several times.")] = None,
    output: Annotated[Format, typer.Option("--format", help="As a table, or one JSON document.")] = Format.TABLE,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> None:
    """Say how two Parquet datasets differ, column by column, without a job."""
    from scoring.drift import Dataset, compare_datasets  # SciPy costs every other command a second

    wanted = [name for text in columns or () for name in text.split(",")]
    found = compare_datasets(Dataset(reference), Dataset(current), wanted)
    if as_json or output == Format.JSON:
        print_json(json.loads(found.model_dump_json()))
        return
    rows = [
        {
            "column": column.name,
            "severity": column.severity,
            **{name: _shown(column.statistics.get(name)) for name in SHOWN},
            "nulls": _shown(column.null_rate_difference, "{:+.1%}"),
            "why": "; ".join(column.reasons),
        }
        for column in sorted(found.columns, key=lambda column: -ORDER.index(column.severity))
    ]
    print_table(f"{current} against {reference}", ("column", "severity", *SHOWN, "nulls", "why"), rows)
    for what, names in (("missing", found.missing_columns), ("new", found.new_columns)):
        if names:
            out.print(f"{what} columns: {', '.join(names)}", markup=False)
    for name, reason in {**found.changed_types, **found.errors}.items():
        out.print(f"{name}: {reason}", markup=False)
    out.print(f"verdict: {found.verdict}")


def _shown(value: float | None, pattern: str = "{:.3f}") -> str:
    return "" if value is None else pattern.format(value)
