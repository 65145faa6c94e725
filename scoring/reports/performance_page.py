"""The page of a job's performance over time."""

from collections.abc import Sequence

from nightscore.monitoring.performance.estimates.wording import LABELS, OVER_TIME
from nightscore.monitoring.performance.track_record import (
    PartitionPerformance,
    is_compared,
    is_outside,
    show_coverage,
)
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
    names = known_metrics(partitions, OVER_TIME)
    n_evaluated = sum(bool(partition.realised) for partition in partitions)
    n_partitions = counted(len(partitions), "partition")
    compared = f"{n_evaluated} of {n_partitions} have been compared with labels."
    sentences = [compared, _verdict(partitions, names), show_coverage(partitions)]

    return render_template(
        "performance.html",
        title=title,
        headline=" ".join(filter(None, sentences)),
        facts=[*facts, *_not_estimated(partitions)],
        plots=draw_performance(partitions, names),
    )


def _verdict(partitions: Sequence[PartitionPerformance], names: Sequence[str]) -> str:
    """Whether the first metric came true as it was estimated, and where last it did not."""
    for name in names:
        compared = [one for one in partitions if is_compared(one, name)]
        if not compared:
            continue

        outside = [one.partition for one in compared if is_outside(one, name)]
        title = LABELS.get(name, name)
        if not outside:
            return f"{title} came true within the band of its estimate each time."

        return (
            f"{title} came true outside the band of its estimate in {len(outside)} of "
            f"{len(compared)}, last on {outside[-1]}."
        )

    return ""


def _not_estimated(partitions: Sequence[PartitionPerformance]) -> list[tuple[str, str]]:
    """Why some partitions have no estimate, each reason once."""
    notes = dict.fromkeys(partition.note for partition in partitions if partition.note)
    return [("not estimated", note) for note in notes]
