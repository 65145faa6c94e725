"""Bins of a model's scores for the joint counts of two models, looked up without a search."""

from dataclasses import dataclass, field
from typing import Self

import numpy as np
import numpy.typing as npt

from nightscore.profiles.bins import Counts, Floats, distinct

PARTS = 16_384
"""Equal parts between the outermost edges. Edges are moved to ends of parts, so that the bin of a
score is looked up: a search takes ten times as long."""
SUB_BINS = 4
"""Each bin of the baseline is cut into as many of equal width: ranks are four times as sharp."""
MOST_BINS = 256
UNIT_INTERVAL: Floats = np.concatenate(
    [np.exp2(-np.arange(12.0, 7.0, -1)), np.arange(1, 64) / 64, 1 - np.exp2(-np.arange(8.0, 13.0))]
)
"""Edges for probabilities without a baseline: narrow where many models have most of their rows."""


@dataclass(frozen=True, slots=True)
class ScoreGrid:
    """Ascending edges of bins: bin i is `[edges[i - 1], edges[i])`, to a part of the grid."""

    edges: tuple[float, ...]
    """At least two. They are whole numbers of parts apart."""
    _bins: Counts = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Lay out the bin of each part, of what is below all, and of what is above."""
        low, high = self.edges[0], self.edges[-1]
        places = (np.asarray(self.edges) - low) * (PARTS / (high - low))
        starts = np.rint(places).astype(np.int64)
        bins = np.searchsorted(starts, np.arange(-1, PARTS + 1), side="right")
        object.__setattr__(self, "_bins", bins)

    @classmethod
    def from_edges(cls, edges: Floats) -> Self | None:
        """A grid of these edges, each bin cut once more. None: fewer than two of them differ.

        Args:
            edges: Ascending and finite, as the fine edges of a baseline's scores.
        """
        known = distinct(edges)
        if len(known) < 2 or not 0 < known[-1] - known[0] < np.inf:
            return None

        low, width = known[0], (known[-1] - known[0]) / PARTS
        if not low < low + width < np.inf:
            return None

        n_sub_bins = max(1, min(SUB_BINS, (MOST_BINS - 1) // len(known)))
        shares = np.arange(n_sub_bins) / n_sub_bins
        cut = (known[:-1, None] + np.diff(known)[:, None] * shares).ravel()

        parts = np.rint((np.append(cut, known[-1]) - low) / width)
        on_grid = low + distinct(parts)[-MOST_BINS + 1 :] * width
        return cls(tuple(on_grid.tolist()))

    @property
    def n_bins(self) -> int:
        """The bins between the edges, and those at both ends."""
        return len(self.edges) + 1

    def codes(self, scores: Floats) -> npt.NDArray[np.int64]:
        """The bin of each score, shape (n,). Scores are finite."""
        low, high = self.edges[0], self.edges[-1]
        with np.errstate(over="ignore"):
            parts = (scores - low) * (PARTS / (high - low))

        # Place 0 is what lies below all edges, the last one what lies above.
        np.clip(parts, -1.0, PARTS, out=parts)
        np.floor(parts, out=parts)
        return self._bins.take(parts.astype(np.int64) + 1)
