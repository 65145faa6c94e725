"""Total variation distance."""

import numpy as np

from nightscore.monitoring.drift.statistics.shared.proportions import proportions, sum_bins
from nightscore.monitoring.drift.statistics.shared.statistic import Statistic
from nightscore.profiles.bins import Counts, Floats


def total_variation(reference: Counts, current: Counts) -> Floats:
    """Half of the summed absolute differences of the shares, from 0 to 1."""
    return sum_bins(np.abs(proportions(reference) - proportions(current))) / 2


TOTAL_VARIATION = Statistic(
    name="tvd",
    label="TVD",
    title="total variation distance",
    meaning="The share of rows that would have to move to make the distributions equal.",
    source="half of the sum of |p - q|",
    measure=lambda group: total_variation(*group.bins),
    is_symmetric=True,
)
