"""Whether trees stay within their arrays, before and after they are laid out for the kernels."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from nightscore.models.compiled.forest import FlatForest, Forest, SplitTrees, Tree, WalkedTrees
from nightscore.models.structure.tree_nodes import (
    MAX_FEATURES,
    MAX_GROUPS,
    TreeNodes,
    tree_problems,
)
from nightscore.native.constants import BLOCK_ROWS
from nightscore.native.ordered_keys import greatest_key
from nightscore.native.search_trees import key_tree

Ints = npt.NDArray[np.int64]
CODES = (np.dtype(np.uint8), np.dtype(np.uint16))
MAX_CODES = 1 << 16


def flat_problems(forest: FlatForest) -> list[str]:
    """What is wrong with trees that were laid out; empty: the kernels may have them."""
    problems = [*_common_problems(forest)]
    if problems:
        return problems

    trees = forest.trees
    if isinstance(trees, SplitTrees):
        return _split_type_problems(trees, forest) or _split_problems(trees, forest)
    return _walked_type_problems(trees, forest) or _walked_problems(trees, forest)


def _common_problems(forest: FlatForest) -> Iterator[str]:
    numbers = ("float32", "float64")

    if not isinstance(forest.trees, SplitTrees | WalkedTrees):
        yield f"trees: expected trees, found {type(forest.trees).__name__}"
    if forest.number not in numbers or forest.sums not in numbers:
        yield "number, sums: expected float32 or float64"

    is_array = _is_array(forest.base, np.dtype(np.float64), 1)
    if not is_array or not 1 <= len(forest.base) <= MAX_GROUPS:
        yield f"base: expected 1 to {MAX_GROUPS} doubles"

    n_features = forest.n_features
    if not isinstance(n_features, int) or not 0 <= n_features <= MAX_FEATURES:
        yield f"n_features {n_features!r}, expected 0 to {MAX_FEATURES}"
    elif not isinstance(forest.n_categories, Mapping):
        yield "n_categories: expected numbers of codes by feature"
    else:
        yield from _category_problems(forest.n_categories, n_features)


def _category_problems(n_categories: Mapping[int, int], n_features: int) -> Iterator[str]:
    for feature, n_codes in n_categories.items():
        is_feature = isinstance(feature, int) and 0 <= feature < n_features
        is_count = isinstance(n_codes, int) and 1 <= n_codes <= MAX_CODES
        if not is_feature or not is_count:
            yield f"n_categories: feature {feature!r} has {n_codes!r} codes"


def _is_array(value: Any, dtype: np.dtype[Any], n_dimensions: int) -> bool:
    """Whether it is an array of this type, as the kernels take it."""
    if not isinstance(value, np.ndarray) or value.dtype != dtype or value.ndim != n_dimensions:
        return False
    return bool(value.flags.c_contiguous and value.flags.aligned)


def _type_problems(trees: Any, wanted: Mapping[str, tuple[Any, int]]) -> list[str]:
    problems = []
    for name, (dtype, n_dimensions) in wanted.items():
        if not _is_array(getattr(trees, name), np.dtype(dtype), n_dimensions):
            problems.append(f"{name}: expected {np.dtype(dtype)} of {n_dimensions} dimensions")
    return problems


def _column_problems(
    trees: SplitTrees | WalkedTrees, n_trees: int, forest: FlatForest
) -> list[str]:
    """Problems of the sums that trees add to."""
    width, n_sums = trees.values.shape[1], len(forest.base)

    if not n_trees or len(trees.column) != n_trees:
        return [
            f"column: {len(trees.column)} numbers, expected {n_trees}, one for each tree, "
            "and one at least"
        ]

    is_outside = (trees.column < 0) | (trees.column > n_sums - width)
    if not 1 <= width <= n_sums or is_outside.any():
        return [f"column: expected trees of {width} values to add to columns 0 to {n_sums - 1}"]

    return []


def _split_type_problems(trees: SplitTrees, forest: FlatForest) -> list[str]:
    is_jump = isinstance(trees.jump, np.ndarray) and trees.jump.dtype in CODES
    if trees.code not in CODES or not is_jump:
        return ["code, jump: expected uint8 or uint16"]

    wanted: dict[str, tuple[Any, int]] = {
        "feature": (np.int32, 1),
        "cut": (trees.code, 1),
        "shift": (trees.code, 1),
        "left": (np.int32, 1),
        "right": (np.int32, 1),
        "jump": (trees.jump.dtype, 1),
        "word": (np.int32, 1),
        "words": (np.uint32, 1),
        "first_node": (np.int64, 1),
        "first_leaf": (np.int64, 1),
        "values": (forest.sums, 2),
        "column": (np.int64, 1),
    }

    problems = _type_problems(trees, wanted)

    counts = (trees.n_words, trees.most_nodes, *trees.n_levels)
    if not all(isinstance(count, int) and count >= 0 for count in counts):
        problems.append("n_words, most_nodes, n_levels: expected whole numbers")
    if not len(trees.keys) == len(trees.n_levels) == forest.n_features:
        problems.append(f"keys: {len(trees.keys)} features, expected {forest.n_features}")

    return problems


def _split_problems(trees: SplitTrees, forest: FlatForest) -> list[str]:
    problems = [*_length_problems(trees)]
    if problems:
        return problems

    n_trees = len(trees.first_node) - 1
    problems += _column_problems(trees, n_trees, forest)
    problems += _node_problems(trees, forest.n_features)
    problems += _key_problems(trees)
    return problems or _split_link_problems(trees)


def _length_problems(trees: SplitTrees) -> Iterator[str]:
    n_nodes, n_trees = len(trees.feature), len(trees.first_node) - 1

    for name in ("cut", "shift", "left", "right", "jump", "word"):
        n_numbers = len(getattr(trees, name))
        if n_numbers != n_nodes:
            yield f"{name}: {n_numbers:,} numbers, expected {n_nodes:,}"

    ends = (
        ("first_node", trees.first_node, n_nodes),
        ("first_leaf", trees.first_leaf, len(trees.values)),
    )
    for name, first, n_all in ends:
        if not _rises(first, n_all) or len(first) != n_trees + 1:
            yield f"{name}: expected rising numbers from 0 to {n_all:,}, of {n_trees} trees"


def _node_problems(trees: SplitTrees, n_features: int) -> Iterator[str]:
    if trees.most_nodes != int(np.diff(trees.first_node).max(initial=0)):
        yield f"most_nodes {trees.most_nodes}, expected that of the greatest tree"
    if not _are_features(trees.feature, n_features):
        yield f"feature: expected features from 0 to {n_features - 1}, times {BLOCK_ROWS}"

    has_set = trees.word != -1
    end = trees.word.astype(np.int64) + trees.n_words
    is_outside = (trees.word < 0) | (end > len(trees.words))
    if (has_set & is_outside).any():
        n_all = len(trees.words)
        yield f"word: expected {trees.n_words} of {n_all} words of each set of categories"

    if (trees.shift > 1).any():
        yield "shift: expected 0 or 1"


def _key_problems(trees: SplitTrees) -> Iterator[str]:
    greatest_code = 2 ** (8 * trees.code.itemsize) - 2
    for feature, (keys, n_levels) in enumerate(zip(trees.keys, trees.n_levels, strict=True)):
        if not _is_key_tree(keys, n_levels, greatest_code):
            yield f"keys of feature {feature}: expected a tree of rising thresholds"


def _rises(first: Ints, n_all: int) -> bool:
    return bool(len(first) and first[0] == 0 and first[-1] == n_all and (np.diff(first) >= 0).all())


def _are_features(features: npt.NDArray[Any], n_features: int) -> bool:
    if not len(features):
        return True
    is_inside = (features >= 0) & (features < n_features * BLOCK_ROWS)
    return bool((is_inside & (features % BLOCK_ROWS == 0)).all())


def _is_key_tree(keys: Any, n_levels: int, greatest_code: int) -> bool:
    """Whether it is what `key_tree` makes of its thresholds: a search in it stays in it."""
    if not _is_array(keys, np.dtype(np.float64), 1):
        return False

    thresholds = np.unique(keys[~np.isnan(keys)])
    if len(thresholds) > greatest_code:
        return False

    wanted, n_wanted = key_tree(thresholds)
    return n_levels == n_wanted and np.array_equal(keys, wanted, equal_nan=True)


def _split_link_problems(trees: SplitTrees) -> list[str]:
    """Follow all trees at once, a level at a time.

    Each subtree must have the leaves that its parent leaves it.
    """
    n_nodes, n_leaves = np.diff(trees.first_node), np.diff(trees.first_leaf)
    if (n_leaves != n_nodes + 1).any():
        return ["first_leaf: expected a leaf more than inner nodes in each tree"]

    tree = np.flatnonzero(n_nodes)
    node = trees.first_node[tree]
    leaves = n_leaves[tree]
    n_seen = 0
    while len(node):
        n_seen += len(node)

        below = _level_below(trees, n_nodes, tree, node, leaves)
        if below is None:
            return [
                "left, right, jump: expected children after their parents, and as many leaves as "
                "there are"
            ]

        tree, node, leaves = below
        if n_seen + len(node) > len(trees.feature):
            break

    if n_seen != len(trees.feature) or not _has_one_parent(trees, n_nodes):
        return ["left, right: expected each node once"]

    return []


def _level_below(
    trees: SplitTrees, n_nodes: Ints, tree: Ints, node: Ints, leaves: Ints
) -> tuple[Ints, Ints, Ints] | None:
    """The inner nodes of the next level; None: a node leads where it must not.

    Args:
        trees: All trees.
        n_nodes: Inner nodes of each tree.
        tree: The tree of each node of this level.
        node: These nodes.
        leaves: The leaves below each of them.

    Returns:
        The same three arrays for the next level.
    """
    start, size = trees.first_node[tree], n_nodes[tree]
    jump = trees.jump[node].astype(np.int64)

    levels: list[tuple[Ints, Ints, Ints]] = []
    for child, n_below in ((trees.left[node], jump), (trees.right[node], leaves - jump)):
        is_leaf = child == size
        is_forward = is_leaf | ((child > node - start) & (child < size))
        is_counted = (n_below >= 1) & (is_leaf == (n_below == 1))
        if not (is_forward & is_counted).all():
            return None
        inner = ~is_leaf
        levels.append((tree[inner], (start + child)[inner], n_below[inner]))

    left, right = levels
    tree, node, leaves = (np.concatenate(pair) for pair in zip(left, right, strict=True))

    return tree, node, leaves


def _has_one_parent(trees: SplitTrees, n_nodes: Ints) -> bool:
    """Whether each node but the roots is the child of one other.

    If one is reached twice, another one never is. The kernel would take for its rows what the tree
    before has left there.
    """
    n_parents = np.zeros(len(trees.feature), np.int64)
    start, size = np.repeat(trees.first_node[:-1], n_nodes), np.repeat(n_nodes, n_nodes)

    for child in (trees.left, trees.right):
        is_inner = child < size
        n_parents += np.bincount((start + child)[is_inner], minlength=len(n_parents))

    roots = trees.first_node[:-1][n_nodes > 0]
    n_parents[roots] += 1

    return bool((n_parents == 1).all())


def _walked_type_problems(trees: WalkedTrees, forest: FlatForest) -> list[str]:
    key = np.dtype(np.int32 if forest.number == "float32" else np.int64)
    if trees.key != key:
        return [f"key: expected {key}"]

    wanted: dict[str, tuple[Any, int]] = {
        "nodes": (key, 2),
        "root": (np.int32, 1),
        "depth": (np.int64, 1),
        "values": (forest.sums, 2),
        "column": (np.int64, 1),
    }

    problems = _type_problems(trees, wanted)

    if forest.n_categories:
        problems.append("n_categories: expected none of trees that are walked")

    return problems


def _walked_problems(trees: WalkedTrees, forest: FlatForest) -> list[str]:
    n_nodes, n_trees = len(trees.nodes), len(trees.root)
    if trees.nodes.shape[1] != 4 or len(trees.values) != n_nodes or len(trees.depth) != n_trees:
        return [
            "nodes, values, depth: expected four numbers and the values of each node, and a depth "
            "of each tree"
        ]

    problems = _column_problems(trees, n_trees, forest)

    ends = np.append(trees.root, n_nodes).astype(np.int64)
    if ends[0] != 0 or (np.diff(ends) < 1).any():
        return [*problems, f"root: expected rising numbers from 0 to {n_nodes - 1}"]

    is_leaf = trees.nodes[:, 2] == np.arange(n_nodes)
    problems += _walked_node_problems(trees, ends, is_leaf, forest.n_features)
    if problems:
        return problems

    inner = np.flatnonzero(~is_leaf)
    first = trees.nodes[inner, 2].astype(np.int64)
    n_parents = np.bincount(np.concatenate([first, first + 1]), minlength=n_nodes)
    n_parents[ends[:-1]] += 1

    if (n_parents != 1).any():
        return ["nodes: expected each node once"]

    return _depth_problems(trees, ends, is_leaf)


def _walked_node_problems(
    trees: WalkedTrees, ends: Ints, is_leaf: npt.NDArray[np.bool_], n_features: int
) -> Iterator[str]:
    """Problems of single nodes.

    Args:
        trees: All trees.
        ends: The first node of each tree, and the number of nodes.
        is_leaf: Which nodes are leaves.
        n_features: Features of the model.
    """
    cut, feature, child, shift = trees.nodes.T
    place = np.arange(len(trees.nodes))
    end = np.repeat(ends[1:], np.diff(ends))

    if (is_leaf & ((cut != greatest_key(trees.key)) | (shift != 0))).any():
        yield "nodes: expected leaves that lead to themselves"
    if (~is_leaf & ((child <= place) | (child >= end - 1))).any():
        yield "nodes: expected two children after their parent, in its tree"
    if not _are_features(feature, n_features) or ((shift < 0) | (shift > 1)).any():
        yield f"nodes: expected features from 0 to {n_features - 1}, times {BLOCK_ROWS}"


def _depth_problems(trees: WalkedTrees, ends: Ints, is_leaf: npt.NDArray[np.bool_]) -> list[str]:
    """A depth that is too small: a row would get the value of a node that is no leaf."""
    depth = np.zeros(len(trees.root), np.int64)
    tree, node = np.arange(len(trees.root)), ends[:-1]

    while len(node):
        inner = ~is_leaf[node]
        tree, node = tree[inner], node[inner]
        # Once for each tree, however many of its nodes are in this level.
        depth[tree] += 1
        child = trees.nodes[node, 2].astype(np.int64)
        tree, node = np.concatenate([tree, tree]), np.concatenate([child, child + 1])

    return [] if np.array_equal(depth, trees.depth) else ["depth: expected the levels of each tree"]


def forest_problems(forest: Forest) -> list[str]:
    """What is wrong with trees before they are laid out, which follows them."""
    problems = [*_forest_array_problems(forest)]
    if problems:
        return problems

    trees = forest.trees
    nodes = TreeNodes(
        sizes=np.array([len(tree.left) for tree in trees], np.int64),
        left=np.concatenate([tree.left for tree in trees]),
        right=np.concatenate([tree.right for tree in trees]),
        is_leaf=np.concatenate([tree.is_leaf for tree in trees]),
        feature=np.concatenate([tree.feature for tree in trees]),
        threshold=np.concatenate([tree.threshold for tree in trees]),
        compares=np.concatenate([_compares(tree) for tree in trees]),
        n_features=forest.n_features,
        removed=np.concatenate([_unreached(tree) for tree in trees]),
    )

    problems = tree_problems(nodes)
    if problems:
        return problems

    for i, tree in enumerate(trees):
        problems += _set_problems(i, tree, forest.n_categories)

    return problems


def _forest_array_problems(forest: Forest) -> Iterator[str]:
    n_sums, n_trees = len(forest.base), len(forest.trees)
    width = forest.trees[0].values.shape[-1] if forest.trees else 1

    for i, tree in enumerate(forest.trees):
        yield from _tree_array_problems(i, tree, width)

    if not n_trees or len(forest.column) != n_trees:
        yield f"{len(forest.column)} columns, expected {n_trees}, and one tree at least"

    for i, column in enumerate(forest.column):
        if not 0 <= column <= n_sums - width:
            yield f"tree {i}: adds to sum {column}, expected 0 to {n_sums - width}"
            break


def _tree_array_problems(index: int, tree: Tree, width: int) -> list[str]:
    n_nodes = len(tree.left)
    arrays = (tree.feature, tree.threshold, tree.right, tree.missing_left)
    if any(len(array) != n_nodes for array in arrays) or tree.values.shape != (n_nodes, width):
        return [f"tree {index}: expected arrays of {n_nodes} nodes, and {width} values of each"]
    if any(not 0 <= node < n_nodes for node in tree.categories):
        return [f"tree {index}: expected categories of nodes from 0 to {n_nodes - 1}"]
    return []


def _compares(tree: Tree) -> npt.NDArray[np.bool_]:
    compares = np.ones(len(tree.left), np.bool_)
    compares[list(tree.categories)] = False
    return compares


def _unreached(tree: Tree) -> npt.NDArray[np.bool_]:
    """Leaves that no node leads to. XGBoost keeps those that were pruned."""
    named = np.zeros(len(tree.left), np.bool_)
    for children in (tree.left, tree.right):
        inside = children[(children >= 0) & (children < len(named)) & ~tree.is_leaf]
        named[inside] = True
    named[0] = True
    return tree.is_leaf & ~named


def _set_problems(index: int, tree: Tree, n_categories: Mapping[int, int]) -> list[str]:
    for node, codes in tree.categories.items():
        n_codes = n_categories.get(int(tree.feature[node]), 0)
        if len(codes) and not (min(codes) >= 0 and max(codes) < n_codes):
            return [f"tree {index}, node {node}: expected codes from 0 to {n_codes - 1}"]
    return []
