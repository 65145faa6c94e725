"""`nightscore clean`."""

from datetime import UTC, datetime, timedelta

from nightscore.cli.resolve import load
from nightscore.cli.show import counted, err, out, print_json
from nightscore.operations.clean import clean


def clean_command(
    job: str,
    older_than_hours: float,
    superseded_days: float | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Remove files that nobody needs, and print their names."""
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

    files = counted(len(paths), "file")
    out.print(f"{files} would be removed" if dry_run else f"{files} removed")
