"""Says what the statistics in a table mean."""

from collections.abc import Sequence

from nightscore.cli.show import out
from nightscore.monitoring.drift.statistics.shared.statistic import Figure


def explain_figures(figures: Sequence[Figure]) -> None:
    """Print the meaning and the thresholds of each statistic whose label does not say it."""
    for figure in figures:
        if figure.title == figure.label:
            continue

        line = f"{figure.label}: {figure.title}"
        if figure.thresholds:
            line += f" ({figure.thresholds})"
        out.print(line)
