"""Arguments of the commands that change what readers see, without scoring."""

from datetime import datetime
from typing import Annotated

import typer

from nightscore.cli.options import (
    TIME_FORMATS,
    AsJson,
    CacheDir,
    DryRun,
    EndDate,
    Job,
    MaxPartitions,
    StartDate,
)
from nightscore.schemas.partition import DEFAULT_MAX_PARTITIONS

MAX_AGE_DAYS = 36_500
"""Some systems have no dates before that."""

HeldRun = Annotated[
    str | None,
    typer.Option("--run-id", metavar="RUN_ID", help="Held run to decide on. Default: the newest."),
]
Note = Annotated[str, typer.Option(metavar="TEXT", help="Reason, for the record.")]
HeldPartition = Annotated[
    str | None,
    typer.Argument(metavar="PARTITION", help="Partition value, such as 2026-11-24."),
]
ProposedVersion = Annotated[
    str | None,
    typer.Option(
        "--release", metavar="VERSION", help="Decide on this version, which was proposed."
    ),
]


def approve(
    job: Job,
    partition: HeldPartition = None,
    release: ProposedVersion = None,
    run_id: HeldRun = None,
    note: Note = "",
    as_json: AsJson = False,
    cache_dir: CacheDir = None,
) -> None:
    """Publish a run that a gate holds, or make a version live that was proposed."""
    from nightscore.cli.commands.approve import approve as execute

    execute(job, partition, release, run_id, note, as_json, cache_dir)


def reject(
    job: Job,
    partition: HeldPartition = None,
    release: ProposedVersion = None,
    run_id: HeldRun = None,
    note: Note = "",
    as_json: AsJson = False,
) -> None:
    """Drop a run that a gate holds, or a version that was proposed. Its record is kept."""
    from nightscore.cli.commands.reject import reject as execute

    execute(job, partition, release, run_id, note, as_json)


def rollback(
    job: Job,
    start: StartDate,
    end: EndDate,
    run_id: Annotated[
        str | None,
        typer.Option("--run-id", metavar="RUN_ID", help="Restore the results of this run."),
    ] = None,
    before: Annotated[
        datetime | None,
        typer.Option(
            formats=TIME_FORMATS,
            metavar="TIME",
            help="Restore what readers saw at this time, in UTC.",
        ),
    ] = None,
    max_partitions: MaxPartitions = DEFAULT_MAX_PARTITIONS,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    cache_dir: CacheDir = None,
) -> None:
    """Restore earlier results without scoring: the previous ones, or those of a run or a time.

    Each partition is one commit and a run of its own. Later runs leave it alone until the
    partition's input or the job's model changes.
    """
    from nightscore.cli.commands.rollback import rollback as execute

    execute(job, start, end, run_id, before, max_partitions, dry_run, as_json, cache_dir)


def clean(
    job: Job,
    older_than_hours: Annotated[
        float,
        typer.Option(
            min=0,
            max=MAX_AGE_DAYS * 24,
            metavar="HOURS",
            help="Only files that are older than this. A day is safe beside any live run.",
        ),
    ] = 24.0,
    superseded_days: Annotated[
        float | None,
        typer.Option(
            min=1,
            max=MAX_AGE_DAYS,
            metavar="DAYS",
            help="Also results replaced longer ago than this. They can no longer be restored.",
        ),
    ] = None,
    samples_days: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=MAX_AGE_DAYS,
            metavar="DAYS",
            help="Also samples of rows (estimate.sample_rows) older than this, and of baselines.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only list what would be removed.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Remove what dead runs left and, on request, replaced results. Never what readers see.

    Partitions that another command is changing are skipped and named.
    """
    from nightscore.cli.commands.clean import clean_command as execute

    execute(job, older_than_hours, superseded_days, samples_days, dry_run, as_json)
