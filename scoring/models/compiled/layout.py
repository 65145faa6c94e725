"""Trees of any library, laid out as flat arrays in the faster of the two forms of the kernels."""

from collections.abc import Sequence
from typing import Any, NamedTuple

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
"""A tree is split if it has fewer inner nodes than this times its depth; else rows walk it.

A level of a walk costs a row 1.8 ns. A node of a split costs 0.03 ns with codes of one byte (Zen 5,
AVX-512).
"""
MAX_BYTE_CODE, MAX_CODE = 254, 65_534
"""Greatest codes of one byte and of two. The code after them is that of NaN."""

Floats = npt.NDArray[np.float64]


def lay_out(forest: Forest) -> FlatForest | None:
    """Lay a forest out in the faster form; None: neither form holds these trees.

    Raises:
        ModelStructureError: They are no trees, or point outside.
    """
    refuse(forest_problems(forest), "the model's trees")

    trees = _trees(forest)
    if trees is None:
        return None

    return FlatForest(
        trees=trees,
        n_features=forest.n_features,
        base=forest.base,
        number=forest.number,
        n_categories=dict(forest.n_categories),
        sums=forest.sums,
    )


def depth(tree: Tree) -> int:
    """The number of levels of inner nodes."""
    levels = np.zeros(len(tree.left), np.int64)
    for node in _breadth_first(tree):
        levels[[tree.left[node], tree.right[node]]] = levels[node] + 1
    return int(levels.max())


def _trees(forest: Forest) -> SplitTrees | WalkedTrees | None:
    thresholds = _thresholds(forest)
    most_thresholds = max((len(values) for values in thresholds), default=0)
    most_categories = max((n - 2 for n in forest.n_categories.values()), default=0)
    greatest_code = max(most_thresholds, most_categories, 0)
    code = np.dtype(np.uint8 if greatest_code <= MAX_BYTE_CODE else np.uint16)

    leaves = [int(tree.is_leaf.sum()) for tree in forest.trees]
    most_leaves = max(leaves, default=1)
    levels = [depth(tree) for tree in forest.trees]
    n_nodes = sum(leaves) - len(leaves)
    is_small = n_nodes <= SPLIT_NODES_PER_LEVEL[code] * sum(levels)

    can_split = greatest_code <= MAX_CODE and most_leaves <= MAX_LEAVES
    if can_split and (is_small or forest.n_categories):
        return _split(forest, thresholds, code, most_leaves)

    # A walk knows no categories.
    return None if forest.n_categories else _walk(forest, levels)


def _thresholds(forest: Forest) -> tuple[Floats, ...]:
    """The distinct thresholds of each feature. Infinity is above nothing, so it needs no code."""
    parts: list[list[Floats]] = [[] for _ in range(forest.n_features)]

    for tree in forest.trees:
        compares = ~tree.is_leaf
        compares[list(tree.categories)] = False
        for feature in np.unique(tree.feature[compares]).tolist():
            is_of_feature = compares & (tree.feature == feature)
            parts[feature].append(tree.threshold[is_of_feature])

    thresholds = []
    for values in parts:
        distinct = np.unique(np.concatenate([np.empty(0), *values]))
        if np.isnan(distinct).any():
            raise ValueError("a threshold is NaN")
        thresholds.append(distinct[distinct < np.inf])

    return tuple(thresholds)


class _SplitNode(NamedTuple):
    """One inner node, see `SplitTrees`."""

    feature: int
    cut: int
    shift: int
    left: int
    right: int
    jump: int
    word: int


def _split(
    forest: Forest, thresholds: tuple[Floats, ...], code: np.dtype[Any], most_leaves: int
) -> SplitTrees:
    nodes: list[_SplitNode] = []
    words: list[int] = []
    n_words = -(-max(forest.n_categories.values(), default=0) // 32)

    first_node, first_leaf, values = [0], [0], []

    for tree in forest.trees:
        nodes += _split_nodes(tree, thresholds, words, n_words)
        first_node.append(len(nodes))
        values.append(tree.values[_leaves_from_left(tree)])
        first_leaf.append(first_leaf[-1] + len(values[-1]))

    keys = [key_tree(ordered) for ordered in thresholds]
    table = np.array(nodes, np.int64).reshape(-1, len(_SplitNode._fields))
    feature, cut, shift, left, right, jump, word = table.T
    leaf = np.uint8 if most_leaves <= 256 else np.uint16

    return SplitTrees(
        keys=tuple(key for key, _ in keys),
        n_levels=tuple(n_levels for _, n_levels in keys),
        code=code,
        feature=feature.astype(np.int32),
        cut=cut.astype(code),
        shift=shift.astype(code),
        left=left.astype(np.int32),
        right=right.astype(np.int32),
        jump=jump.astype(leaf),
        word=word.astype(np.int32),
        words=np.array(words, np.uint32),
        n_words=n_words,
        first_node=np.array(first_node, np.int64),
        first_leaf=np.array(first_leaf, np.int64),
        values=np.concatenate(values).astype(forest.sums),
        column=np.array(forest.column, np.int64),
        most_nodes=max(np.diff(first_node).tolist(), default=0),
    )


def _split_nodes(
    tree: Tree, thresholds: tuple[Floats, ...], words: list[int], n_words: int
) -> list[_SplitNode]:
    """The inner nodes of a tree, breadth first. The words of their sets are appended."""
    order = _breadth_first(tree)
    place = {node: i for i, node in enumerate(order)}
    leaves = _leaves_below(tree)

    nodes = []
    for node in order:
        feature = int(tree.feature[node])
        shift = int(tree.missing_left[node])

        if node in tree.categories:
            word, cut = len(words), 0
            words += _bits(tree.categories[node], n_words)
        else:
            word = -1
            cut = int(np.searchsorted(thresholds[feature], tree.threshold[node])) + shift

        left, right = int(tree.left[node]), int(tree.right[node])
        split_node = _SplitNode(
            feature=feature * BLOCK_ROWS,
            cut=cut,
            shift=shift,
            left=place.get(left, len(order)),
            right=place.get(right, len(order)),
            jump=leaves[left],
            word=word,
        )
        nodes.append(split_node)

    return nodes


def _bits(codes: Sequence[int], n_words: int) -> list[int]:
    """Words with the bits of some codes set."""
    bits = np.zeros(32 * n_words, np.uint8)
    bits[list(codes)] = 1
    return [int(word) for word in np.packbits(bits, bitorder="little").view("<u4")]


def _walk(forest: Forest, levels: Sequence[int]) -> WalkedTrees:
    key = np.dtype(np.int32 if forest.number == "float32" else np.int64)
    nodes, values, roots = [], [], []
    start = 0
    for tree in forest.trees:
        order = _breadth_first(tree, with_leaves=True)
        nodes.append(_walked_nodes(tree, order, key, start))
        values.append(tree.values[order])
        roots.append(start)
        start += len(order)

    return WalkedTrees(
        key=key,
        nodes=np.concatenate(nodes),
        root=np.array(roots, np.int32),
        depth=np.array(levels, np.int64),
        values=np.concatenate(values).astype(forest.sums),
        column=np.array(forest.column, np.int64),
    )


def _walked_nodes(tree: Tree, order: list[int], key: np.dtype[Any], start: int) -> npt.NDArray[Any]:
    """The nodes of a tree, see `WalkedTrees`.

    Args:
        tree: The tree.
        order: Its nodes, breadth first.
        key: The type of keys.
        start: Number of its first node.
    """
    n_nodes = len(order)
    place = np.empty(len(tree.left), np.int64)
    place[order] = np.arange(n_nodes)

    is_leaf = tree.is_leaf[order]
    threshold: npt.NDArray[Any] = tree.threshold[order]

    if key == np.int32:
        threshold = rounded_down(threshold)

    cut = ordered_key(threshold).astype(key)
    shift = tree.missing_left[order] & ~is_leaf
    child = np.where(is_leaf, np.arange(n_nodes), place[tree.left[order]])

    columns = [
        np.where(is_leaf, greatest_key(key), cut + shift),
        np.where(is_leaf, 0, tree.feature[order] * BLOCK_ROWS),
        start + child,
        shift,
    ]

    return np.column_stack([column.astype(key) for column in columns])


def _breadth_first(tree: Tree, *, with_leaves: bool = False) -> list[int]:
    """Nodes, a left child right before its right one, without leaves unless they are wanted."""
    is_leaf, left, right = tree.is_leaf.tolist(), tree.left.tolist(), tree.right.tolist()

    order = [0] if with_leaves or not is_leaf[0] else []
    for node in order:
        if is_leaf[node]:
            continue
        for child in (left[node], right[node]):
            if with_leaves or not is_leaf[child]:
                order.append(child)

    return order


def _leaves_below(tree: Tree) -> list[int]:
    """The number of leaves of each subtree."""
    n_leaves: list[int] = tree.is_leaf.astype(int).tolist()
    for node in reversed(_breadth_first(tree)):
        n_leaves[node] = n_leaves[tree.left[node]] + n_leaves[tree.right[node]]
    return n_leaves


def _leaves_from_left(tree: Tree) -> list[int]:
    leaves, waiting = [], [0]
    while waiting:
        node = waiting.pop()
        if tree.left[node] < 0:
            leaves.append(node)
        else:
            waiting += [int(tree.right[node]), int(tree.left[node])]
    return leaves
