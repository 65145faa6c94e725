"""Ascending numbers as static trees that the kernels search."""

import numpy as np
import numpy.typing as npt

from nightscore.native.constants import BIN_FANOUT, FANOUT

Floats = npt.NDArray[np.float64]


def key_tree(thresholds: Floats) -> tuple[Floats, int]:
    """Thresholds as a static tree of nodes of `FANOUT` numbers.

    Entry i of a level is the last threshold of that level's i-th run. Free places are NaN, which is
    below nothing.

    Args:
        thresholds: Ascending.

    Returns:
        The nodes, root first, and the number of levels.
    """
    levels = _levels(thresholds, FANOUT)
    return np.concatenate(levels), len(levels)


def edge_tree(edges: Floats) -> tuple[Floats, int]:
    """Edges as a static B-tree of nodes of `BIN_FANOUT` numbers.

    A node has one child more than it has edges, so a level holds more than one of `key_tree`. Free
    places are NaN.

    Source: R. Bayer, E. McCreight, "Organization and maintenance of large ordered indexes" (1972).

    Args:
        edges: Ascending.

    Returns:
        The nodes, root first, and the number of levels.
    """
    n_children = BIN_FANOUT + 1
    levels = []
    for level in _levels(edges, n_children):
        nodes = level.reshape(-1, n_children)
        levels.append(nodes[:, :BIN_FANOUT].ravel())

    return np.concatenate(levels), len(levels)


def _levels(values: Floats, n_children: int) -> list[Floats]:
    """The levels of a static tree, root first.

    A level has the last value of each run that a child covers, or NaN.
    """
    n_levels = 1
    while n_children**n_levels <= len(values):
        n_levels += 1

    padded = np.full(n_children**n_levels, np.nan)
    padded[: len(values)] = values

    levels = []
    for level in range(n_levels):
        run = n_children ** (n_levels - 1 - level)
        levels.append(padded[run - 1 :: run])

    return levels
