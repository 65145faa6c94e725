"""Arguments of the commands that begin a project, and look at one."""

from typing import Annotated

import typer

from nightscore.cli.options import AsJson, CacheDir, Job, Verbose


def check(
    job: Job,
    partition: Annotated[
        str | None,
        typer.Argument(
            help="Partition value to look at. Default: the newest.", metavar="PARTITION"
        ),
    ] = None,
    as_json: AsJson = False,
    cache_dir: CacheDir = None,
    verbose: Verbose = False,
) -> None:
    """Check the job file, registry, model, stores and one partition, without scoring.

    All problems are found at once, each with what to do next. Nothing is left in the stores. Exit
    code 1 if a run could not publish.
    """
    from nightscore.cli.commands.check import check as execute

    execute(job, partition, as_json, cache_dir, verbose)
