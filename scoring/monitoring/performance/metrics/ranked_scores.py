"""Scores in ascending order with their labels, read in blocks of distinct scores."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from nightscore.monitoring.performance.metrics.means import BLOCK_ROWS
from nightscore.profiles.bins import Floats

Labels = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.integer]


class Ties(NamedTuple):
    """Distinct scores in descending order, and the rows of each class that have them.

    Squares of weights are what variances need. Without weights they are the counts themselves.
    """

    positives: Floats
    """Sum of the weights of positive rows of each score."""
    negatives: Floats
    positive_squares: Floats
    """Sum of the squared weights of positive rows of each score."""
    negative_squares: Floats
    true_positives: Floats
    """Sum of the weights of positive rows of this score or a greater one."""
    false_positives: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class RankedScores:
    """Rows in ascending order of their scores."""

    scores: Floats
    labels: Labels
    weights: Floats | None
    """None: each row counts once."""
    n_positives: int
    positives: float
    """Sum of the weights of positive rows."""
    negatives: float
    n_effective: float
    """As many rows of equal weights tell as much."""

    @classmethod
    def of_sorted(cls, scores: Floats, labels: Labels, weights: Floats | None) -> "RankedScores":
        """Of rows that are in ascending order already."""
        n_positives = int(np.count_nonzero(labels))
        positives, negatives = float(n_positives), float(len(labels) - n_positives)
        n_effective = float(len(labels))

        if weights is not None:
            positives, negatives = float(weights[labels].sum()), float(weights[~labels].sum())
            n_effective = (positives + negatives) ** 2 / float(weights @ weights)

        return cls(
            scores=scores,
            labels=labels,
            weights=weights,
            n_positives=n_positives,
            positives=positives,
            negatives=negatives,
            n_effective=n_effective,
        )

    @property
    def n_rows(self) -> int:
        """Rows of both classes."""
        return len(self.scores)

    @property
    def n_of_rarer_class(self) -> int:
        """Rows of the class that has fewer."""
        return min(self.n_positives, self.n_rows - self.n_positives)

    def falling(self) -> Iterator[Ties]:
        """Distinct scores in descending order, in blocks. Rows of one score are in one block."""
        stop = self.n_rows
        true_positives, false_positives = 0.0, 0.0

        while stop > 0:
            start = max(stop - BLOCK_ROWS, 0)
            start = int(np.searchsorted(self.scores, self.scores[start], "left"))
            ties = self._ties(slice(start, stop), true_positives, false_positives)
            yield ties

            stop = start
            true_positives = float(ties.true_positives[-1])
            false_positives = float(ties.false_positives[-1])

    def _ties(self, rows: slice, true_positives: float, false_positives: float) -> Ties:
        scores = self.scores[rows][::-1]
        labels = self.labels[rows][::-1].astype(np.float64)
        is_first = np.empty(len(scores), np.bool_)
        is_first[0] = True
        np.not_equal(scores[1:], scores[:-1], out=is_first[1:])
        firsts = np.flatnonzero(is_first)

        if self.weights is None:
            positives = positive_squares = np.add.reduceat(labels, firsts)
            negatives = negative_squares = np.diff(firsts, append=len(scores)) - positives
        else:
            weights = self.weights[rows][::-1]
            of_positives = weights * labels
            of_negatives = weights - of_positives
            positives = np.add.reduceat(of_positives, firsts)
            negatives = np.add.reduceat(of_negatives, firsts)
            positive_squares = np.add.reduceat(of_positives * weights, firsts)
            negative_squares = np.add.reduceat(of_negatives * weights, firsts)

        return Ties(
            positives,
            negatives,
            positive_squares,
            negative_squares,
            true_positives + np.cumsum(positives),
            false_positives + np.cumsum(negatives),
        )


def rank_scores(scores: Floats, labels: Labels, weights: Floats | None = None) -> RankedScores:
    """The rows in ascending order of their scores. Rows of weight 0 are left out.

    Args:
        scores: Shape (n,), float64, finite. Not changed.
        labels: Shape (n,), bool: whether the row is positive.
        weights: Shape (n,), float64, finite, none negative. None: each row counts once.
    """
    if weights is None and len(scores) and scores.min() >= 0 and scores.max() < 2:
        return RankedScores.of_sorted(*_sort_packed(scores, labels), None)

    rows = np.argsort(scores)
    if weights is None:
        return RankedScores.of_sorted(scores[rows], labels[rows], None)

    if not weights.all():
        rows = rows[weights[rows] > 0]
    return RankedScores.of_sorted(scores[rows], labels[rows], weights[rows])


def rank_segments(
    scores: Floats, labels: Labels, segments: Codes, weights: Floats | None = None
) -> Iterator[tuple[int, RankedScores]]:
    """As `rank_scores` for each segment that has rows, from one sort of all rows.

    Args:
        scores: As there.
        labels: As there.
        segments: Shape (n,), at least 0: the segment of each row.
        weights: As there.
    """
    rows = np.argsort(scores)

    if weights is not None and not weights.all():
        rows = rows[weights[rows] > 0]

    rows = rows[order_of_segments(segments[rows])]

    for code, places in slices_of_segments(segments[rows]):
        of_segment = rows[places]
        of_weights = None if weights is None else weights[of_segment]
        ranked = RankedScores.of_sorted(scores[of_segment], labels[of_segment], of_weights)
        yield code, ranked


def order_of_segments(segments: Codes) -> npt.NDArray[np.intp]:
    """Rows by segment, those of a segment in their order. Small codes are sorted by their bytes."""
    if len(segments) and segments.max() < np.iinfo(np.int16).max:
        segments = segments.astype(np.int16)
    return np.argsort(segments, kind="stable")


def slices_of_segments(ordered: Codes) -> Iterator[tuple[int, slice]]:
    """Each segment that has rows, and their places.

    Args:
        ordered: Shape (n,), ascending.
    """
    bounds = [*np.flatnonzero(np.diff(ordered, prepend=-1)).tolist(), len(ordered)]
    for start, stop in itertools.pairwise(bounds):
        yield int(ordered[start]), slice(start, stop)


def _sort_packed(scores: Floats, labels: Labels) -> tuple[Floats, Labels]:
    """Scores from 0 to below 2 in ascending order, with their labels.

    Their highest bit but the sign is 0, so each leaves room for the label: sorting the integers
    takes less than half as long as an argsort and its two gathers, and half of the memory.
    """
    keys = np.ascontiguousarray(scores).view(np.uint64) << np.uint64(1)
    keys |= labels
    keys.sort()

    sorted_labels = (keys & np.uint64(1)).astype(np.bool_)
    keys >>= np.uint64(1)
    return keys.view(np.float64), sorted_labels
