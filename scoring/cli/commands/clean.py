"""`nightscore clean`."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from nightscore.cli.app import AsJson, Job, load
from nightscore.cli.show import err, out, print_json
from nightscore.operations.clean import clean

MAX_AGE_DAYS = 36_500
"""Some systems have no dates before that."""


def clean_command(
    job: Job,
    older_than_hours: Annotated[
        float,
        typer.Option(
            min=0,
            max=MAX_AGE_DAYS * 24,
            help="Only files that are older than this. A day is safe beside any live run.",
        ),
    ] = 24.0,
    superseded_days: Annotated[
        float | None,
        typer.Option(
            min=1,
            max=MAX_AGE_DAYS,
            help="Also results replaced longer ago than this. They can no longer be restored.",
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
    spec = load(job)

    guard, superseded = timedelta(hours=older_than_hours), None

    if superseded_days is not None:
        superseded = timedelta(days=superseded_days)

    skipped: list[str] = []
    paths = clean(
        spec, datetime.now(UTC), guard, superseded, delete=not dry_run, tell=skipped.append
    )

    if as_json:
        document: dict[str, list[str]] = {"removed": [], "would_remove": [], "skipped": skipped}
        document["would_remove" if dry_run else "removed"] = paths
        print_json(document)

        return

    for path in paths:
        out.print(path)

    for sentence in skipped:
        err.print(sentence, markup=False)

    files = f"{len(paths)} file{'s'[: len(paths) != 1]}"
    out.print(f"{files} would be removed" if dry_run else f"{files} removed")
