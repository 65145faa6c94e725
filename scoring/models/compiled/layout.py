"""Trees of any library as flat arrays, in the two forms that the kernels know."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from nightscore.models.structure.tree_nodes import refuse
from nightscore.native.constants import BLOCK_ROWS
from nightscore.native.search_trees import key_tree

MAX_LEAVES = 65_536
SPLIT_NODES_PER_LEVEL = {np.dtype(np.uint8): 45, np.dtype(np.uint16): 25}
"""A tree is split where it has fewer inner nodes than this times its depth, else walked: a level of a walk costs a
row 1.8 ns, a node of a split 0.03 ns with codes of one byte (Zen 5, AVX-512)."""

Number = Literal["float32", "float64"]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Tree:
    """One tree; node 0 is its root."""

    feature: Ints
    threshold: npt.NDArray[np.float64]
    """`x <= threshold` goes left."""
    left: Ints
    """Number of a child; -1 at leaves."""
    right: Ints
    missing_left: npt.NDArray[np.bool_]
    """NaN goes left."""
    values: npt.NDArray[np.float64]
    """(nodes, width): what a leaf adds."""
    categories: Mapping[int, Sequence[int]] = field(default_factory=dict)
    """Of nodes that ask for categories: the codes that go left. A missing or unknown one has the code after all
    others, and is among these where `missing_left` says so."""

    @property
    def is_leaf(self) -> npt.NDArray[np.bool_]:
        return self.left < 0


@dataclass(frozen=True, slots=True)
class Forest:
    """Trees in the order in which their values are added."""

    trees: tuple[Tree, ...]
    n_features: int
    column: tuple[int, ...]
    """Of each tree: the first column of the sum that it adds to."""
    base: npt.NDArray[np.float64]
    """What each column starts from."""
    number: Number
    """What the library compares: X is converted to it."""
    n_categories: Mapping[int, int] = field(default_factory=dict)
    """Features whose values are category codes, and how many codes there are, the one of missing included."""
    sums: Number = "float64"
    """What the library adds leaves up in."""


@dataclass(frozen=True, slots=True)
class SplitTrees:
    """Trees whose nodes split the set of a block's rows, breadth first."""

    keys: tuple[npt.NDArray[np.float64], ...]
    """Of each feature: its thresholds, see `key_tree`."""
    n_levels: tuple[int, ...]
    code: np.dtype[Any]
    feature: npt.NDArray[np.int32]
    """Of each inner node, times 64."""
    cut: npt.NDArray[Any]
    shift: npt.NDArray[Any]
    """Added to a code before it is compared: 1 where NaN, which has the greatest code, goes left."""
    left: npt.NDArray[np.int32]
    """Inner node, counted from the tree's first; leaves share one place after all."""
    right: npt.NDArray[np.int32]
    jump: npt.NDArray[Any]
    """Leaves of the left subtree: the sum over right turns is the number of the leaf."""
    word: npt.NDArray[np.int32]
    """First of a categorical node's words; -1: it compares."""
    words: npt.NDArray[np.uint32]
    """Bits of categories that go left."""
    n_words: int
    first_node: Ints
    first_leaf: Ints
    values: npt.NDArray[Any]
    """(leaves, width), from the left in each tree."""
    column: Ints
    most_nodes: int


@dataclass(frozen=True, slots=True)
class WalkedTrees:
    """Trees that each row walks down, over keys that are ordered as floats are; leaves lead to themselves."""

    key: np.dtype[Any]
    nodes: npt.NDArray[Any]
    """(nodes, 4), of the keys' type, so that a step of a walk touches one line of the cache: greatest key that goes
    left; 64 times the feature; left child (the right one follows it); what is added to a key first (see `shift`)."""
    root: npt.NDArray[np.int32]
    depth: Ints
    values: npt.NDArray[Any]
    column: Ints


@dataclass(frozen=True, slots=True)
class FlatForest:
    """A forest in one of the two forms; see `Forest` for the rest."""

    trees: SplitTrees | WalkedTrees
    n_features: int
    base: npt.NDArray[np.float64]
    number: Number
    n_categories: Mapping[int, int]
    sums: Number


def lay_out(forest: Forest) -> FlatForest | None:
    """In the faster form; None: there is none that holds these trees.

    Raises:
        ModelStructureError: They are no trees, or point outside.
    """
    from nightscore.models.compiled.forest_structure import (
        forest_problems,  # which knows the records here
    )

    refuse(forest_problems(forest), "the model's trees")
    trees = _trees(forest)
    if trees is None:
        return None
    return FlatForest(
        trees, forest.n_features, forest.base, forest.number, dict(forest.n_categories), forest.sums
    )


def _trees(forest: Forest) -> SplitTrees | WalkedTrees | None:
    thresholds = _thresholds(forest)
    most = max((len(found) for found in thresholds), default=0)
    most = max(most, *(n - 2 for n in forest.n_categories.values()), 0)
    code = np.dtype(np.uint8) if most <= 254 else np.dtype(np.uint16)
    leaves = [int(tree.is_leaf.sum()) for tree in forest.trees]
    levels = [depth(tree) for tree in forest.trees]
    can_split = most <= 65_534 and max(leaves, default=1) <= MAX_LEAVES
    is_small = sum(leaves) <= SPLIT_NODES_PER_LEVEL[code] * sum(levels) + len(leaves)
    if can_split and (is_small or forest.n_categories):
        return _split(forest, thresholds, code, max(leaves, default=1))
    return _walk(forest, levels) if not forest.n_categories else None


def ordered_key(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Integers that are ordered as the floats are, both zeros one; for no NaN."""
    bits: npt.NDArray[Any] = values.view(np.int32 if values.dtype == np.float32 else np.int64)
    size = bits & bits.dtype.type(greatest(bits.dtype))
    return np.asarray(np.where(bits >= 0, size, -size))


def rounded_down(thresholds: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """The greatest float32 not above each: `x <= t` is the same for each float32 x."""
    with np.errstate(over="ignore"):
        near = thresholds.astype(np.float32)
    return np.where(
        near.astype(np.float64) > thresholds, np.nextafter(near, np.float32(-np.inf)), near
    )


def greatest(dtype: np.dtype[Any]) -> int:
    """Key above all others: no row goes right of it."""
    return int(2 ** (8 * dtype.itemsize - 1) - 1)


def _thresholds(forest: Forest) -> tuple[npt.NDArray[np.float64], ...]:
    """Distinct ones of each feature; infinity is above nothing, so it needs no code."""
    found: list[list[npt.NDArray[np.float64]]] = [[] for _ in range(forest.n_features)]
    for tree in forest.trees:
        compares = ~tree.is_leaf
        compares[list(tree.categories)] = False
        for feature in np.unique(tree.feature[compares]).tolist():
            found[feature].append(tree.threshold[compares & (tree.feature == feature)])
    distinct = [np.unique(np.concatenate(parts)) if parts else np.empty(0) for parts in found]
    if any(np.isnan(values).any() for values in distinct):
        raise ValueError("a threshold is NaN")
    return tuple(values[values < np.inf] for values in distinct)


def _split(
    forest: Forest,
    thresholds: tuple[npt.NDArray[np.float64], ...],
    code: np.dtype[Any],
    most_leaves: int,
) -> SplitTrees:
    nodes: list[tuple[int, int, int, int, int, int, int]] = []
    words: list[int] = []
    n_words = -(-max(forest.n_categories.values(), default=0) // 32)
    first_node, first_leaf, values = [0], [0], []
    for tree in forest.trees:
        order, leaves = _breadth_first(tree), _leaves_below(tree)
        place = {node: i for i, node in enumerate(order)}
        for node in order:
            word, cut, shift = -1, 0, int(tree.missing_left[node])
            if node in tree.categories:
                word = len(words)
                words += _bits(tree.categories[node], n_words)
            else:
                known = thresholds[tree.feature[node]]
                cut = int(np.searchsorted(known, tree.threshold[node])) + shift
            left, right = int(tree.left[node]), int(tree.right[node])
            inside = (place.get(left, len(order)), place.get(right, len(order)))
            nodes.append(
                (int(tree.feature[node]) * BLOCK_ROWS, cut, shift, *inside, leaves[left], word)
            )
        first_node.append(len(nodes))
        values.append(tree.values[_leaves_from_left(tree)])
        first_leaf.append(first_leaf[-1] + len(values[-1]))
    keys = [key_tree(found) for found in thresholds]
    table = np.array(nodes, np.int64).reshape(-1, 7).T
    leaf = np.uint8 if most_leaves <= 256 else np.uint16
    return SplitTrees(
        keys=tuple(key for key, _ in keys),
        n_levels=tuple(n for _, n in keys),
        code=code,
        feature=table[0].astype(np.int32),
        cut=table[1].astype(code),
        shift=table[2].astype(code),
        left=table[3].astype(np.int32),
        right=table[4].astype(np.int32),
        jump=table[5].astype(leaf),
        word=table[6].astype(np.int32),
        words=np.array(words, np.uint32),
        n_words=n_words,
        first_node=np.array(first_node, np.int64),
        first_leaf=np.array(first_leaf, np.int64),
        values=np.concatenate(values).astype(forest.sums),
        column=np.array(forest.column, np.int64),
        most_nodes=max(np.diff(first_node).tolist(), default=0),
    )


def _bits(codes: Sequence[int], n_words: int) -> list[int]:
    bits = np.zeros(32 * n_words, np.uint8)
    bits[list(codes)] = 1
    return [int(word) for word in np.packbits(bits, bitorder="little").view("<u4")]


def _walk(forest: Forest, levels: Sequence[int]) -> WalkedTrees:
    key = np.dtype(np.int32 if forest.number == "float32" else np.int64)
    parts: list[tuple[npt.NDArray[Any], ...]] = []
    roots, start = [], 0
    for tree in forest.trees:
        order = _breadth_first(tree, with_leaves=True)
        place = np.empty(len(tree.left), np.int64)
        place[order] = np.arange(len(order))
        leaf = tree.is_leaf[order]
        threshold = tree.threshold[order]
        cut = ordered_key(
            rounded_down(threshold) if forest.number == "float32" else threshold
        ).astype(key)
        shift = tree.missing_left[order] & ~leaf
        parts.append(
            (
                np.column_stack(
                    [
                        np.where(leaf, greatest(key), cut + shift).astype(key),
                        np.where(leaf, 0, tree.feature[order] * BLOCK_ROWS).astype(key),
                        (
                            start + np.where(leaf, np.arange(len(order)), place[tree.left[order]])
                        ).astype(key),
                        shift.astype(key),
                    ]
                ),
                tree.values[order],
            )
        )
        roots.append(start)
        start += len(order)
    nodes, values = (np.concatenate([part[i] for part in parts]) for i in range(2))
    return WalkedTrees(
        key=key,
        nodes=nodes,
        root=np.array(roots, np.int32),
        depth=np.array(levels, np.int64),
        values=values.astype(forest.sums),
        column=np.array(forest.column, np.int64),
    )


def _breadth_first(tree: Tree, *, with_leaves: bool = False) -> list[int]:
    """Nodes, a left child right before its right one; inner ones only, unless leaves are wanted."""
    is_leaf, left, right = tree.is_leaf.tolist(), tree.left.tolist(), tree.right.tolist()
    order = [0] if with_leaves or not is_leaf[0] else []
    for node in order:
        if not is_leaf[node]:
            order += [
                child for child in (left[node], right[node]) if with_leaves or not is_leaf[child]
            ]
    return order


def _leaves_below(tree: Tree) -> list[int]:
    """Number of leaves of each subtree."""
    found: list[int] = tree.is_leaf.astype(int).tolist()
    for node in reversed(_breadth_first(tree)):
        found[node] = found[tree.left[node]] + found[tree.right[node]]
    return found


def _leaves_from_left(tree: Tree) -> list[int]:
    found, waiting = [], [0]
    while waiting:
        node = waiting.pop()
        if tree.left[node] < 0:
            found.append(node)
        else:
            waiting += [int(tree.right[node]), int(tree.left[node])]
    return found


def depth(tree: Tree) -> int:
    """Its levels of inner nodes."""
    found = np.zeros(len(tree.left), np.int64)
    for node in _breadth_first(tree):
        found[[tree.left[node], tree.right[node]]] = found[node] + 1
    return int(found.max())
