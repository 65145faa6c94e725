"""What a baseline's labels say about probabilities: the share of positive rows in each bin.

The share of a bin is the mean of its labels as it is. Isotonic regression, which would make the
shares ascend, pulls them apart: the estimates would be too good (see DESIGN.md). It is asked where
there is no label: in a bin that no labelled row of the baseline is in.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np

from nightscore.monitoring.performance.estimates.isotonic import isotonic
from nightscore.monitoring.performance.estimates.within_bins import (
    SCORE_AS_CHANCE,
    Curve,
    KnownBins,
)
from nightscore.profiles.bins import Floats
from nightscore.profiles.edges import Edges
from nightscore.profiles.profile import NumberProfile
from nightscore.profiles.scores import Scores
from nightscore.profiles.table import ColumnProfile


@dataclass(frozen=True, kw_only=True, eq=False)
class Calibration:
    """A baseline's labels by bin of the score. Arrays have the shape (bins,).

    What follows from them alone is computed once, when it is first asked for. So do not change
    them. Two calibrations are equal only if they are the same object.
    """

    edges: Edges
    """Edges of the bins."""
    labelled: Floats
    """Labelled rows of the baseline."""
    shares: Floats
    """Shares of positive rows."""
    variances: Floats
    """Variances of one row's label."""
    scores: Floats
    """Mean scores."""
    curve: Curve = SCORE_AS_CHANCE
    """Along which the share of positive rows rises within a bin."""

    @classmethod
    def of(cls, score: ColumnProfile) -> Self:
        """The calibration that a baseline's profile of its score holds.

        Raises:
            ValueError: It has no labels of 0 and 1; with the reason.
        """
        profile, labels = score.profile, score.scores
        if not isinstance(profile, NumberProfile) or labels is None:
            raise ValueError("it has no labels")

        labelled, positives = labels_by_bin(labels, len(profile.counts))

        if not labelled.sum():
            raise ValueError("none of its rows has a label")

        if not _are_counts(positives, labelled):
            raise ValueError("its labels are not 0 and 1")

        shares = _shares(labelled, positives)
        scores = mean_scores(profile, min(0.0, profile.least), max(1.0, profile.greatest))

        return cls(
            edges=profile.edges,
            labelled=labelled,
            shares=shares,
            variances=label_variances(labelled, shares),
            scores=scores,
            curve=Curve.of(scores, shares, labelled),
        )

    @property
    def ends(self) -> tuple[Floats, Floats]:
        """Lower and upper ends of the bins, each of shape (bins,). A probability is from 0 to 1."""
        edges = self.edges.both
        low, high = np.append(min(0.0, self.scores[0]), edges), np.append(edges, 1.0)
        return low, np.maximum(high, self.scores)

    @cached_property
    def known_bins(self) -> KnownBins:
        """What they say about rows within a bin."""
        return KnownBins.of(self.shares, self.scores, self.ends, self.curve)

    @cached_property
    def n_positive(self) -> float:
        """Labelled rows that are positive."""
        return float((self.labelled * self.shares).sum())

    @property
    def n_negative(self) -> float:
        """Labelled rows that are negative."""
        return float(self.labelled.sum()) - self.n_positive


def label_variances(labelled: Floats, shares: Floats) -> Floats:
    """The variance of one row's label in each bin: p (1 - p) m / (m - 1), which has no bias.

    Args:
        labelled: Labelled rows m of each bin; any shape.
        shares: Shares p of positive rows, of the same shape.
    """
    correction = np.where(labelled > 1, labelled / np.maximum(labelled - 1, 1), 1.0)
    variances: Floats = shares * (1 - shares) * correction
    return variances


def labels_by_bin(labels: Scores, n_bins: int) -> tuple[Floats, Floats]:
    """Labelled rows and sums of labels. Rows without a score are in no bin."""
    names = [str(number) for number in range(n_bins)]
    rows = np.array([labels.rows.get(name, 0) for name in names], np.float64)
    sums = np.array([labels.sums.get(name, 0.0) for name in names], np.float64)
    return rows, sums


def _are_counts(positives: Floats, labelled: Floats) -> bool:
    """Whether sums of labels may be numbers of positive rows."""
    is_whole = np.array_equal(positives, np.round(positives))
    return is_whole and bool(np.all((positives >= 0) & (positives <= labelled)))


def mean_scores(profile: NumberProfile, least: float, greatest: float) -> Floats:
    """The mean score of each bin; of a bin without rows, the mean of its neighbours' edges.

    Args:
        profile: Of the score.
        least: The lower end of the first bin.
        greatest: The upper end of the last bin.
    """
    counts, edges = profile.counts, profile.edges.both
    middles = (np.append(least, edges) + np.append(edges, greatest)) / 2
    return np.where(counts > 0, profile.sums / np.maximum(counts, 1), middles)


def _shares(labelled: Floats, positives: Floats) -> Floats:
    """Raw shares; without labelled rows, between the isotonic shares of the nearest bins."""
    has_labels = labelled > 0
    raw = positives / np.maximum(labelled, 1)
    if has_labels.all():
        return raw

    places = np.arange(len(labelled))
    ascending = isotonic(raw[has_labels], labelled[has_labels])
    between = np.interp(places, places[has_labels], ascending)
    return np.where(has_labels, raw, between)
