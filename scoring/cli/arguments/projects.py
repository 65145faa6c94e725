"""Arguments of the commands that begin a project, and look at one."""

from pathlib import Path
from typing import Annotated

import typer

from nightscore.cli.options import AsJson, CacheDir, Job, Registry, Verbose


def init(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder of the project. Default: this one.")
    ] = Path(),
    model: Annotated[
        str,
        typer.Option(
            metavar="MODEL_URI",
            help="Model to score with: its columns, their types and its classes are filled in.",
        ),
    ] = "",
    data: Annotated[
        str,
        typer.Option(
            metavar="URI",
            help="What to score: a Parquet file, a folder of them or of partitions, or a Delta "
            "table. Partitions, the format of their dates and the keys are filled in.",
        ),
    ] = "",
    registry: Registry = None,
    name: Annotated[
        str, typer.Option(metavar="NAME", help="Name of the job. Default: that of the model.")
    ] = "",
    demo: Annotated[
        bool,
        typer.Option("--demo", help="Begin with New York's flights of 2013, and a model of them."),
    ] = False,
    as_json: AsJson = False,
    cache_dir: CacheDir = None,
) -> None:
    """Begin a project: a job file that works, its JSON Schema, deployments for Prefect, README.

    It says what it guessed, and why. In a project it adds another job, or the files that are
    missing. It never overwrites a file.
    """
    from nightscore.cli.commands.init import init as execute

    execute(folder, model, data, registry, name, demo, as_json, cache_dir)


def check(
    job: Job,
    partition: Annotated[
        str | None,
        typer.Argument(
            help="Partition value to look at. Default: the newest.", metavar="PARTITION"
        ),
    ] = None,
    timeout_s: Annotated[
        float,
        typer.Option(
            "--timeout",
            metavar="SECONDS",
            min=0.1,
            help="How long the registry and Prefect's API have to answer.",
        ),
    ] = 5.0,
    as_json: AsJson = False,
    cache_dir: CacheDir = None,
    verbose: Verbose = False,
) -> None:
    """Check the job file, registry, model, stores and one partition, without scoring.

    All problems are found at once, each with what to do next. Nothing is left in the stores. Exit
    code 1 if a run could not publish.
    """
    from nightscore.cli.commands.check import check as execute

    execute(job, partition, timeout_s, as_json, cache_dir, verbose)
