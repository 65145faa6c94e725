"""Whether a difference may be an accident: how many rows it takes, and how small a probability."""

import numpy as np

from nightscore.monitoring.drift.statistics.shared.columns import ColumnPair
from nightscore.monitoring.drift.statistics.shared.contingency import chi2
from nightscore.monitoring.drift.statistics.shared.statistic import Evidence

SIGNIFICANT_Q = 0.01
FEW_ROWS = 200
"""With fewer rows on either side, most differences are noise: insufficient data."""
FEW_ROWS_P = 1e-6
"""With few rows, only a difference as unlikely as this counts."""
MANY_ROWS = 1_000
"""From here on effect sizes are hardly noisy."""


def is_significant(evidence: Evidence) -> bool:
    """Whether the distributions differ by more than chance.

    The test is corrected for the number of columns. With few rows, where effect sizes are noisy,
    the difference has to be beyond doubt.
    """
    values = evidence.values
    if not values["chi2_qvalue"] < SIGNIFICANT_Q:
        return False
    return min(evidence.pair.n_rows) >= MANY_ROWS or values["chi2_pvalue"] < FEW_ROWS_P


def is_beyond_doubt(pair: ColumnPair, counts: tuple[int, int]) -> bool:
    """Whether a rate differs so much that chance is ruled out.

    Args:
        pair: The column.
        counts: Rows that have the property, in the reference and now.
    """
    reference, current = (
        np.array([count, n_rows - count], np.int64)
        for count, n_rows in zip(counts, pair.n_rows, strict=True)
    )

    return bool(chi2(reference, current)[1] < FEW_ROWS_P)
