"""Compares labelled rows with all rows of their partition by score, and weights them alike."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nightscore.monitoring.performance.metrics.selection import (
    LEAST_LABELLED,
    Selection,
    bins_of_scores,
    label_weights,
    score_edges,
    selection_by_score,
)
from nightscore.monitoring.performance.prediction_rows import SCORE
from nightscore.monitoring.performance.realised import Measuring, is_measurable
from nightscore.profiles.bins import Counts, Floats
from nightscore.schemas.performance import MetricRecord

if TYPE_CHECKING:
    import polars as pl

SAMPLED_ROWS = 1_000_000
"""About as many scores the bins are made from, evenly spaced among all."""
ROWS_AT_ONCE = 1_000_000
"""Scores whose bins are in memory at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreBins:
    """Rows of one partition by bins of their scores. Those that were acted on are left out."""

    edges: Floats
    n_rows: Counts
    """With a label or without."""
    n_labelled: Counts

    @property
    def selection(self) -> Selection:
        """How the labelled rows differ from the others."""
        return selection_by_score(self.n_rows, self.n_labelled)


def count_by_score(
    frame: "pl.DataFrame", labelled: "pl.DataFrame", measuring: Measuring
) -> ScoreBins | None:
    """The rows of a partition by score. None: its model gives several scores a row.

    Args:
        frame: All rows, as `join_outcomes` gives them.
        labelled: Those that metrics are of.
        measuring: How they are measured.
    """
    if measuring.task == "classes":
        return None

    scores = frame.filter(is_measurable(frame, measuring))[SCORE].to_numpy()
    edges = score_edges(scores[:: len(scores) // SAMPLED_ROWS + 1])

    return ScoreBins(
        edges=edges,
        n_rows=_count(scores, edges),
        n_labelled=_count(labelled[SCORE].to_numpy(), edges),
    )


def weighted_metrics(
    bins: ScoreBins | None, labelled: "pl.DataFrame", measuring: Measuring
) -> tuple[list[MetricRecord], str]:
    """The metrics of labelled rows, weighted so that their scores are spread as those of all rows.

    Returns:
        The metrics, and what a reader should know of them. Without metrics: why there are none.
    """
    if bins is None:
        return [], "not weighted by score: the model gives several scores a row"

    weights = label_weights(bins.n_rows, bins.n_labelled)
    if weights is None:
        return [], f"not weighted by score: fewer than {LEAST_LABELLED} rows have labels"

    bin_of_row = bins_of_scores(labelled[SCORE].to_numpy(), bins.edges)
    metrics = measuring.measure(labelled, weights.weights[bin_of_row])

    if not weights.n_united:
        return metrics, ""
    return metrics, (
        f"weighted by score: {weights.n_united} of {len(bins.n_rows)} ranges of the score have "
        f"fewer than {LEAST_LABELLED} labels, and share a weight with the next range"
    )


def _count(scores: Floats, edges: Floats) -> Counts:
    """Rows of each bin."""
    counts = np.zeros(len(edges) + 1, np.int64)
    for start in range(0, len(scores), ROWS_AT_ONCE):
        places = bins_of_scores(scores[start : start + ROWS_AT_ONCE], edges)
        counts += np.bincount(places, minlength=len(counts))

    return counts
