"""Arguments of the commands that watch the data."""

from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from nightscore.cli.options import TIME_FORMATS, AsJson, CacheDir, Job, PartitionValue, Verbose


class Format(StrEnum):
    """How the comparison is printed."""

    TABLE = "table"
    JSON = "json"
    HTML = "html"


def report(
    job: Job,
    partition: PartitionValue,
    run_id: Annotated[
        str | None,
        typer.Option(
            metavar="RUN_ID", help="Run to show. Default: the newest that has a comparison."
        ),
    ] = None,
    open_page: Annotated[
        bool, typer.Option("--open", help="Draw the page with plots and open it in a browser.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Draw the page into this file."),
    ] = None,
    as_json: AsJson = False,
    cache_dir: CacheDir = None,
) -> None:
    """Show which columns of a partition moved, since when, and how that changes the score."""
    from nightscore.cli.commands.report import report as execute

    execute(job, partition, run_id, open_page, output, as_json, cache_dir)


def pages(
    port: Annotated[int, typer.Option(min=1, max=65_535, metavar="PORT", help="TCP port.")] = 4280,
    host: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS",
            help="Address to listen on. Reports show names of columns and their distributions.",
        ),
    ] = "127.0.0.1",
    as_json: AsJson = False,
    cache_dir: CacheDir = None,
) -> None:
    """Serve the reports of all jobs over HTTP, from any store, until you press Ctrl-C.

    Links in Prefect lead to them. With a secret in NIGHTSCORE_WEBHOOK_SECRET, MLflow's webhooks are
    received, too: they tell at once that a new model version is live.
    """
    from nightscore.cli.commands.pages import pages as execute

    execute(port, host, as_json, cache_dir)


def baseline(
    job: Job,
    uri: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="DATA",
            help="Training or hold-out data: a Parquet file, folder or URL.",
        ),
    ],
    label: Annotated[
        str,
        typer.Option(
            metavar="COLUMN",
            help="Column with the true outcome, from which `nightscore performance` estimates.",
        ),
    ] = "",
    model_version: Annotated[
        str | None,
        typer.Option(
            metavar="VERSION",
            help="Another version of the job's model, such as one that is not live yet.",
        ),
    ] = None,
    as_json: AsJson = False,
    cache_dir: CacheDir = None,
    verbose: Verbose = False,
) -> None:
    """Profile data under the job's model, and log the profile with the model version.

    Runs are compared with this baseline. With --label, it also says how right the model is by
    score. Take hold-out data for that: a model knows its training data too well.
    """
    from nightscore.cli.commands.baseline import baseline as execute

    execute(job, uri, label, model_version, as_json, cache_dir, verbose)


def performance(
    job: Job,
    partition: Annotated[
        str | None,
        typer.Argument(metavar="PARTITION", help="Only this partition, with all metrics."),
    ] = None,
    start: Annotated[
        str | None, typer.Option("--from", metavar="PARTITION", help="First partition to show.")
    ] = None,
    end: Annotated[
        str | None, typer.Option("--to", metavar="PARTITION", help="Last partition to show.")
    ] = None,
    last: Annotated[
        int,
        typer.Option(min=1, metavar="COUNT", help="Number of partitions to show, the latest ones."),
    ] = 30,
    as_known_at: Annotated[
        datetime | None,
        typer.Option(
            formats=TIME_FORMATS,
            metavar="TIME",
            help="Show what was published and known at this time (UTC). Default: now.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="FILE", help="Write the page with plots over time there."
        ),
    ] = None,
    as_json: AsJson = False,
    cache_dir: CacheDir = None,
) -> None:
    """Estimate how right a model is, before labels come: AUC and more, or RMSE of a regression.

    Each estimate has a 95 % band. It comes from stored scores and the labels of the baseline
    (`nightscore baseline --label`), and covers past partitions too; no row is read. A changed
    relation between features and label cannot be seen without labels.
    """
    from nightscore.cli.commands.performance import performance as execute

    execute(job, partition, (start, end), last, as_known_at, output, as_json, cache_dir)


def evaluate(
    job: Job,
    start: Annotated[
        str | None, typer.Option("--from", metavar="PARTITION", help="First partition.")
    ] = None,
    end: Annotated[
        str | None,
        typer.Option("--to", metavar="PARTITION", help="Last partition, included."),
    ] = None,
    run_id: Annotated[
        str | None,
        typer.Option(
            "--run-id",
            metavar="RUN_ID",
            help="Evaluate the results of this run, also if they were replaced or rolled back.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare published predictions with the labels that have become known.

    The job file says where the labels are. Partitions whose predictions and labels are the same as
    before are left out. A run whose results were replaced can be evaluated while its files are
    kept; the partition's newest evaluation stays that of what is published. Challengers are
    compared with the job's model on the same rows: which one is better, or how many more nights it
    takes to tell.
    """
    from nightscore.cli.commands.evaluate import evaluate_command as execute

    execute(job, (start, end), run_id, as_json)


def drift(
    reference: Annotated[
        str,
        typer.Argument(
            help="Parquet file, folder or URL; or a stored profile.", metavar="REFERENCE"
        ),
    ],
    current: Annotated[str, typer.Argument(help="The data to compare with it.", metavar="CURRENT")],
    columns: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="Only this column. Repeat it for several."),
    ] = None,
    output: Annotated[
        Format,
        typer.Option(
            "--format", metavar="FORMAT", help="table, json, or html for a page with plots."
        ),
    ] = Format.TABLE,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> None:
    """Compare two Parquet datasets or stored profiles, column by column. No job is needed."""
    from nightscore.cli.commands.drift import drift as execute

    execute(reference, current, columns, output.value, as_json)
