"""`nightscore clean`."""

from datetime import UTC, datetime, timedelta

from nightscore.cli.resolve import load_any
from nightscore.cli.show import counted, err, out, print_json
from nightscore.operations.clean import clean
from nightscore.operations.clean_samples import clean_samples


def clean_command(
    job: str,
    older_than_hours: float,
    superseded_days: float | None,
    samples_days: float | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Remove files that nobody needs, and print their names."""
    spec = load_any(job)

    now, guard = datetime.now(UTC), timedelta(hours=older_than_hours)
    superseded = None if superseded_days is None else timedelta(days=superseded_days)

    skipped: list[str] = []
    paths = clean(spec, now, guard, superseded, delete=not dry_run, tell=skipped.append)

    if samples_days is not None:
        before = now - max(guard, timedelta(days=samples_days))
        paths += clean_samples(spec, before, delete=not dry_run)

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
