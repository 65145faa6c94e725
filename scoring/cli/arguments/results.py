"""Arguments of the commands that say what was done."""

from datetime import datetime
from typing import Annotated

import typer

from nightscore.cli.options import TIME_FORMATS, AsJson, CacheDir, Job, PartitionValue


def partitions(
    job: Job,
    start: Annotated[
        str | None, typer.Option("--from", metavar="PARTITION", help="First value to show.")
    ] = None,
    end: Annotated[
        str | None, typer.Option("--to", metavar="PARTITION", help="Last value to show.")
    ] = None,
    as_json: AsJson = False,
    cache_dir: CacheDir = None,
) -> None:
    """Show which partitions are published, missing, stale or failed."""
    from nightscore.cli.commands.partitions import partitions as execute

    execute(job, start, end, as_json, cache_dir)


def explain(
    job: Job, partition: PartitionValue, as_json: AsJson = False, cache_dir: CacheDir = None
) -> None:
    """Say why a run would or would not score a partition."""
    from nightscore.cli.commands.partitions import explain as execute

    execute(job, partition, as_json, cache_dir)


def runs(
    job: Job,
    partition: Annotated[
        str | None,
        typer.Argument(metavar="PARTITION", help="Only runs of this partition."),
    ] = None,
    limit: Annotated[
        int,
        typer.Option(min=0, metavar="COUNT", help="Number of runs to show, newest first; 0: all."),
    ] = 50,
    as_json: AsJson = False,
) -> None:
    """List the runs of a job, newest first, including failed runs."""
    from nightscore.cli.commands.runs import runs as execute

    execute(job, partition, limit, as_json)


def history(
    job: Job,
    subject: Annotated[
        str,
        typer.Argument(
            help="Partition value, name of a column, or metric such as roc_auc.",
            metavar="PARTITION|COLUMN|METRIC",
        ),
    ],
    last: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="COUNT",
            help="For a column or a metric: number of partitions to show. Default: 30.",
        ),
    ] = None,
    as_known_at: Annotated[
        datetime | None,
        typer.Option(
            formats=TIME_FORMATS,
            metavar="TIME",
            help="For a metric: what `evaluate` had found by this time (UTC). Default: by now.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the results of a partition, newest first; or a column's drift or a metric over time.

    For a partition: what readers see now, and what a rollback can restore. For a column: how it
    differed. For a metric: what `evaluate` has found.
    """
    from nightscore.cli.commands.history import history as execute

    execute(job, subject, last, as_known_at, as_json)


def verify(
    job: Job,
    partition: PartitionValue,
    sample: Annotated[
        int, typer.Option(min=1, metavar="COUNT", help="Least number of rows to score again.")
    ] = 1_000,
    seed: Annotated[int, typer.Option(metavar="NUMBER", help="Seed of the sample.")] = 0,
    as_json: AsJson = False,
    cache_dir: CacheDir = None,
) -> None:
    """Check a partition against its record: checksums, inputs, model, libraries, and a sample.

    The sample is scored again and compared, bit for bit.
    """
    from nightscore.cli.commands.verify import verify_command as execute

    execute(job, partition, sample, seed, as_json, cache_dir)
