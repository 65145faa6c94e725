"""The page of a job's performance over time."""

from collections.abc import Sequence

from nightscore.monitoring.performance.estimates.wording import OVER_TIME
from nightscore.monitoring.performance.track_record import PartitionPerformance, show_coverage
from nightscore.reports.page import render_template
from nightscore.reports.performance_figures import known_metrics
from nightscore.reports.performance_plot import draw_performance
from nightscore.schemas.text import counted


def performance_page(
    title: str, partitions: Sequence[PartitionPerformance], facts: Sequence[tuple[str, str]]
) -> str:
    """The page as HTML.

    Args:
        title: Of the page.
        partitions: In order.
        facts: Subjects and what is to be said of them.
    """
    n_evaluated = sum(bool(partition.realised) for partition in partitions)
    n_partitions = counted(len(partitions), "partition")
    headline = f"{n_evaluated} of {n_partitions} have been compared with labels."

    coverage = show_coverage(partitions)
    if coverage:
        headline += f" {coverage}"

    return render_template(
        "performance.html",
        title=title,
        headline=headline,
        facts=facts,
        plots=draw_performance(partitions, known_metrics(partitions, OVER_TIME)),
    )
