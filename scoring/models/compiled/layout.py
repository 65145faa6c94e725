"""Trees of any library, laid out as flat arrays in the faster of the two forms that the kernels know."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nightscore.models.compiled.forest import FlatForest, Forest, SplitTrees, Tree, WalkedTrees
from nightscore.models.compiled.forest_structure import forest_problems
from nightscore.models.structure.tree_nodes import refuse
from nightscore.native.constants import BLOCK_ROWS
from nightscore.native.ordered_keys import greatest_key, ordered_key, rounded_down
from nightscore.native.search_trees import key_tree

MAX_LEAVES = 65_536
SPLIT_NODES_PER_LEVEL = {np.dtype(np.uint8): 45, np.dtype(np.uint16): 25}
"""A tree is split where it has fewer inner nodes than this times its depth, else walked: a level of a walk costs a
row 1.8 ns, a node of a split 0.03 ns with codes of one byte (Zen 5, AVX-512)."""


def lay_out(forest: Forest) -> FlatForest | None:
    """In the faster form; None: there is none that holds these trees.

    Raises:
        ModelStructureError: They are no trees, or point outside.
    """
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
                        np.where(leaf, greatest_key(key), cut + shift).astype(key),
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
