"""The page of how challengers differ from a job's own model."""

from collections.abc import Sequence

from nightscore.operations.compare_versions import VersionDifference
from nightscore.operations.standing import standing_of
from nightscore.reports.difference_section import (
    Day,
    DifferenceSection,
    difference_page,
    draw_difference,
)
from nightscore.schemas.comparison import ComparisonRecord
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.partition import show_value


def read_compare_page(job: ScoringJob, found: Sequence[VersionDifference]) -> str:
    """The page as HTML.

    Args:
        job: Of the champion.
        found: One for each challenger.
    """
    sections = [draw_version(one, standing_of(job, one.label)) for one in found]
    return difference_page(f"Challengers of {job.name}", sections)


def draw_version(found: VersionDifference, standing: ComparisonRecord) -> DifferenceSection:
    """The section of one challenger.

    Args:
        found: How it differs.
        standing: Whether it is better, as far as that is known, whatever partitions are compared.
    """
    days = [Day(show_value(one.partition), one.difference) for one in found.partitions]
    return draw_difference(
        found.title,
        found.difference,
        found.read.whole,
        days=days,
        notes=found.notes,
        standing=standing,
    )
