"""How the challengers of one run differ from it: for its report, and for its artifact."""

from collections.abc import Iterator

from nightscore.errors import ScoringError
from nightscore.ledger.workspace import Workspace
from nightscore.monitoring.differences.stored_differences import read_counts
from nightscore.profiles.differences.difference_counts import DifferenceCounts
from nightscore.reports.difference_plots import difference_png
from nightscore.reports.difference_section import DifferenceSection, draw_difference
from nightscore.schemas.challenger import ChallengerRecord
from nightscore.schemas.challenger_jobs import challenger_jobs
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import Manifest
from nightscore.schemas.partition import encode_folder


def sections_of_run(job: ScoringJob, manifest: Manifest) -> list[DifferenceSection]:
    """A section for each challenger of a run whose difference is known."""
    sections = []
    for record in manifest.challengers:
        if record.difference is not None:
            counts = _counts(job, manifest, record)
            sections.append(draw_difference(_title(manifest, record), record.difference, counts))

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
    return f"Challenger {record.label}, version {record.version} against {manifest.model.version}"
