"""Arguments of the commands that plan and score."""

from typing import Annotated

import typer

from nightscore.cli.options import (
    AsJson,
    CacheDir,
    DryRun,
    EndDate,
    Job,
    MaxPartitions,
    PartitionValue,
    StartDate,
    Verbose,
)
from nightscore.schemas.partition import DEFAULT_MAX_PARTITIONS


def plan(
    job: Job,
    partitions: Annotated[
        list[str], typer.Argument(help="Partition values.", metavar="PARTITION...")
    ],
    force: Annotated[bool, typer.Option("--force", help="Plan as `run --force` would.")] = False,
    as_json: AsJson = False,
    cache_dir: CacheDir = None,
    verbose: Verbose = False,
) -> None:
    """Show what a run would do, and why: rows, bytes, shards, memory. Writes nothing.

    Reads the footers of the input files, and integers of files that do not count their nulls.
    """
    from nightscore.cli.commands.plan import plan as execute

    execute(job, partitions, force, as_json, cache_dir, verbose)


def run(
    job: Job,
    partition: PartitionValue,
    force: Annotated[
        bool, typer.Option("--force", help="Score again even if the same is already published.")
    ] = False,
    as_json: AsJson = False,
    cache_dir: CacheDir = None,
    verbose: Verbose = False,
) -> None:
    """Score one partition and publish it. With --json, prints the manifest."""
    from nightscore.cli.commands.run import run_command as execute

    execute(job, partition, force, as_json, cache_dir, verbose)


def backfill(
    job: Job,
    start: StartDate,
    end: EndDate,
    mode: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODE",
            help="missing, failed, stale or all. Repeat it for several. "
            "Default: missing and failed.",
        ),
    ] = None,
    order: Annotated[str, typer.Option(metavar="ORDER", help="newest or oldest first.")] = "newest",
    model: Annotated[
        str,
        typer.Option(
            metavar="VERSION",
            help="current, a version number, or as-of (the version on each date).",
        ),
    ] = "current",
    max_partitions: MaxPartitions = DEFAULT_MAX_PARTITIONS,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    cache_dir: CacheDir = None,
    verbose: Verbose = False,
) -> None:
    """Plan a range of dates, then score that plan. Failed partitions do not stop the others."""
    from nightscore.cli.commands.backfill import backfill as execute

    execute(
        job,
        start,
        end,
        mode,
        order,
        model,
        max_partitions,
        dry_run,
        as_json,
        cache_dir,
        verbose,
    )


def replay(
    job: Job,
    partition: PartitionValue,
    new_model: Annotated[
        bool,
        typer.Option(
            "--new-model", help="Allow another model version than that of the other rows."
        ),
    ] = False,
    as_json: AsJson = False,
    cache_dir: CacheDir = None,
    verbose: Verbose = False,
) -> None:
    """Score a partition's quarantined rows again, and merge them with the others in one commit.

    The rows are scored under the job as it is now.
    """
    from nightscore.cli.commands.replay import replay_command as execute

    execute(job, partition, new_model, as_json, cache_dir, verbose)
