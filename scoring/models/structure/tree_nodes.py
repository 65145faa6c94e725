"""Whether the trees of a model are trees: checked once, from their arrays alone, before anything walks them.

A model is data. Libraries and kernels follow its numbers without looking: a child outside of the tree reads or writes
somebody else's memory, a circle never ends. Everything here is NumPy over whole arrays, linear in the number of
nodes, and needs no library that has trained the model.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nightscore.errors import ModelStructureError

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

MAX_FEATURES = 1 << 20
"""A file may name any number of features in a few bytes, and work is done for each."""
MAX_GROUPS = 1 << 16
"""The same of classes and targets."""
MAX_PROBLEMS = 20
"""As many are told: a damaged array is wrong in each of its nodes."""
BATCH_NODES = 1 << 17
"""That are looked at together, some 100 bytes each."""
BITSET_WORDS = 8
"""Of scikit-learn's histogram boosting: 256 categories, 32 in a word."""
HIST_FIELDS = {
    "value": "f", "feature_idx": "iu", "num_threshold": "f", "missing_go_to_left": "iub", "left": "iu",
    "right": "iu", "is_leaf": "iub", "is_categorical": "iub", "bitset_idx": "iu",
}  # fmt: skip
"""What predicting reads of a node, and the kinds of type that it may have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeNodes:
    """The nodes of many trees, one tree after another; node 0 of each is its root."""

    sizes: Ints
    """Nodes of each tree."""
    left: Ints
    """Number of a child in its tree; not looked at in leaves."""
    right: Ints
    is_leaf: Bools
    feature: Ints
    """Not looked at in leaves."""
    threshold: npt.NDArray[Any]
    compares: Bools
    """Nodes whose threshold decides."""
    n_features: int
    removed: Bools | None = None
    """Nodes that no other may lead to; None: there are none."""
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
        "The model is damaged, or made to do harm: its parts do not fit each other. It is not used.",
        where,
        problems=shown,
        next_step="log the model again from the training job; if it fails again, ask who registered this version",
    )


class NodePlaces:
    """Says of a node, by its number among those of all trees, where it is."""

    def __init__(self, sizes: Ints, name: Callable[[int], str]) -> None:
        """Take the sizes of the trees, and what says the name of one by its number."""
        self._name = name
        self.tree = np.repeat(np.arange(len(sizes)), sizes)
        self.roots = np.cumsum(sizes) - sizes
        self.start = self.roots[self.tree]

    def __call__(self, node: int) -> str:
        """Tree and node, in words."""
        return f"{self._name(int(self.tree[node]))}, node {node - int(self.start[node])}"

    def problems(self, bad: Bools, say: Callable[[int], str]) -> list[str]:
        """The first of bad nodes in words, and how many more there are; nothing where there is none."""
        if not bad.any():
            return []
        node = int(np.argmax(bad))
        more = int(bad.sum()) - 1
        return [f"{self(node)}: {say(node)}{f' (and {more:,} more nodes)' if more else ''}"]


def _tree_name(tree: int) -> str:
    return f"tree {tree}"


def tree_problems(nodes: TreeNodes, name: Callable[[int], str] = _tree_name) -> list[str]:
    """What is wrong with trees: children, features, thresholds, circles, and nodes with two parents or none.

    Args:
        nodes: Of all trees.
        name: Of a tree by its number, for the problems.

    Returns:
        One problem for each kind of fault, with its first place and how often it occurs.
    """
    if (nodes.sizes < 1).any():
        return [f"{name(int(np.argmax(nodes.sizes < 1)))}: expected at least one node, found none"]
    places = NodePlaces(nodes.sizes, name)
    # Without children in range there is nothing to follow.
    return _number_problems(nodes, places) or _link_problems(nodes, places)


def _number_problems(nodes: TreeNodes, places: NodePlaces) -> list[str]:
    """Numbers that point outside."""
    inner, size, n_features = ~nodes.is_leaf, nodes.sizes[places.tree], nodes.n_features
    left, right, feature, threshold = nodes.fields

    def of_children(field: str, children: Ints) -> list[str]:
        outside = inner & ((children < 0) | (children >= size))
        return places.problems(
            outside, lambda i: f"{field} {children[i]}, expected a node from 0 to {size[i] - 1}"
        )

    outside = inner & ((nodes.feature < 0) | (nodes.feature >= n_features))
    problems = of_children(left, nodes.left) + of_children(right, nodes.right)
    problems += places.problems(
        outside,
        lambda i: f"{feature} {nodes.feature[i]}, expected a feature from 0 to {n_features - 1}",
    )
    undecided = inner & nodes.compares & np.isnan(nodes.threshold)
    return problems + places.problems(undecided, lambda _: f"{threshold} NaN, expected a number")


def _link_problems(nodes: TreeNodes, places: NodePlaces) -> list[str]:
    """Nodes that are not reached exactly once from their root."""
    n_nodes = len(nodes.left)
    parents = np.flatnonzero(~nodes.is_leaf)
    children = np.concatenate(
        [(nodes.left + places.start)[parents], (nodes.right + places.start)[parents]]
    )
    n_parents = np.bincount(children, minlength=n_nodes)
    is_root = np.zeros(n_nodes, np.bool_)
    is_root[places.roots] = True
    alone = is_root if nodes.removed is None else is_root | nodes.removed
    problems = places.problems(
        alone & (n_parents > 0),
        lambda _: "a node leads here, expected none: it is a root, or was removed",
    )
    problems += places.problems(
        ~alone & (n_parents != 1),
        lambda i: f"expected one node that leads here, found {n_parents[i]}",
    )
    if problems:
        return problems
    parent = np.arange(n_nodes)
    parent[children] = np.concatenate([parents, parents])
    circling = ~alone & ~_is_below(parent, alone)
    return places.problems(circling, lambda _: "in a circle: the root does not lead here")


def _is_below(parent: Ints, alone: Bools) -> Bools:
    """Nodes from which the way up, one parent each, ends at a root.

    Roots and removed nodes, which are alone, are their own parents.

    Libraries number children after their parents nearly always, and then no way can turn. Else ways are doubled in
    length until they end; one in a circle never does.
    """
    if bool((alone | (parent < np.arange(len(parent)))).all()):
        return np.ones(len(parent), np.bool_)
    above = parent
    for _ in range(len(parent).bit_length()):
        further = above[above]
        if np.array_equal(further, above):
            break
        above = further
    return alone[above]


def hist_problems(
    predictors: Iterable[tuple[str, Any, Any, Any]],
    n_features: int,
    is_categorical: npt.NDArray[np.bool_],
) -> list[str]:
    """What is wrong with the trees of scikit-learn's histogram boosting.

    Args:
        predictors: Of each `TreePredictor` its name for the problems, `nodes`, `binned_left_cat_bitsets` and
            `raw_left_cat_bitsets`.
        n_features: Columns of X.
        is_categorical: Of each feature.
    """
    if is_categorical.shape != (n_features,):
        return [
            f"is_categorical_: expected {n_features:,} features, found the shape {is_categorical.shape}"
        ]
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
    for some in _batches([len(nodes) for nodes in trees]):
        problems += _hist_node_problems(
            names[some], trees[some], np.array(n_sets[some]), is_categorical
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
    bitset, most = joined("bitset_idx", np.int64), n_sets[places.tree]
    asks = by_category & ~nodes.is_leaf
    problems = places.problems(
        asks & ((bitset < 0) | (bitset >= most)),
        lambda i: f"bitset_idx {bitset[i]}, expected one of {most[i]} bitsets",
    )
    of_numbers = asks.copy()
    of_numbers[asks] = ~is_categorical[nodes.feature[asks]]
    return problems + places.problems(
        of_numbers, lambda i: f"asks for categories, and feature {nodes.feature[i]} has none"
    )


def _hist_array_problems(name: str, nodes: Any, bitsets: Sequence[Any]) -> list[str]:
    """What is wrong with the arrays as such."""
    if not isinstance(nodes, np.ndarray) or nodes.ndim != 1 or nodes.dtype.names is None:
        return [f"{name}: nodes, expected an array of records, found {_described(nodes)}"]
    problems = []
    for field, kinds in HIST_FIELDS.items():
        found = nodes.dtype.fields.get(field) if nodes.dtype.fields is not None else None
        if found is None or found[0].kind not in kinds or found[0].shape:
            what = "none" if found is None else str(found[0])
            problems.append(f"{name}: nodes, expected a field {field} of numbers, found {what}")
    for field, bits in zip(
        ("binned_left_cat_bitsets", "raw_left_cat_bitsets"), bitsets, strict=True
    ):
        is_fitting = (
            isinstance(bits, np.ndarray) and bits.ndim == 2 and bits.shape[1] == BITSET_WORDS
        )
        if not is_fitting or bits.dtype != np.uint32:
            problems.append(
                f"{name}: {field}, expected uint32 of shape (sets, {BITSET_WORDS}), found {_described(bits)}"
            )
    return problems


def sklearn_problems(trees: Iterable[tuple[str, Any, int]]) -> list[str]:
    """What is wrong with `sklearn.tree._tree.Tree` objects.

    Args:
        trees: Of each its name for the problems, the `Tree`, and the number of columns that it will be given.
    """
    problems: list[str] = []
    by_width: dict[int, list[tuple[str, Any]]] = {}
    for name, tree, n_features in trees:
        # Its arrays are as long as `node_count` says, whatever memory there is: this is looked at first.
        if not 1 <= tree.node_count <= tree.capacity:
            problems.append(f"{name}: node_count {tree.node_count}, expected 1 to {tree.capacity}")
        elif tree.n_features != n_features:
            problems.append(
                f"{name}: n_features {tree.n_features}, expected {n_features}, as many as X has"
            )
        else:
            by_width.setdefault(n_features, []).append((name, tree))
    for n_features, group in by_width.items():
        for some in _batches([tree.node_count for _, tree in group]):
            problems += _sklearn_node_problems(group[some], n_features)
    return problems


def _batches(sizes: Sequence[int]) -> Iterator[slice]:
    """Neighbouring trees that are looked at together: many small ones at once, and no copy of a whole large model."""
    first, n_nodes = 0, 0
    for i, size in enumerate(sizes):
        n_nodes += size
        if n_nodes >= BATCH_NODES or i == len(sizes) - 1:
            yield slice(first, i + 1)
            first, n_nodes = i + 1, 0


def _sklearn_node_problems(group: Sequence[tuple[str, Any]], n_features: int) -> list[str]:
    names, trees = [name for name, _ in group], [tree for _, tree in group]
    left = np.concatenate([tree.children_left for tree in trees]).astype(np.int64)
    nodes = TreeNodes(
        sizes=np.array([tree.node_count for tree in trees], np.int64),
        left=left,
        right=np.concatenate([tree.children_right for tree in trees]).astype(np.int64),
        is_leaf=left == -1,  # as scikit-learn's own walk tells it
        feature=np.concatenate([tree.feature for tree in trees]).astype(np.int64),
        threshold=np.concatenate([tree.threshold for tree in trees]),
        compares=np.ones(len(left), np.bool_),
        n_features=n_features,
        fields=("children_left", "children_right", "feature", "threshold"),
    )
    return tree_problems(nodes, lambda tree: names[tree])


def _described(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} of shape {value.shape}"
    return type(value).__name__
