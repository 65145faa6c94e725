"""Whether a model's trees are trees: checked once, from their arrays, before anything walks them.

A model is data. Libraries and kernels follow its numbers without looking: a child outside of the
tree reads or writes somebody else's memory, and a circle never ends. Everything here is NumPy over
whole arrays, linear in the number of nodes, and needs no library that has trained the model.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nightscore.errors import ModelStructureError

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

MAX_FEATURES = 1 << 20
"""A file may name any number of features in a few bytes, and each costs work."""
MAX_GROUPS = 1 << 16
"""The same for classes and targets."""
MAX_PROBLEMS = 20
"""Problems that an error lists: a damaged array is wrong in each of its nodes."""
BATCH_NODES = 1 << 17
"""Nodes that are checked together, some 100 bytes each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeNodes:
    """The nodes of many trees, one tree after another; node 0 of each is its root."""

    sizes: Ints
    """Nodes of each tree."""
    left: Ints
    """Number of a child in its tree. It means nothing in leaves."""
    right: Ints
    is_leaf: Bools
    feature: Ints
    """It means nothing in leaves."""
    threshold: npt.NDArray[Any]
    compares: Bools
    """Nodes that compare with their threshold."""
    n_features: int
    removed: Bools | None = None
    """Nodes that no other may lead to, or None."""
    fields: tuple[str, str, str, str] = ("left", "right", "feature", "threshold")
    """What the model's own format calls these."""


def refuse(problems: Sequence[str], where: str) -> None:
    """Refuse a model that has problems.

    Raises:
        ModelStructureError: There are some.
    """
    if not problems:
        return

    shown = list(problems[:MAX_PROBLEMS])

    if len(problems) > MAX_PROBLEMS:
        shown.append(f"and {len(problems) - MAX_PROBLEMS:,} more")

    raise ModelStructureError(
        "The model is damaged, or made to do harm: its parts do not fit each other. It is not "
        "used.",
        where,
        problems=shown,
        next_step="log the model again from the training job; if it fails again, ask who "
        "registered this version",
    )


class NodePlaces:
    """Names nodes by their number among those of all trees."""

    def __init__(self, sizes: Ints, name: Callable[[int], str]) -> None:
        """Take the sizes of the trees, and a function that names a tree by its number."""
        self._name = name
        self.tree = np.repeat(np.arange(len(sizes)), sizes)
        self.roots = np.cumsum(sizes) - sizes
        self.start = self.roots[self.tree]

    def __call__(self, node: int) -> str:
        """Tree and node, in words."""
        return f"{self._name(int(self.tree[node]))}, node {node - int(self.start[node])}"

    def problems(self, bad: Bools, describe: Callable[[int], str]) -> list[str]:
        """The first bad node in words, and how many more there are; nothing if there is none."""
        if not bad.any():
            return []

        node = int(np.argmax(bad))
        n_more = int(bad.sum()) - 1
        more = f" (and {n_more:,} more nodes)" if n_more else ""
        return [f"{self(node)}: {describe(node)}{more}"]


def batches(sizes: Sequence[int]) -> Iterator[slice]:
    """Neighbouring trees that are checked together.

    Many small trees are one batch, and a large model is never copied as a whole.
    """
    first, n_nodes = 0, 0
    for i, size in enumerate(sizes):
        n_nodes += size
        if n_nodes >= BATCH_NODES or i == len(sizes) - 1:
            yield slice(first, i + 1)
            first, n_nodes = i + 1, 0


def _tree_name(tree: int) -> str:
    return f"tree {tree}"


def tree_problems(nodes: TreeNodes, name: Callable[[int], str] = _tree_name) -> list[str]:
    """What is wrong with trees: children, features, thresholds, circles, nodes without one parent.

    Args:
        nodes: Those of all trees.
        name: Names a tree by its number, for the problems.

    Returns:
        One problem for each kind of fault, with its first place and how often it occurs.
    """
    if (nodes.sizes < 1).any():
        return [f"{name(int(np.argmax(nodes.sizes < 1)))}: expected at least one node, found none"]

    places = NodePlaces(nodes.sizes, name)
    # If children are out of range, there is nothing to follow.
    return _number_problems(nodes, places) or _link_problems(nodes, places)


def _number_problems(nodes: TreeNodes, places: NodePlaces) -> list[str]:
    """Numbers that point outside."""
    inner = ~nodes.is_leaf
    left, right, feature, threshold = nodes.fields

    problems = _child_problems(left, nodes.left, nodes, places)
    problems += _child_problems(right, nodes.right, nodes, places)

    last = nodes.n_features - 1
    problems += places.problems(
        inner & ((nodes.feature < 0) | (nodes.feature > last)),
        lambda i: f"{feature} {nodes.feature[i]}, expected a feature from 0 to {last}",
    )

    return problems + places.problems(
        inner & nodes.compares & np.isnan(nodes.threshold),
        lambda _: f"{threshold} NaN, expected a number",
    )


def _child_problems(field: str, children: Ints, nodes: TreeNodes, places: NodePlaces) -> list[str]:
    size = nodes.sizes[places.tree]
    return places.problems(
        ~nodes.is_leaf & ((children < 0) | (children >= size)),
        lambda i: f"{field} {children[i]}, expected a node from 0 to {size[i] - 1}",
    )


def _link_problems(nodes: TreeNodes, places: NodePlaces) -> list[str]:
    """Nodes that are not reached exactly once from their root."""
    n_nodes = len(nodes.left)
    parents = np.flatnonzero(~nodes.is_leaf)
    left, right = nodes.left + places.start, nodes.right + places.start
    children = np.concatenate([left[parents], right[parents]])
    n_parents = np.bincount(children, minlength=n_nodes)

    is_root = np.zeros(n_nodes, np.bool_)
    is_root[places.roots] = True
    is_apart = is_root if nodes.removed is None else is_root | nodes.removed

    problems = places.problems(
        is_apart & (n_parents > 0),
        lambda _: "a node leads here, expected none: it is a root, or was removed",
    )

    problems += places.problems(
        ~is_apart & (n_parents != 1),
        lambda i: f"expected one node that leads here, found {n_parents[i]}",
    )
    if problems:
        return problems

    parent = np.arange(n_nodes)
    parent[children] = np.concatenate([parents, parents])
    is_circling = ~is_apart & ~_is_below(parent, is_apart)

    return places.problems(is_circling, lambda _: "in a circle: the root does not lead here")


def _is_below(parent: Ints, is_apart: Bools) -> Bools:
    """Nodes from which the way up, one parent at a time, ends at a root.

    Roots and removed nodes are their own parents. Libraries nearly always number children after
    their parents, and then no way can turn. Otherwise ways are doubled in length until they end;
    one in a circle never does.
    """
    is_ordered = is_apart | (parent < np.arange(len(parent)))
    if bool(is_ordered.all()):
        return np.ones(len(parent), np.bool_)

    above = parent

    for _ in range(len(parent).bit_length()):
        further = above[above]
        if np.array_equal(further, above):
            break

        above = further

    return is_apart[above]
