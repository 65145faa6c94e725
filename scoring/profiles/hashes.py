"""The least hashes of a column's values, from which the number of distinct values is estimated."""

from typing import Any

import numpy as np
import numpy.typing as npt

from nightscore.native.constants import LEAST_HASHES
from nightscore.profiles.bins import Floats

Hashes = npt.NDArray[np.uint64]
"""Ascending, without duplicates, at most `MAX_HASHES` of them."""

MAX_HASHES = LEAST_HASHES
"""1 KiB a column on the store. The estimate's standard error is a tenth, and drift grades a fall to
a fifth."""
BLOCK_VALUES = 8_192
"""Values hashed at once: intermediate results stay in the processor's cache, and need no fresh
pages."""


def no_hashes() -> Hashes:
    """The hashes of no values."""
    return np.empty(0, np.uint64)


def merge_hashes(hashes: Hashes, more: npt.NDArray[np.uint64]) -> Hashes:
    """The least of both. The second array may have any order and any length."""
    if not len(more):
        return hashes

    # `union1d` takes three times as long for so few.
    both = np.sort(np.concatenate([hashes, more]))
    is_first = np.append(True, both[1:] != both[:-1])
    least: Hashes = both[is_first][:MAX_HASHES]
    return least


def add_sorted(hashes: Hashes, ordered: Floats) -> Hashes:
    """The least of these hashes and of those of finite values in ascending order."""
    if not len(ordered):
        return hashes

    if ordered[0] == ordered[-1]:
        ordered = ordered[:1]

    for start in range(0, len(ordered), BLOCK_VALUES):
        block = _hash(ordered[start : start + BLOCK_VALUES])
        if len(hashes) == MAX_HASHES:
            block = block[block < hashes[-1]]
        if len(block) > 8 * MAX_HASHES:
            block = _candidates(block)

        hashes = merge_hashes(hashes, block)

    return hashes


def _candidates(hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The least of many hashes, and some more."""
    # Equal values have equal hashes, so each counts once.
    limit = 4 * MAX_HASHES
    distinct: Any = np.unique(np.partition(hashes, limit)[:limit])
    return np.asarray(distinct) if len(distinct) >= MAX_HASHES else np.unique(hashes)


def _hash(values: Floats) -> npt.NDArray[np.uint64]:
    """A hash of each value. 0.0 and -0.0 are one value."""
    return mix((values + 0.0).view(np.uint64))


def mix(bits: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Words whose bits all depend on all bits of the given ones, which are overwritten.

    Source: S. Vigna's splitmix64 finalizer, public domain.
    """
    shifted = np.empty_like(bits)

    with np.errstate(over="ignore"):
        bits += np.uint64(0x9E3779B97F4A7C15)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
            np.right_shift(bits, np.uint64(shift), out=shifted)
            bits ^= shifted
            bits *= np.uint64(factor)

    return bits
