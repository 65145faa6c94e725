"""The list of all statistics. A new one is a file in `statistics/`, and a line here.

What is measured, graded, stored and shown, and in which order, is read from this list.
"""

from nightscore.monitoring.drift.statistics.chi_squared import CHI2, CHI2_P, CHI2_Q
from nightscore.monitoring.drift.statistics.distinct_values import DISTINCT_RATIO
from nightscore.monitoring.drift.statistics.hellinger import HELLINGER
from nightscore.monitoring.drift.statistics.jensen_shannon import JENSEN_SHANNON
from nightscore.monitoring.drift.statistics.kolmogorov_smirnov import KS, KS_UPPER
from nightscore.monitoring.drift.statistics.largest_difference import LARGEST_DIFFERENCE
from nightscore.monitoring.drift.statistics.not_finite_rate import NOT_FINITE_RATE
from nightscore.monitoring.drift.statistics.null_rate import NULL_RATE
from nightscore.monitoring.drift.statistics.out_of_range_rate import OUT_OF_RANGE
from nightscore.monitoring.drift.statistics.psi import (
    PSI,
    PSI_ADJUSTED,
    PSI_DECILES,
    PSI_LAPLACE,
    PSI_NOISE_FLOOR,
)
from nightscore.monitoring.drift.statistics.shared.statistic import Figure, Statistic, View
from nightscore.monitoring.drift.statistics.total_variation import TOTAL_VARIATION
from nightscore.monitoring.drift.statistics.unseen_categories import UNSEEN_CATEGORIES
from nightscore.monitoring.drift.statistics.wasserstein import WASSERSTEIN, WASSERSTEIN_OVER_STD
from nightscore.schemas.drift import ColumnType

STATISTICS: tuple[Statistic, ...] = (
    PSI_ADJUSTED,
    PSI,
    KS,
    LARGEST_DIFFERENCE,
    JENSEN_SHANNON,
    WASSERSTEIN_OVER_STD,
    CHI2_Q,
    NULL_RATE,
    NOT_FINITE_RATE,
    OUT_OF_RANGE,
    UNSEEN_CATEGORIES,
    DISTINCT_RATIO,
    PSI_DECILES,
    PSI_LAPLACE,
    PSI_NOISE_FLOOR,
    KS_UPPER,
    HELLINGER,
    TOTAL_VARIATION,
    WASSERSTEIN,
    CHI2,
    CHI2_P,
)
"""In the order in which people see them."""

OF_A_COLUMN: tuple[Figure, ...] = (
    Figure(
        name="null_rate",
        label="null rate",
        title="null rate",
        meaning="Share of missing values.",
        views=frozenset({"history"}),
        pattern="{:.1%}",
    ),
    Figure(
        name="mean",
        label="mean",
        title="mean",
        meaning="Mean of the finite values.",
        views=frozenset({"history"}),
        pattern="{:.4g}",
    ),
    Figure(
        name="distinct",
        label="distinct values",
        title="distinct values",
        meaning="Number of distinct values.",
        views=frozenset({"history"}),
        pattern="{:,.0f}",
    ),
    Figure(
        name="impact",
        label="moves the score by",
        title="effect on the mean score",
        meaning="What the column's new distribution adds to the mean score, all else equal.",
        views=frozenset({"page", "history", "prefect"}),
        pattern="{:+.4f}",
    ),
    Figure(
        name="rows",
        label="rows",
        title="rows",
        meaning="Number of rows in the partition.",
        views=frozenset({"history"}),
        pattern="{:,.0f}",
    ),
)
"""Figures that are no distance from a reference."""

PRIMARY = PSI_ADJUSTED
"""The statistic that trends and sparklines show."""
Q_VALUE = CHI2_Q
"""The statistic that says whether a difference may be an accident."""


def statistics_for(column_type: ColumnType) -> list[Statistic]:
    """The statistics that are defined for columns of this type."""
    return [statistic for statistic in STATISTICS if column_type in statistic.applies_to]


def shown_in(view: View) -> list[Figure]:
    """The figures that a view shows, in order."""
    figures: tuple[Figure, ...] = (*STATISTICS, *OF_A_COLUMN)
    return [figure for figure in figures if view in figure.views]


def names_in(view: View) -> list[str]:
    """Their stored names."""
    return [figure.name for figure in shown_in(view)]


def find(name: str) -> Statistic | None:
    """The statistic of this stored name; None for other figures, and those of other versions."""
    return next((statistic for statistic in STATISTICS if statistic.name == name), None)
