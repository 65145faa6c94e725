"""Whether the rows that have labels are like all rows, and weights that make them so."""

from typing import NamedTuple

import numpy as np

from nightscore.monitoring.drift.statistics.shared.contingency import chi2
from nightscore.profiles.bins import Counts, Floats, quantile_edges

N_BINS = 10
LEAST_COMPARED = 50
"""Rows with and without labels, below which the two are not compared."""
LEAST_LABELLED = 20
"""Labelled rows that one weight is of. With fewer, a weight is mostly noise."""
GREATEST_CHANCE = 0.001
LEAST_DISTANCE = 0.05
"""A smaller distance is not worth a finding, however certain it is."""


class Selection(NamedTuple):
    """How labelled rows differ from the others by their scores."""

    n_labelled: int
    n_others: int
    distance: float | None
    """The largest difference of their distribution functions at the bins' edges. None: one side has
    no rows."""
    p_value: float | None
    """The probability of such differences of the bins by chance."""

    @property
    def is_finding(self) -> bool:
        """Whether it is no chance, and great enough to make metrics wrong."""
        if self.distance is None or self.p_value is None:
            return False
        if min(self.n_labelled, self.n_others) < LEAST_COMPARED:
            return False
        return self.distance >= LEAST_DISTANCE and self.p_value <= GREATEST_CHANCE

    @property
    def distance_from_all(self) -> float | None:
        """The same distance of the labelled rows from all rows. It is less: most may be labelled.

        None: there is no finding, or it is too small to keep them from standing for all rows.
        """
        if self.distance is None or not self.is_finding:
            return None

        distance = self.distance * self.n_others / (self.n_labelled + self.n_others)
        return distance if distance >= LEAST_DISTANCE else None


def score_edges(sample: Floats, n_bins: int = N_BINS) -> Floats:
    """Inner edges of bins with about as many rows each, ascending.

    Args:
        sample: Scores of all rows or of a sample of them, in any order; NaN and infinities are left
            out.
        n_bins: At most, but that scores of many rows get bins of their own.
    """
    return quantile_edges(np.sort(sample[np.isfinite(sample)]), n_bins)


def bins_of_scores(scores: Floats, edges: Floats) -> Counts:
    """The bin of each score, shape (n,): 0 to as many as there are edges. NaN is in the last."""
    return np.searchsorted(edges, scores, "left").astype(np.int64)


def selection_by_score(n_rows: Counts, n_labelled: Counts) -> Selection:
    """Whether labelled rows have other scores than those that are not labelled.

    Rows of several partitions or files are merged by adding their counts.

    Source: K. Pearson (1900), chi-squared of two samples; N. Smirnov (1948), the distance.

    Args:
        n_rows: All rows by bin of the score, shape (k,).
        n_labelled: Labelled rows among them.
    """
    n_others = n_rows - n_labelled
    labelled, others = int(n_labelled.sum()), int(n_others.sum())
    if not labelled or not others:
        return Selection(labelled, others, None, None)

    shares = np.cumsum(n_labelled) / labelled - np.cumsum(n_others) / others
    _, p_value = chi2(n_others, n_labelled)

    return Selection(labelled, others, float(np.abs(shares).max()), float(p_value))


class LabelWeights(NamedTuple):
    """Weights of labelled rows, so that they stand for all rows."""

    weights: Floats
    """By bin of the score, shape (k,)."""
    n_united: int
    """Bins that have too few labelled rows for a weight of their own."""


def label_weights(n_rows: Counts, n_labelled: Counts) -> LabelWeights | None:
    """The inverse of the share of labelled rows, by bin of the score.

    Bins with fewer than 20 labelled rows are united with their neighbours of higher scores, the
    last ones with the one before, so that no row gets a weight by chance alone. None: there are
    fewer than 20 labelled rows in all.

    Give predictions of one age at a time, such as those of one partition: how many labels are known
    depends on the age, too. Weighted metrics are those of all rows if, among rows of one age and
    bin, having a label does not depend on the label.

    Source: D. Horvitz, D. Thompson, "A Generalization of Sampling Without Replacement from a Finite
    Universe" (1952).

    Args:
        n_rows: All rows by bin of the score, shape (k,).
        n_labelled: Labelled rows among them.
    """
    starts = _united(n_labelled)
    if not len(starts):
        return None

    of_bins = np.add.reduceat(n_rows, starts) / np.add.reduceat(n_labelled, starts)
    weights = np.repeat(of_bins, np.diff(starts, append=len(n_rows)))

    return LabelWeights(weights, int(np.count_nonzero(n_labelled < LEAST_LABELLED)))


def _united(labelled: Counts) -> list[int]:
    """Where the united bins start. None if all together have too few labelled rows."""
    starts, n_in_bin = [0], 0

    for place, n_rows in enumerate(labelled.tolist()):
        if n_in_bin >= LEAST_LABELLED:
            starts.append(place)
            n_in_bin = 0
        n_in_bin += n_rows

    if n_in_bin < LEAST_LABELLED:
        starts.pop()
    return starts
