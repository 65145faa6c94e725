"""Forests of any library as data: as they were read, and as flat arrays for the kernels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from nightscore.models.compiled.links import Link

Number = Literal["float32", "float64"]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """One tree. Node 0 is its root."""

    feature: Ints
    threshold: npt.NDArray[np.float64]
    """`x <= threshold` goes left."""
    left: Ints
    """Number of the left child; -1 for leaves."""
    right: Ints
    missing_left: npt.NDArray[np.bool_]
    """NaN goes left."""
    values: npt.NDArray[np.float64]
    """(nodes, width): what a leaf adds."""
    categories: Mapping[int, Sequence[int]] = field(default_factory=dict)
    """For each node that asks for categories, the codes that go left.

    A missing or unknown category has the code after all others. It is among these if `missing_left`
    says so.
    """

    @property
    def is_leaf(self) -> npt.NDArray[np.bool_]:
        """Which nodes are leaves."""
        return self.left < 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Forest:
    """Trees in the order in which their values are added."""

    trees: tuple[Tree, ...]
    n_features: int
    column: tuple[int, ...]
    """For each tree, the first column of the sum that it adds to."""
    base: npt.NDArray[np.float64]
    """What each column starts from."""
    number: Number
    """What the library compares. It converts X to it."""
    n_categories: Mapping[int, int] = field(default_factory=dict)
    """For each feature of category codes, the number of codes, with the one of missing values."""
    sums: Number = "float64"
    """What the library adds leaves up in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitTrees:
    """Trees whose nodes split the set of a block's rows, breadth first."""

    keys: tuple[npt.NDArray[np.float64], ...]
    """The thresholds of each feature, see `search_trees.key_tree`."""
    n_levels: tuple[int, ...]
    code: np.dtype[Any]
    feature: npt.NDArray[np.int32]
    """The feature of each inner node, times 64."""
    cut: npt.NDArray[Any]
    """The greatest code that goes left."""
    shift: npt.NDArray[Any]
    """Added to a code before it is compared: 1 if NaN, which has the greatest code, goes left."""
    left: npt.NDArray[np.int32]
    """Inner node, counted from the tree's first. Leaves share the place after all."""
    right: npt.NDArray[np.int32]
    jump: npt.NDArray[Any]
    """Leaves of the left subtree. Their sum over right turns is the number of the leaf."""
    word: npt.NDArray[np.int32]
    """First word of a categorical node; -1: the node compares."""
    words: npt.NDArray[np.uint32]
    """Bits of categories that go left."""
    n_words: int
    first_node: Ints
    first_leaf: Ints
    values: npt.NDArray[Any]
    """(leaves, width), from the left in each tree."""
    column: Ints
    most_nodes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WalkedTrees:
    """Trees that each row walks down, over keys that are ordered as floats.

    Leaves lead to themselves.
    """

    key: np.dtype[Any]
    nodes: npt.NDArray[Any]
    """(nodes, 4), of the keys' type, so that a step of a walk touches one line of the cache.

    Greatest key that goes left; 64 times the feature; left child, which the right one follows; what
    is added to a key first (see `SplitTrees.shift`).
    """
    root: npt.NDArray[np.int32]
    depth: Ints
    values: npt.NDArray[Any]
    column: Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class FlatForest:
    """A forest in one of the two forms. `Forest` documents its other fields."""

    trees: SplitTrees | WalkedTrees
    n_features: int
    base: npt.NDArray[np.float64]
    number: Number
    n_categories: Mapping[int, int]
    sums: Number


@dataclass(frozen=True, slots=True)
class TreeModel:
    """A forest, and what follows from its sums."""

    forest: Forest
    link: Link
    refuses_nan: bool
    refuses_infinite: bool
