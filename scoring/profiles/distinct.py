"""How many distinct values a column has, in little memory and the same under any split."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from nightscore.native.constants import LEAST_HASHES
from nightscore.profiles.bins import Floats

Hashes = npt.NDArray[np.uint64]

KEPT_HASHES = LEAST_HASHES
"""1 KiB a column on the store; the estimate's standard error is a tenth, and what is graded is a fall to a fifth."""

BLOCK_VALUES = 8_192
"""Hashed at once: what is computed with stays in the processor's cache, and costs no fresh pages."""


@dataclass(slots=True)
class DistinctValues:
    """The least hashes of a column of numbers.

    Source: Z. Bar-Yossef et al., "Counting distinct elements in a data stream" (2002), algorithm 1: of n distinct
    values, uniform hashes in (0, 1], the k-th least is about k / n. Exact below `KEPT_HASHES` distinct values.
    """

    hashes: Hashes = field(default_factory=lambda: np.empty(0, np.uint64))
    """Ascending, each once."""

    def add(self, ordered: Floats) -> None:
        """Count finite values, in ascending order."""
        if not len(ordered):
            return
        if ordered[0] == ordered[-1]:
            ordered = ordered[:1]
        for start in range(0, len(ordered), BLOCK_VALUES):
            block = ordered[start : start + BLOCK_VALUES]
            found = _hash(block)
            if len(self.hashes) == KEPT_HASHES:
                found = found[found < self.hashes[-1]]
            if len(found) > 8 * KEPT_HASHES:
                found = _least(found)
            self.keep(found)

    def keep(self, found: Hashes) -> None:
        """Count values by their hashes, in any order, among which are the least of all of them."""
        if len(found):
            both = np.sort(
                np.concatenate([self.hashes, found])
            )  # `union1d` takes three times as long for so few
            self.hashes = both[np.append(True, both[1:] != both[:-1])][:KEPT_HASHES]

    def merge(self, other: "DistinctValues") -> None:
        """Add another part's values."""
        self.keep(other.hashes)

    @property
    def estimate(self) -> float:
        """Distinct values; a whole number where it is exact."""
        n = len(self.hashes)
        if n < KEPT_HASHES:
            return float(n)
        return (KEPT_HASHES - 1) / (float(self.hashes[-1]) / 2.0**64)


def _least(found: Hashes) -> Hashes:
    """All hashes up to the one that is certainly enough: equal values have equal hashes, so that each counts once."""
    limit = 4 * KEPT_HASHES
    distinct: Any = np.unique(np.partition(found, limit)[:limit])
    return np.asarray(distinct) if len(distinct) >= KEPT_HASHES else np.unique(found)


def _hash(values: Floats) -> Hashes:
    """Source: S. Vigna's splitmix64 finalizer, public domain; 0.0 and -0.0 are one value."""
    bits = (values + 0.0).view(np.uint64)
    shifted = np.empty_like(bits)
    with np.errstate(over="ignore"):
        bits += np.uint64(0x9E3779B97F4A7C15)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
            np.right_shift(bits, np.uint64(shift), out=shifted)
            bits ^= shifted
            bits *= np.uint64(factor)
    return bits
