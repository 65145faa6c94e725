"""What a baseline's labels say about a regression: its errors in each bin of the prediction."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from nightscore.monitoring.performance.estimates.calibration import labels_by_bin, mean_scores
from nightscore.profiles.bins import Floats
from nightscore.profiles.edges import Edges
from nightscore.profiles.profile import NumberProfile
from nightscore.profiles.scores import NO_ERRORS, Scores
from nightscore.profiles.table import ColumnProfile

FLOATS = ("double", "float", "halffloat")
"""Arrow types of a predicted number. Predicted integers may be classes."""
LEAST_IN_BIN = 2
"""Labelled rows. One shows no variance: such a bin's errors are taken from its neighbours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorCalibration:
    """A baseline's errors by bin of the prediction."""

    edges: Edges
    """Edges of the bins."""
    scores: Floats
    """Mean predictions, shape (bins,)."""
    labelled: Floats
    """Labelled rows of the baseline, shape (bins,)."""
    sums: Floats | None
    """Sums of the error, its size, its square and its fourth power, shape (4, bins).

    None: they are not stored, since an older version logged the baseline.
    """

    @classmethod
    def of(cls, score: ColumnProfile) -> Self:
        """The errors that a baseline's profile of its score holds.

        Raises:
            ValueError: It has no labels; with the reason.
        """
        profile, labels = score.profile, score.scores
        if not isinstance(profile, NumberProfile) or labels is None:
            raise ValueError("it has no labels")

        n_bins = len(profile.counts)
        labelled, _ = labels_by_bin(labels, n_bins)
        if not labelled.sum():
            raise ValueError("none of its rows has a label")

        return cls(
            edges=profile.edges,
            scores=mean_scores(profile, profile.least, profile.greatest),
            labelled=labelled,
            sums=_error_sums(labels, n_bins),
        )

    @property
    def n_labelled(self) -> int:
        """Labelled rows."""
        return round(float(self.labelled.sum()))


def mean_errors(labelled: Floats, sums: Floats) -> Floats:
    """Means of what `sums` has, by bin, shape (4, bins).

    Of a bin with too few labels, they are between those of its neighbours.

    Args:
        labelled: Labelled rows, shape (bins,).
        sums: Shape (4, bins).
    """
    with np.errstate(over="ignore", invalid="ignore"):
        means: Floats = sums / np.maximum(labelled, 1)
        is_known = labelled >= LEAST_IN_BIN
        if is_known.all() or not is_known.any():
            return means

        places = np.arange(len(labelled))
        between = [np.interp(places, places[is_known], row[is_known]) for row in means]
        return np.where(is_known, means, between)


def _error_sums(labels: Scores, n_bins: int) -> Floats | None:
    if labels.errors is None:
        return None

    by_bin = [labels.errors.get(str(number), NO_ERRORS) for number in range(n_bins)]
    return np.array(by_bin, np.float64).T
