"""The edges of a column's bins."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from nightscore.profiles.bins import (
    DECILE_BINS,
    FINE_BINS,
    Counts,
    Floats,
    distinct,
    quantile_edges,
)


@dataclass(frozen=True, slots=True)
class Edges:
    """The edges of a column's bins, cut at its reference."""

    fine: Floats
    deciles: Floats
    both: Floats = field(init=False)
    """The union of both. Values are counted in the bins between these edges; wider bins are their
    sums."""
    _starts: tuple[Counts, Counts] | None = field(
        default=None, init=False, repr=False, compare=False
    )
    _spikes: Counts | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Unite the edges."""
        object.__setattr__(self, "both", distinct(np.append(self.fine, self.deciles)))

    @classmethod
    def from_values(cls, finite: Floats) -> Self:
        """Edges at the quantiles of a reference's finite values, in any order."""
        ordered = np.sort(finite)
        return cls(quantile_edges(ordered, FINE_BINS), quantile_edges(ordered, DECILE_BINS))

    def with_edge(self, edge: float) -> "Edges":
        """The same with one fine edge more, if it is not there yet. No edges stay none."""
        if not len(self.both):
            return self
        return Edges(distinct(np.append(self.fine, edge)), self.deciles)

    @property
    def pivot(self) -> float:
        """A value in the middle of the reference."""
        if not len(self.both):
            return 0.0
        return float(self.both[len(self.both) // 2])

    def __reduce__(self) -> tuple[Callable[..., "Edges"], tuple[bytes, bytes]]:
        """Pickle the numbers alone. Equal edges are one object in the process that reads them."""
        fine, deciles = (np.asarray(edges, np.float64) for edges in (self.fine, self.deciles))
        return shared_edges, (fine.tobytes(), deciles.tobytes())

    def equals(self, other: "Edges") -> bool:
        """Whether both cut the same bins."""
        if self is other:
            return True
        return np.array_equal(self.fine, other.fine) and np.array_equal(self.deciles, other.deciles)

    @property
    def starts(self) -> tuple[Counts, Counts]:
        """Where the fine bins, and the deciles, begin among the bins between all edges.

        Comparisons of many days over the same bins ask for them: they are looked up once.
        """
        if self._starts is None:
            starts = (_starts(self.both, self.fine), _starts(self.both, self.deciles))
            object.__setattr__(self, "_starts", starts)
        assert self._starts is not None  # noqa: S101
        return self._starts

    @property
    def spikes(self) -> Counts:
        """Places of the bins between all edges that hold a single value; looked up once, too."""
        if self._spikes is None:
            is_spike = self.both[:-1] == np.nextafter(self.both[1:], -np.inf)
            object.__setattr__(self, "_spikes", np.flatnonzero(is_spike) + 1)
        assert self._spikes is not None  # noqa: S101
        return self._spikes

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


def _starts(edges: Floats, chosen: Floats) -> Counts:
    """Where the bins between `chosen` begin among the bins between all edges."""
    starts = np.zeros(len(chosen) + 1, np.int64)
    starts[1:] = edges.searchsorted(chosen) + 1
    return starts


@functools.lru_cache(maxsize=4096)
def shared_edges(fine: bytes, deciles: bytes) -> Edges:
    """The edges of these numbers: one object for all days that are counted over the same bins.

    They are compared, laid out and kept in memory once.
    """
    return Edges(np.frombuffer(fine, np.float64), np.frombuffer(deciles, np.float64))
