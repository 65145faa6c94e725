"""Ascending numbers as static trees that the kernels search."""

import numpy as np
import numpy.typing as npt

from nightscore.native.constants import BIN_FANOUT, FANOUT


def key_tree(thresholds: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], int]:
    """Ascending thresholds as a static tree of nodes of `FANOUT`, root first, and its levels.

    Entry i of a level is the last threshold of that level's i-th run; what is not there is NaN, and below nothing.
    """
    levels = _levels(thresholds, FANOUT)
    return np.concatenate(levels), len(levels)


def edge_tree(edges: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], int]:
    """Ascending edges as a static B-tree of nodes of `BIN_FANOUT`, root first, and its levels.

    A node has one child more than it has edges, as in R. Bayer, E. McCreight, "Organization and maintenance of large
    ordered indexes" (1972), so that a level holds more than one of `key_tree`. What is not there is NaN.
    """
    n_children = BIN_FANOUT + 1
    levels = [
        level.reshape(-1, n_children)[:, :BIN_FANOUT].ravel()
        for level in _levels(edges, n_children)
    ]
    return np.concatenate(levels), len(levels)


def _levels(values: npt.NDArray[np.float64], n_children: int) -> list[npt.NDArray[np.float64]]:
    """Of a static tree of ascending values, root first: of each run that a child covers the last value, or NaN."""
    n_levels = 1
    while n_children**n_levels <= len(values):
        n_levels += 1
    padded = np.full(n_children**n_levels, np.nan)
    padded[: len(values)] = values
    return [
        padded[run - 1 :: run]
        for run in (n_children ** (n_levels - 1 - level) for level in range(n_levels))
    ]
