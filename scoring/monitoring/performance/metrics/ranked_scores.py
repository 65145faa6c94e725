"""Scores in ascending order with their labels, read in blocks of distinct scores."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from nightscore.profiles.bins import Floats

Labels = npt.NDArray[np.bool_]

BLOCK_ROWS = 65_536
"""A block's arrays fit into a processor's cache."""


class Ties(NamedTuple):
    """Distinct scores in ascending order, and the rows of each class that have them.

    Squares of weights are what variances need. Without weights they are the counts themselves.
    """

    scores: Floats
    positives: Floats
    """Sum of the weights of positive rows of each score."""
    negatives: Floats
    positive_squares: Floats
    """Sum of the squared weights of positive rows of each score."""
    negative_squares: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class RankedScores:
    """Rows in ascending order of their scores."""

    scores: Floats
    labels: Labels
    weights: Floats | None
    n_positives: int
    positives: float
    """Sum of the weights of positive rows."""
    negatives: float

    @property
    def n_rows(self) -> int:
        """Rows of both classes."""
        return len(self.scores)

    @property
    def n_negatives(self) -> int:
        """Rows of the negative class."""
        return self.n_rows - self.n_positives

    def blocks(self) -> Iterator[Ties]:
        """Distinct scores in ascending order. Rows of one score are in one block."""
        start = 0

        while start < self.n_rows:
            stop = min(start + BLOCK_ROWS, self.n_rows)
            if stop < self.n_rows:
                stop = int(np.searchsorted(self.scores, self.scores[stop - 1], "right"))
            yield self._ties(start, stop)
            start = stop

    def _ties(self, start: int, stop: int) -> Ties:
        scores, labels = self.scores[start:stop], self.labels[start:stop].astype(np.float64)
        is_first = np.empty(len(scores), np.bool_)
        is_first[0] = True
        np.not_equal(scores[1:], scores[:-1], out=is_first[1:])
        firsts = np.flatnonzero(is_first)

        if self.weights is None:
            positives = np.add.reduceat(labels, firsts)
            negatives = np.diff(firsts, append=len(scores)) - positives
            return Ties(scores[firsts], positives, negatives, positives, negatives)

        weights = self.weights[start:stop]
        of_positives = weights * labels
        of_negatives = weights - of_positives

        return Ties(
            scores[firsts],
            np.add.reduceat(of_positives, firsts),
            np.add.reduceat(of_negatives, firsts),
            np.add.reduceat(of_positives * weights, firsts),
            np.add.reduceat(of_negatives * weights, firsts),
        )


def rank_scores(scores: Floats, labels: Labels, weights: Floats | None = None) -> RankedScores:
    """The rows in ascending order of their scores. Rows of weight 0 are left out.

    Args:
        scores: Shape (n,), float64, finite. Not changed.
        labels: Shape (n,), bool: whether the row is positive.
        weights: Shape (n,), float64, finite, none negative. None: each row counts once.
    """
    if weights is not None and not weights.all():
        counts = weights > 0
        scores, labels, weights = scores[counts], labels[counts], weights[counts]

    order = np.argsort(scores)
    n_positives = int(np.count_nonzero(labels))
    positives, negatives = float(n_positives), float(len(labels) - n_positives)
    if weights is not None:
        positives, negatives = float(weights[labels].sum()), float(weights[~labels].sum())

    return RankedScores(
        scores=scores[order],
        labels=labels[order],
        weights=None if weights is None else weights[order],
        n_positives=n_positives,
        positives=positives,
        negatives=negatives,
    )
