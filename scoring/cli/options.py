"""The arguments and options that commands share. A thing has one name in all of them."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from nightscore.cli.job_names import complete_jobs
from nightscore.schemas.model_uri import MODEL_URI_FORMS

TIME_FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S"]

Job = Annotated[
    str,
    typer.Argument(
        help="Name, path or URL of a job file.", metavar="JOB", autocompletion=complete_jobs
    ),
]
PartitionValue = Annotated[
    str, typer.Argument(help="Partition value, such as 2026-11-24.", metavar="PARTITION")
]
ModelUri = Annotated[
    str,
    typer.Argument(help=f"{MODEL_URI_FORMS}.", metavar="MODEL_URI"),
]

StartDate = Annotated[
    datetime, typer.Option("--from", formats=["%Y-%m-%d"], metavar="DATE", help="First date.")
]
EndDate = Annotated[
    datetime,
    typer.Option("--to", formats=["%Y-%m-%d"], metavar="DATE", help="Last date, included."),
]
MaxPartitions = Annotated[
    int,
    typer.Option(min=1, metavar="COUNT", help="Refuse a larger range. Raise it to confirm one."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only plan.")]
Registry = Annotated[
    str | None,
    typer.Option(metavar="URI", help="MLflow tracking URI. The default is that of a job file."),
]

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]
CacheDir = Annotated[
    Path | None,
    typer.Option(
        "--cache-dir",
        envvar="NIGHTSCORE_CACHE",
        metavar="FOLDER",
        help="Folder for cached models on this host.",
    ),
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Log each step to standard error.")]
