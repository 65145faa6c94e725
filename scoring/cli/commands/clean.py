"""`nightscore clean`."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from nightscore.cli.resolve import load_any
from nightscore.cli.show import counted, err, out, print_json
from nightscore.ledger.stored_challengers import stored_challengers
from nightscore.operations.clean import clean
from nightscore.operations.clean_samples import clean_samples
from nightscore.schemas.job import ScoringJob


@dataclass(frozen=True, slots=True)
class _Removal:
    """What is removed from each of several jobs alike."""

    now: datetime
    guard: timedelta
    """Least age of all that is removed."""
    superseded: timedelta | None
    samples: timedelta | None
    is_trial: bool
    skipped: list[str]
    """Sentences about partitions that were left alone."""

    def remove(self, job: ScoringJob) -> list[str]:
        """Remove what nobody needs of one job. Returns its paths."""
        delete, tell = not self.is_trial, self.skipped.append
        paths = clean(job, self.now, self.guard, self.superseded, delete=delete, tell=tell)

        if self.samples is not None:
            before = self.now - max(self.guard, self.samples)
            paths += clean_samples(job, before, delete=delete)

        return paths


def clean_command(
    job: str,
    older_than_hours: float,
    superseded_days: float | None,
    samples_days: float | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Remove files that nobody needs, of the job and its challengers, and print their names."""
    spec = load_any(job)

    removal = _Removal(
        now=datetime.now(UTC),
        guard=timedelta(hours=older_than_hours),
        superseded=_days(superseded_days),
        samples=_days(samples_days),
        is_trial=dry_run,
        skipped=[],
    )

    paths = removal.remove(spec)
    of_challengers: dict[str, list[str]] = {}

    if spec.champion is None:
        for label, own in stored_challengers(spec).items():
            of_challengers[label] = removal.remove(own)

    if as_json:
        done = "would_remove" if dry_run else "removed"
        document = {"removed": [], "would_remove": [], "skipped": removal.skipped, done: paths}
        print_json({**document, "challengers": of_challengers})

        return

    for label, of_challenger in of_challengers.items():
        paths += [f"{spec.name}@{label}: {path}" for path in of_challenger]

    for path in paths:
        out.print(path, markup=False)

    for sentence in removal.skipped:
        err.print(sentence, markup=False)

    files = counted(len(paths), "file")
    out.print(f"{files} would be removed" if dry_run else f"{files} removed")


def _days(number: float | None) -> timedelta | None:
    return None if number is None else timedelta(days=number)
