"""The largest change of any share. It grades columns of categories."""

import numpy as np

from nightscore.monitoring.drift.statistics.shared.proportions import proportions
from nightscore.monitoring.drift.statistics.shared.statistic import CATEGORIES, Statistic
from nightscore.profiles.bins import Counts, Floats


def largest_difference(reference: Counts, current: Counts) -> Floats:
    """The maximum norm of the difference of the shares, from 0 to 1."""
    if not reference.shape[-1]:
        return np.full(reference.shape[:-1], np.nan)[()]
    difference = proportions(reference) - proportions(current)
    return np.abs(difference).max(axis=-1)  # type: ignore[no-any-return]


LARGEST_DIFFERENCE = Statistic(
    name="linf",
    label="max change",
    title="largest change of a share",
    meaning="The largest change of any bin's or category's share of the rows.",
    source="max |p - q|",
    measure=lambda group: largest_difference(*group.bins),
    is_symmetric=True,
    graded_types=CATEGORIES,
    warning=0.1,
    critical=0.2,
    views=frozenset({"page", "history", "prefect", "segments"}),
)
