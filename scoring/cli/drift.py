"""The commands about drift: two datasets compared, a partition's findings, the baseline of a model version."""

import json
from enum import StrEnum
from typing import Annotated

import typer

from schemas.drift import ORDER
from scoring.cli.app import AsJson, CacheDir, Job, PartitionValue, Verbose, app, load, log_to, model_cache
from scoring.cli.show import err, out, print_json, print_table
from scoring.engine.pool import WorkerPool
from scoring.errors import PartitionNotFoundError
from scoring.inputs.partitions import parse_value
from scoring.monitoring.findings import verdict_text
from scoring.status import run_history


class Format(StrEnum):
    TABLE = "table"
    JSON = "json"


SHOWN = ("psi_adjusted", "js_distance", "ks", "wasserstein_over_std")


@app.command()
def drift(
    reference: Annotated[
        str, typer.Argument(help="Parquet file, folder or URL; or a stored profile.", metavar="REFERENCE")
    ],
    current: Annotated[str, typer.Argument(help="What is compared with it.", metavar="CURRENT")],
    columns: Annotated[list[str] | None, typer.Option(help="Only this column; may be given several times.")] = None,
    output: Annotated[Format, typer.Option("--format", help="As a table, or one JSON document.")] = Format.TABLE,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> None:
    """Say how two Parquet datasets, or what runs have stored of them, differ column by column, without a job."""
    from scoring.drift import compare_datasets, open_side  # what other commands need not import

    wanted = [name for text in columns or () for name in text.split(",")]
    found = compare_datasets(open_side(reference), open_side(current), wanted)
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


@app.command()
def baseline(
    job: Job,
    uri: Annotated[str, typer.Option("--from", help="Training or hold-out data: a Parquet file, folder or URL.")],
    label: Annotated[
        str, typer.Option(help="Column with what came true: later scores then say what rate to expect.")
    ] = "",
    as_json: AsJson = False,
    cache_dir: CacheDir = None,
    verbose: Verbose = False,
) -> None:
    """Profile data under the job's model, and log the profile with the model version: runs are compared with it."""
    from scoring.baseline import record_baseline

    log_to(verbose)
    spec, cache = load(job), model_cache(cache_dir)
    with WorkerPool() as pool:
        found = record_baseline(spec, uri, pool, cache, lambda text: err.print(text, markup=False), label=label)
    name, version = found.version.name, found.version.version
    if as_json:
        print_json({"name": name, "version": version, "sha256": found.sha256, "columns": found.n_columns})
    else:
        out.print(f"{name} version {version} has a baseline of {found.n_columns} columns, {found.sha256}")


@app.command()
def report(job: Job, partition: PartitionValue, as_json: AsJson = False) -> None:
    """Say which columns of a partition's latest run moved, since when, and what that does to the score."""
    spec, value = load(job), parse_value(partition)
    history = run_history(spec, value, everything=False)
    manifest = next((m for m in history if m.drift is not None), None)
    if manifest is None or manifest.drift is None:
        raise PartitionNotFoundError(
            "No run of this partition has compared its columns.",
            f"{spec.output.uri}.nightscore/runs",
            expected="a run that was published or held, with drift.profile left on",
            found=f"{len(history)} runs without",
            next_step="run it; or look at two datasets with `nightscore drift`",
        )
    found = manifest.drift
    if as_json:
        print_json({"run_id": manifest.run_id, "status": manifest.status, **json.loads(found.model_dump_json())})
        return
    out.print(f"{manifest.status} {spec.name} {partition}: drift {verdict_text(found)}", markup=False)
    out.print(
        f"{found.n_columns} columns, compared with: {', '.join(found.references) or 'nothing yet'}", markup=False
    )
    if found.score_movement is not None:
        moved = f"the mean of {found.score} moved by {found.score_movement:+.4f} since the baseline"
        out.print(moved, markup=False)
    rows = [
        {
            "column": finding.column,
            "severity": f"{finding.severity}{', seasonal' if finding.is_seasonal else ''}",
            "since": f"{finding.since or ''} ({finding.status})",
            "score": _shown(finding.impact, "{:+.4f}"),
            "why": "; ".join(finding.reasons),
        }
        for finding in found.findings
    ]
    if rows:
        print_table("Findings, and what each adds to the mean score", tuple(rows[0]), rows)
    if found.resolved:
        out.print(f"no longer: {', '.join(found.resolved)}", markup=False)
    for name, reason in found.errors.items():
        out.print(f"not compared: {name}: {reason}", markup=False)


def _shown(value: float | None, pattern: str = "{:.3f}") -> str:
    return "" if value is None else pattern.format(value)
