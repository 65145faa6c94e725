"""How the challengers of one run differ from it: for its report, and for its artifact."""

from collections.abc import Iterator, Mapping

from nightscore.errors import ScoringError
from nightscore.ledger.workspace import Workspace
from nightscore.monitoring.differences.stored_differences import read_counts
from nightscore.operations.standing import find_comparison
from nightscore.profiles.differences.difference_counts import DifferenceCounts
from nightscore.reports.difference_plots import difference_png
from nightscore.reports.difference_section import DifferenceSection, draw_difference
from nightscore.schemas.challenger import ChallengerRecord
from nightscore.schemas.challenger_jobs import challenger_jobs
from nightscore.schemas.comparison import ComparisonRecord
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import Manifest
from nightscore.schemas.partition import encode_folder

Standings = Mapping[str, ComparisonRecord]
"""By the challenger's label."""


def standings_of_run(job: ScoringJob, manifest: Manifest) -> Standings:
    """Whether the challengers of a run are better, as far as all that is stored by now tells.

    The versions are those of the run, whatever the job's challengers are today.
    """
    champion = manifest.model.version
    standings = {}
    for record in manifest.challengers:
        if record.difference is None:
            continue

        unknown = ComparisonRecord(champion=champion, challenger=record.version, verdict="unknown")
        found = find_comparison(job, champion, record.version, record.name)
        standings[record.label] = found or unknown

    return standings


def sections_of_run(
    job: ScoringJob, manifest: Manifest, standings: Standings
) -> list[DifferenceSection]:
    """A section for each challenger of a run whose difference is known."""
    sections = []
    for record in manifest.challengers:
        if record.difference is not None:
            title, counts = _title(manifest, record), _counts(job, manifest, record)
            standing = standings.get(record.label)
            sections.append(draw_difference(title, record.difference, counts, standing=standing))

    return sections


def pictures_of_run(job: ScoringJob, manifest: Manifest) -> dict[str, bytes]:
    """A PNG for each challenger whose counts are stored, by its label."""
    return dict(_pictures(job, manifest))


def _pictures(job: ScoringJob, manifest: Manifest) -> Iterator[tuple[str, bytes]]:
    for record in manifest.challengers:
        if record.difference is None:
            continue

        counts = _counts(job, manifest, record)
        if counts is not None and counts.n_compared:
            yield record.label, difference_png(counts, record.difference)


def _counts(
    job: ScoringJob, manifest: Manifest, record: ChallengerRecord
) -> DifferenceCounts | None:
    """What is drawn. None: it is gone, or the job has this challenger no longer."""
    own = challenger_jobs(job).get(record.label)
    if own is None:
        return None

    folder = encode_folder(manifest.partition_key, manifest.partition)
    try:
        return read_counts(Workspace(own), folder, record.run_id)
    except (ScoringError, ValueError):
        return None


def _title(manifest: Manifest, record: ChallengerRecord) -> str:
    alias = "" if record.label == record.version else f" (@{record.label})"
    return f"Challenger {record.version}{alias} against {manifest.model.version}"
