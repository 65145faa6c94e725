"""The commands about drift: two datasets compared, a partition's findings, the baseline of a model version."""

import dataclasses
import json
import sys
import tempfile
import webbrowser
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from nightscore.cli.app import (
    AsJson,
    CacheDir,
    Job,
    PartitionValue,
    Verbose,
    app,
    jobs_folder,
    known_partition,
    load,
    log_to,
    model_cache,
)
from nightscore.cli.show import err, out, print_json, print_table
from nightscore.drift.statistics import registry
from nightscore.drift.statistics.statistic import Figure
from nightscore.drift.wording import (
    no_longer,
    show_drivers,
    show_made_at,
    show_rates,
    show_references,
    verdict_text,
)
from nightscore.engine.backends.local import WorkerPool
from nightscore.inputs.partitions import parse_value
from nightscore.operations.report import ColumnDay, newest_report, read_report, reported_run
from nightscore.reports.series import sparkline
from nightscore.schemas.drift import ORDER
from nightscore.schemas.job import ScoringJob


class Format(StrEnum):
    TABLE = "table"
    JSON = "json"
    HTML = "html"


AGAIN = "compared again (UTC)"


@app.command()
def drift(
    reference: Annotated[
        str,
        typer.Argument(
            help="Parquet file, folder or URL; or a stored profile.", metavar="REFERENCE"
        ),
    ],
    current: Annotated[str, typer.Argument(help="What is compared with it.", metavar="CURRENT")],
    columns: Annotated[
        list[str] | None, typer.Option(help="Only this column; may be given several times.")
    ] = None,
    output: Annotated[
        Format,
        typer.Option("--format", help="As a table, one JSON document, or a page with plots."),
    ] = Format.TABLE,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> None:
    """Say how two Parquet datasets, or what runs have stored of them, differ column by column, without a job."""
    from nightscore.operations.compare import (  # what other commands need not import
        compare_sides,
        open_side,
    )

    wanted = [name for text in columns or () for name in text.split(",")]
    found, profiles = compare_sides(open_side(reference), open_side(current), wanted)
    if output == Format.HTML:
        from nightscore.reports.dataset_page import dataset_page
        from nightscore.reports.page import render

        sys.stdout.write(render(dataset_page(f"{current} against {reference}", found, profiles)))
        return
    if as_json or output == Format.JSON:
        print_json(json.loads(found.model_dump_json()))
        return
    figures = registry.shown_in("drift")
    rows = [
        {
            "column": column.name,
            "severity": column.severity,
            **{figure.label: figure.show(column.statistics.get(figure.name)) for figure in figures},
            "why": "; ".join(column.reasons),
        }
        for column in sorted(found.columns, key=lambda column: -ORDER.index(column.severity))
    ]
    labels = [figure.label for figure in figures]
    print_table(f"{current} against {reference}", ("column", "severity", *labels, "why"), rows)
    _explain(figures)
    for what, names in (("missing", found.missing_columns), ("new", found.new_columns)):
        if names:
            out.print(f"{what} columns: {', '.join(names)}")
    for name, reason in {**found.changed_types, **found.errors}.items():
        out.print(f"{name}: {reason}")
    out.print(f"verdict: {found.verdict}")


@app.command()
def baseline(
    job: Job,
    uri: Annotated[
        str,
        typer.Option("--from", help="Training or hold-out data: a Parquet file, folder or URL."),
    ],
    label: Annotated[
        str,
        typer.Option(help="Column with what came true: later scores then say what rate to expect."),
    ] = "",
    as_json: AsJson = False,
    cache_dir: CacheDir = None,
    verbose: Verbose = False,
) -> None:
    """Profile data under the job's model, and log the profile with the model version: runs are compared with it."""
    from nightscore.operations.baseline import record_baseline

    log_to(verbose)
    spec, cache = load(job), model_cache(cache_dir)
    with WorkerPool() as pool:
        found = record_baseline(spec, uri, pool, cache, lambda text: err.print(text), label=label)
    name, version = found.version.name, found.version.version
    if as_json:
        print_json(
            {"name": name, "version": version, "sha256": found.sha256, "columns": found.n_columns}
        )
    else:
        out.print(
            f"{name} version {version} has a baseline of {found.n_columns} columns, {found.sha256}"
        )


@app.command()
def report(
    job: Job,
    partition: PartitionValue,
    run_id: Annotated[
        str | None, typer.Option(help="This run; default: the newest that compared its columns.")
    ] = None,
    open_page: Annotated[
        bool, typer.Option("--open", help="Draw the page and open it in a browser.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Draw the page into this file.")
    ] = None,
    as_json: AsJson = False,
    cache_dir: CacheDir = None,
) -> None:
    """Say which columns of a partition's latest run moved, since when, and what that does to the score."""
    spec, value, cache = load(job), parse_value(partition), model_cache(cache_dir)
    with known_partition(spec, value, "report"):
        manifest = reported_run(spec, value, run_id)
    manifest = newest_report(spec, manifest, cache)
    found = manifest.drift
    assert found is not None  # noqa: S101
    if open_page or output:
        path = output or Path(tempfile.gettempdir(), f"{spec.name}-{manifest.run_id}.html")
        path.write_text(read_report(spec, manifest, cache), encoding="utf-8")
        err.print(f"written to {path}")
        if open_page:
            webbrowser.open(path.absolute().as_uri())
    if as_json:
        print_json(
            {
                "run_id": manifest.run_id,
                "status": manifest.status,
                **json.loads(found.model_dump_json()),
            }
        )
        return
    out.print(f"{manifest.status} {spec.name} {partition}: drift {verdict_text(found)}")
    out.print(f"{found.n_columns} columns, compared with: {show_references(found)}")
    if again := show_made_at(found):
        out.print(again)
    if found.score_movement is not None:
        moved = f"mean {found.score}: {found.score_movement:+.4f} against the baseline"
        out.print(moved)
    if rates := show_rates(found):
        out.print(rates)
    rows = [
        {
            "column": finding.column if finding.role != "schema" else f"{finding.column} (schema)",
            "severity": f"{finding.severity}{', seasonal' if finding.is_seasonal else ''}",
            "since": f"{finding.since or ''} ({finding.status})",
            "score": _shown(finding.impact, "{:+.4f}"),
            "why": "; ".join(finding.reasons),
            "driven by": ", ".join(show_drivers(finding)),
        }
        for finding in found.findings
    ]
    if rows:
        print_table("Findings, and what each adds to the mean score", tuple(rows[0]), rows)
    if over := no_longer(found):
        out.print(f"resolved: {', '.join(over)}")
    for name, reason in found.errors.items():
        out.print(f"not compared: {name}: {reason}")
    if not (open_page or output):
        err.print("the page with plots: --open, or -o FILE")


@app.command()
def pages(
    port: Annotated[int, typer.Option(help="TCP port.")] = 4280,
    host: Annotated[
        str, typer.Option(help="Address to listen on; reports show names and distributions.")
    ] = "127.0.0.1",
    as_json: AsJson = False,
    cache_dir: CacheDir = None,
) -> None:
    """Serve the reports of all jobs over HTTP, from any store, until Ctrl-C: what links in Prefect point to."""
    from nightscore.operations.serve_reports import serve  # what other commands need not import

    url = f"http://{host}:{port}"
    if as_json:
        print_json({"url": url, "jobs": str(jobs_folder())})
        sys.stdout.flush()
    err.print(f"reports of the jobs in {jobs_folder()}: {url}")
    serve(jobs_folder(), model_cache(cache_dir), host, port)


def print_series(
    job: ScoringJob, column: str, series: Sequence[ColumnDay], *, as_json: bool
) -> None:
    """For a program or for a person."""
    if as_json:
        print_json([dataclasses.asdict(day) for day in series])
        return
    is_again = any(day.compared_at is not None for day in series)
    figures = [
        figure
        for figure in registry.shown_in("history")
        if any(day.values.get(figure.name) is not None for day in series)
    ]
    rows = [
        {
            "partition": day.partition,
            "severity": f"{day.severity}{f' ({day.status})' if day.status else ''}",
            **{figure.label: figure.show(day.values.get(figure.name)) for figure in figures},
            AGAIN: "" if day.compared_at is None else f"{day.compared_at:%Y-%m-%d %H:%M:%S}",
        }
        for day in series
    ]
    labels = [figure.label for figure in figures]
    columns = ("partition", "severity", *labels, *([AGAIN] if is_again else []))
    print_table(f"{column} of {job.name}", columns, rows)
    for figure in figures:
        out.print(f"{figure.label:<22}{sparkline([day.values.get(figure.name) for day in series])}")
    _explain(figures)


def _explain(figures: Sequence[Figure]) -> None:
    """Say what the columns of a table mean."""
    for figure in figures:
        if figure.title == figure.label:
            continue
        thresholds = f" ({figure.thresholds})" if figure.thresholds else ""
        out.print(f"{figure.label}: {figure.title}{thresholds}")


def _shown(value: float | None, pattern: str = "{:.3f}") -> str:
    return "" if value is None else pattern.format(value)
