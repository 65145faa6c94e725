"""The arguments and options that commands share. A thing has one name in all of them."""

from datetime import UTC, date, datetime, time
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


def read_moment(text: str) -> datetime:
    """A time in UTC, as somebody writes it; a date alone means its end.

    Raises:
        BadParameter: It is none.
    """
    try:
        return datetime.combine(date.fromisoformat(text), time.max, UTC)
    except ValueError:
        pass  # it is no date alone

    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f"'{text}' is no time; write it as 2026-11-24 or 2026-11-24T12:00:00, which is UTC, or "
            "2026-11-24T12:00:00+01:00"
        ) from None

    return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)


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
