"""Ascending numbers as static trees, or as tables of cells, that the kernels search."""

import numpy as np
import numpy.typing as npt

from nightscore.native.constants import (
    BIN_FANOUT,
    CELLS,
    FANOUT,
    SEARCH_CELLS,
    SEARCH_EDGES,
    SEARCH_LEVELS,
    SEARCH_N_CELLS,
    SEARCH_TREE,
)

Floats = npt.NDArray[np.float64]
CellBins = npt.NDArray[np.uint16]
_INTEGERS = 2.0**52
"""Added to a number below it, it leaves the nearest integer in the lowest bits."""


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


class BinSearch:
    """How the bin of a value is found. The memory that it names is kept as long as it is."""

    def __init__(self, edges: Floats) -> None:
        """Lay edges out.

        Args:
            edges: Ascending.
        """
        self._tree, n_levels = edge_tree(edges)
        self._cells, self.origin, self.scale = edge_cells(edges)
        # The last bin has no edge above it.
        self._edges = np.append(edges, np.nan)

        self.row = np.zeros(5, np.int64)
        """See `constants.SEARCH_TREE`."""
        self.row[SEARCH_TREE], self.row[SEARCH_LEVELS] = self._tree.ctypes.data, n_levels
        self.row[SEARCH_EDGES] = self._edges.ctypes.data
        self.row[SEARCH_CELLS], self.row[SEARCH_N_CELLS] = (
            self._cells.ctypes.data,
            len(self._cells),
        )


def edge_cells(edges: Floats) -> tuple[CellBins, float, float]:
    """The first bin of each of `CELLS` cells of equal width.

    A value's cell is `(value - origin) * scale`, kept within the cells and rounded to an integer.
    Each of these steps keeps the order of values. So edges of earlier cells are below the value,
    those of later cells are not, and it has to be compared with the edge of its own cell alone.

    Args:
        edges: Ascending.

    Returns:
        The bins, the origin and the scale. There are no cells where one would have several edges.
    """
    none = np.empty(0, np.uint16), 0.0, 0.0
    if not 2 <= len(edges) < CELLS:
        return none

    with np.errstate(over="ignore", divide="ignore"):
        origin = edges[0]
        scale = (CELLS - 2) / (edges[-1] - origin)

    if not (np.isfinite(scale) and scale > 0.0):
        return none

    places = np.clip((edges - origin) * scale, 0.0, CELLS - 1.0) + _INTEGERS
    cells = places.view(np.uint64).astype(np.uint16)
    if (cells[1:] == cells[:-1]).any():
        return none

    first_bins = np.searchsorted(cells, np.arange(CELLS), side="left")
    return first_bins.astype(np.uint16), float(origin), float(scale)


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
