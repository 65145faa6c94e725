"""The rows that a model scores highest, and those whose predictions differ most.

Both are lists of bounded length that can be merged exactly: ties are broken by the hash of the
keys, so the lists are the same under any split.
"""

from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from nightscore.arrow.xxh64 import Hashes
from nightscore.profiles.bins import Counts, Floats

N_TOP = 1_000
"""Highest scores that are kept of each model. They take 16 KB."""
N_MOST = 20
"""Rows that are kept with their keys."""


@dataclass(slots=True)
class TopRows:
    """The rows with the highest scores of one model, highest first; equal ones by hash."""

    scores: Floats
    hashes: Hashes
    """Of the keys."""

    @classmethod
    def empty(cls) -> Self:
        """Of no rows."""
        return cls(np.empty(0), np.empty(0, np.uint64))

    def candidates(self, scores: Floats) -> Counts:
        """Places of the scores that may be among the highest."""
        if len(self.scores) == N_TOP:
            places = np.flatnonzero(scores >= self.scores[-1])
        else:
            places = np.arange(len(scores))
        if len(places) <= N_TOP:
            return places

        of_places = scores[places]
        least = np.partition(of_places, len(places) - N_TOP)[len(places) - N_TOP]
        chosen: Counts = places[of_places >= least]
        return chosen

    def plus(self, scores: Floats, hashes: Hashes) -> "TopRows":
        """The highest of these and others."""
        all_scores = np.concatenate([self.scores, scores])
        all_hashes = np.concatenate([self.hashes, hashes])
        order = np.lexsort((all_hashes, -all_scores))[:N_TOP]
        return TopRows(all_scores[order], all_hashes[order])

    def n_common(self, other: "TopRows", k: int) -> int:
        """Keys that are among the first k of both."""
        return len(set(self.hashes[:k].tolist()) & set(other.hashes[:k].tolist()))


class DifferingRow(NamedTuple):
    """A row whose predictions differ."""

    champion: float
    challenger: float
    hash: int
    """Of its keys."""
    keys: tuple[str | None, ...]
    """Their values as text."""

    @property
    def rank(self) -> tuple[float, int, float, float]:
        """What rows are ordered by: the greatest difference first, equal ones by hash."""
        distance = abs(self.challenger - self.champion)
        return -distance, self.hash, self.champion, self.challenger


def most_differing(rows: list[DifferingRow]) -> list[DifferingRow]:
    """The rows that differ most of all these. Lists of parts can be merged in any order."""
    return sorted(rows, key=lambda row: row.rank)[:N_MOST]


def candidates_of_most(deltas: Floats, known: list[DifferingRow]) -> npt.NDArray[np.int64]:
    """Places of the rows that may be among those that differ most.

    Args:
        deltas: Between the two predictions, shape (n,).
        known: Those that differ most so far.
    """
    limit = 0.0

    if len(known) == N_MOST:
        limit = -known[-1].rank[0]

    is_far = (deltas >= limit) | (deltas <= -limit) if limit else deltas != 0.0
    places = np.flatnonzero(is_far)
    if len(places) <= N_MOST:
        return places

    of_places = np.abs(deltas[places])
    least = np.partition(of_places, len(places) - N_MOST)[len(places) - N_MOST]
    chosen: npt.NDArray[np.int64] = places[of_places >= least]
    return chosen
