"""The edges of a column's bins."""

from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from nightscore.profiles.bins import DECILE_BINS, FINE_BINS, Floats, quantile_edges


@dataclass(frozen=True, slots=True)
class Edges:
    """The edges of a column's bins, cut at its reference."""

    fine: Floats
    deciles: Floats
    both: Floats = field(init=False)
    """The union of both. Values are counted in the bins between these edges; wider bins are their
    sums."""

    def __post_init__(self) -> None:
        """Unite the edges."""
        object.__setattr__(self, "both", np.union1d(self.fine, self.deciles))

    @classmethod
    def from_values(cls, finite: Floats) -> Self:
        """Edges at the quantiles of a reference's finite values, in any order."""
        ordered = np.sort(finite)
        return cls(quantile_edges(ordered, FINE_BINS), quantile_edges(ordered, DECILE_BINS))

    @property
    def pivot(self) -> float:
        """A value in the middle of the reference."""
        if not len(self.both):
            return 0.0
        return float(self.both[len(self.both) // 2])

    def equals(self, other: "Edges") -> bool:
        """Whether both cut the same bins."""
        if self is other:
            return True
        return np.array_equal(self.fine, other.fine) and np.array_equal(self.deciles, other.deciles)

    def fold(self, values: npt.NDArray[Any], edges: Floats) -> npt.NDArray[Any]:
        """Sum what each bin between all edges has over the bins between some of the edges.

        Args:
            values: One for each bin between `both`, shape (len(both) + 1,).
            edges: Some of `both`, ascending.

        Returns:
            Sums of shape (len(edges) + 1,), of the same type.
        """
        bins = np.append(np.searchsorted(edges, self.both, side="left"), len(edges))
        return np.bincount(bins, weights=values, minlength=len(edges) + 1).astype(values.dtype)
