"""Whether the trees of scikit-learn's estimators are trees; see `tree_nodes`."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nightscore.models.structure.tree_nodes import (
    Bools,
    Ints,
    NodePlaces,
    TreeNodes,
    batches,
    tree_problems,
)

BITSET_WORDS = 8
"""Words of a set in histogram boosting: 256 categories, 32 in a word."""
BITSET_FIELDS = ("binned_left_cat_bitsets", "raw_left_cat_bitsets")
HIST_FIELDS = {
    "value": "f",
    "feature_idx": "iu",
    "num_threshold": "f",
    "missing_go_to_left": "iub",
    "left": "iu",
    "right": "iu",
    "is_leaf": "iub",
    "is_categorical": "iub",
    "bitset_idx": "iu",
}
"""What predicting reads of a node, and the kinds of type that it may have."""


def hist_problems(
    predictors: Iterable[tuple[str, Any, Any, Any]],
    n_features: int,
    is_categorical: npt.NDArray[np.bool_],
) -> list[str]:
    """What is wrong with the trees of scikit-learn's histogram boosting.

    Args:
        predictors: For each `TreePredictor` its name for the problems, `nodes`,
            `binned_left_cat_bitsets` and `raw_left_cat_bitsets`.
        n_features: Columns of X.
        is_categorical: For each feature.
    """
    if is_categorical.shape != (n_features,):
        shape = is_categorical.shape
        return [f"is_categorical_: expected {n_features:,} features, found the shape {shape}"]

    problems: list[str] = []
    names: list[str] = []
    trees: list[npt.NDArray[Any]] = []
    n_sets: list[int] = []

    for name, nodes, *bitsets in predictors:
        array_problems = _hist_array_problems(name, nodes, bitsets)
        problems += array_problems

        if not array_problems:
            names.append(name)
            trees.append(nodes)
            n_sets.append(min(len(bits) for bits in bitsets))

    for batch in batches([len(nodes) for nodes in trees]):
        problems += _hist_node_problems(
            names[batch], trees[batch], np.array(n_sets[batch]), is_categorical
        )

    return problems


def _hist_node_problems(
    names: Sequence[str], trees: Sequence[npt.NDArray[Any]], n_sets: Ints, is_categorical: Bools
) -> list[str]:
    def joined(field: str, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        return np.concatenate([nodes[field] for nodes in trees]).astype(dtype)

    by_category = joined("is_categorical", np.bool_)
    nodes = TreeNodes(
        sizes=np.array([len(nodes) for nodes in trees], np.int64),
        left=joined("left", np.int64),
        right=joined("right", np.int64),
        is_leaf=joined("is_leaf", np.bool_),
        feature=joined("feature_idx", np.int64),
        threshold=joined("num_threshold", np.float64),
        compares=~by_category,
        n_features=len(is_categorical),
        fields=("left", "right", "feature_idx", "num_threshold"),
    )

    problems = tree_problems(nodes, lambda tree: names[tree])
    if problems:
        return problems

    places = NodePlaces(nodes.sizes, lambda tree: names[tree])
    bitset, n_available = joined("bitset_idx", np.int64), n_sets[places.tree]
    asks = by_category & ~nodes.is_leaf

    problems = places.problems(
        asks & ((bitset < 0) | (bitset >= n_available)),
        lambda i: f"bitset_idx {bitset[i]}, expected one of {n_available[i]} bitsets",
    )

    asks_number = asks.copy()
    asks_number[asks] = ~is_categorical[nodes.feature[asks]]

    return problems + places.problems(
        asks_number, lambda i: f"asks for categories, and feature {nodes.feature[i]} has none"
    )


def _hist_array_problems(name: str, nodes: Any, bitsets: Sequence[Any]) -> list[str]:
    """What is wrong with the arrays as such."""
    if not isinstance(nodes, np.ndarray) or nodes.ndim != 1 or nodes.dtype.fields is None:
        return [f"{name}: nodes, expected an array of records, found {_described(nodes)}"]

    problems = []
    for field, kinds in HIST_FIELDS.items():
        dtype = nodes.dtype.fields[field][0] if field in nodes.dtype.fields else None
        if dtype is None or dtype.kind not in kinds or dtype.shape:
            shown = "none" if dtype is None else str(dtype)
            problems.append(f"{name}: nodes, expected a field {field} of numbers, found {shown}")

    for field, bits in zip(BITSET_FIELDS, bitsets, strict=True):
        is_matrix = isinstance(bits, np.ndarray) and bits.ndim == 2
        if not is_matrix or bits.shape[1] != BITSET_WORDS or bits.dtype != np.uint32:
            problems.append(
                f"{name}: {field}, expected uint32 of shape (sets, {BITSET_WORDS}), "
                f"found {_described(bits)}"
            )

    return problems


def sklearn_problems(trees: Iterable[tuple[str, Any, int]]) -> list[str]:
    """What is wrong with `sklearn.tree._tree.Tree` objects.

    Args:
        trees: For each its name for the problems, the `Tree`, and the number of columns that it
            will
            be given.
    """
    problems: list[str] = []
    by_width: dict[int, list[tuple[str, Any]]] = {}

    for name, tree, n_features in trees:
        # Its arrays are as long as `node_count` says, whatever memory there is: check this first.
        if not 1 <= tree.node_count <= tree.capacity:
            problems.append(f"{name}: node_count {tree.node_count}, expected 1 to {tree.capacity}")
        elif tree.n_features != n_features:
            problems.append(
                f"{name}: n_features {tree.n_features}, expected {n_features}, as many as X has"
            )
        else:
            by_width.setdefault(n_features, []).append((name, tree))

    for n_features, group in by_width.items():
        for batch in batches([tree.node_count for _, tree in group]):
            problems += _sklearn_node_problems(group[batch], n_features)

    return problems


def _sklearn_node_problems(group: Sequence[tuple[str, Any]], n_features: int) -> list[str]:
    names, trees = zip(*group, strict=True)

    def joined(field: str) -> Ints:
        return np.concatenate([getattr(tree, field) for tree in trees]).astype(np.int64)

    left = joined("children_left")
    nodes = TreeNodes(
        sizes=np.array([tree.node_count for tree in trees], np.int64),
        left=left,
        right=joined("children_right"),
        is_leaf=left == -1,  # as in scikit-learn's own walk
        feature=joined("feature"),
        threshold=np.concatenate([tree.threshold for tree in trees]),
        compares=np.ones(len(left), np.bool_),
        n_features=n_features,
        fields=("children_left", "children_right", "feature", "threshold"),
    )

    return tree_problems(nodes, lambda tree: str(names[tree]))


def _described(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} of shape {value.shape}"
    return type(value).__name__
