"""The arrays of one tree in an XGBoost model file; see `xgboost_trees`."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from nightscore.models.structure.tree_nodes import Ints
from nightscore.models.structure.xgboost_file import XgboostFile

REMOVED = 2**31 - 1
"""Feature of a node that was pruned: nothing leads to it any more."""
NO_PARENT = (-1, REMOVED)
"""Parent of a root."""
MAX_CATEGORY = 1 << 24
"""XGBoost's own limit: what float32 counts."""
NODE_ARRAYS: dict[str, str] = {
    "left_children": "iu",
    "right_children": "iu",
    "split_indices": "iu",
    "split_conditions": "fiu",
    "default_left": "iub",
}
"""Arrays with a number for each node, and the kinds of type that they may have."""
OPTIONAL_NODE_ARRAYS: dict[str, str] = {
    "parents": "iu",
    "split_type": "iub",
    "sum_hessian": "fiu",
    "loss_changes": "fiu",
}
"""More such arrays; early versions lack some of them."""


class TreeArrays:
    """One tree, in XGBoost's own numbering."""

    def __init__(self, tree: Mapping[str, Any]) -> None:
        """Read the arrays.

        Raises:
            ValueError, KeyError, TypeError: Something else is in their place.
        """
        self._tree = tree
        self._stated = {name: int(value) for name, value in tree["tree_param"].items()}

        arrays = {name: number_array(tree, name, kinds) for name, kinds in NODE_ARRAYS.items()}

        for name, kinds in OPTIONAL_NODE_ARRAYS.items():
            if name in tree:
                arrays[name] = number_array(tree, name, kinds)

        self._arrays = arrays

        self.left = arrays["left_children"].astype(np.int64)
        self.right = arrays["right_children"].astype(np.int64)
        self.feature = arrays["split_indices"].astype(np.int64)
        self.condition = arrays["split_conditions"]
        self.n_nodes = len(self.left)

        self.is_leaf = self.left == -1
        self.removed = self.is_leaf & ((self.feature & REMOVED) == REMOVED)
        self.by_category = np.zeros(self.n_nodes, np.bool_)
        """Nodes that ask for a category, once `problems` was called."""
        self.set_bytes = 0
        """Bytes of the sets that XGBoost makes of categories, once `problems` was called."""

    def problems(self, file: XgboostFile) -> Iterator[str]:
        """What is wrong with the arrays as such: lengths, counts, parents, categories."""
        n_nodes, stated = self.n_nodes, self._stated
        if stated["num_nodes"] != n_nodes:
            yield f"num_nodes {stated['num_nodes']}, expected {n_nodes}, as many as left_children"

        wrong = {name: len(a) for name, a in self._arrays.items() if len(a) != n_nodes}
        for name, length in wrong.items():
            yield f"{name}: {length:,} numbers, expected {n_nodes:,}"

        if wrong or not n_nodes:
            return

        n_removed = int(self.removed[1:].sum())
        n_deleted = stated.get("num_deleted", n_removed)
        if n_deleted != n_removed:
            yield f"num_deleted {n_deleted}, expected {n_removed}, as many as pruned nodes"

        self.removed[0] = False

        n_features = stated.get("num_feature", file.n_features)
        if n_features not in (0, file.n_features):
            yield f"num_feature {n_features}, expected {file.n_features}"

        yield from self._leaf_problems(file)
        yield from self._parent_problems()
        yield from self._category_problems()

    def _leaf_problems(self, file: XgboostFile) -> Iterator[str]:
        """Weights of nodes, and vectors of leaves."""
        stated = self._stated.get("size_leaf_vector", 1)
        width = max(stated, 1)

        if stated < 0:
            yield f"size_leaf_vector {stated}, expected no negative number"
        if width > 1 and width != file.n_groups:
            yield f"size_leaf_vector {width}, expected {file.n_groups}, as many as groups"

        if "base_weights" in self._tree:
            n_weights = len(number_array(self._tree, "base_weights", "fiu"))
            if n_weights != self.n_nodes * width:
                yield f"base_weights: {n_weights:,} numbers, expected {self.n_nodes * width:,}"

        if width == 1 or "leaf_weights" not in self._tree:
            return

        # A leaf's right child says where its vector is.
        n_vectors, rest = divmod(len(number_array(self._tree, "leaf_weights", "fiu")), width)

        place = self.right[self.is_leaf]
        if rest or ((place < 0) | (place >= n_vectors)).any():
            yield f"leaf_weights: {n_vectors:,} vectors, expected one for each leaf"

    def _parent_problems(self) -> Iterator[str]:
        """XGBoost walks upwards too."""
        parents = self._arrays.get("parents")
        if parents is None:
            return

        if int(parents[0]) not in NO_PARENT:
            yield f"node 0: parent {parents[0]}, expected none"

        inner = np.flatnonzero(~self.is_leaf)

        for children in (self.left, self.right):
            child = children[inner]
            is_inside = (child >= 0) & (child < self.n_nodes)  # others are reported elsewhere
            child, expected = child[is_inside], inner[is_inside]
            is_wrong = parents[child] != expected

            if is_wrong.any():
                first = int(np.argmax(is_wrong))
                node = int(child[first])
                yield f"node {node}: parent {parents[node]}, expected {expected[first]}"

        removed = parents[self.removed]
        if ((removed < 0) | (removed >= self.n_nodes)).any():
            yield f"parents: expected nodes from 0 to {self.n_nodes - 1}"

    def _category_problems(self) -> Iterator[str]:
        """Nodes that ask for categories, and their sets."""
        split_types = self._arrays.get("split_type")

        if "categories_nodes" not in self._tree:
            if split_types is not None and split_types.any():
                yield "split_type: expected 0 without categories"
            return

        nodes, starts = self._integers("categories_nodes"), self._integers("categories_segments")

        values, sizes = self._integers("categories"), self._integers("categories_sizes")
        if not len(nodes) == len(starts) == len(sizes):
            lengths = f"{len(nodes):,}, {len(starts):,} and {len(sizes):,}"
            yield (
                f"categories_nodes, _segments and _sizes: {lengths} numbers, expected as many of "
                "each"
            )
            return

        if not _are_rising(nodes, self.n_nodes):
            yield f"categories_nodes: expected rising nodes from 0 to {self.n_nodes - 1}"
            return

        yield from self._split_problems(nodes, split_types)
        yield from self._set_problems(values, starts, sizes)
        self.by_category[nodes] = True

    def _split_problems(self, nodes: Ints, split_types: npt.NDArray[Any] | None) -> Iterator[str]:
        if self.is_leaf[nodes].any():
            yield "categories_nodes: expected nodes that split, found a leaf"
        if split_types is None:
            return

        types = split_types.astype(np.int64)
        if ((types < 0) | (types > 1)).any():
            yield "split_type: expected 0 or 1"
        if not np.array_equal(np.flatnonzero(types == 1), nodes):
            yield "split_type: expected 1 of the nodes in categories_nodes alone"

    def _set_problems(self, values: Ints, starts: Ints, sizes: Ints) -> Iterator[str]:
        """The sets stand one after another in the array of categories."""
        follow_each_other = np.array_equal(starts, np.cumsum(sizes) - sizes)
        if (sizes < 1).any() or not follow_each_other or sizes.sum() != len(values):
            yield (
                "categories_segments and _sizes: expected parts, one after another, of "
                f"{len(values):,} categories"
            )
        elif ((values < 0) | (values >= MAX_CATEGORY)).any():
            yield f"categories: expected numbers from 0 to {MAX_CATEGORY - 1}"
        elif len(starts):
            n_words = np.maximum.reduceat(values, starts) // 32 + 1
            self.set_bytes = int(n_words.sum()) * 4

    def _integers(self, name: str) -> Ints:
        return number_array(self._tree, name, "iu").astype(np.int64)


def _are_rising(nodes: Ints, n_nodes: int) -> bool:
    if not len(nodes):
        return True
    is_inside = nodes[0] >= 0 and nodes[-1] < n_nodes
    return bool(is_inside and (np.diff(nodes) > 0).all())


def number_array(source: Mapping[str, Any], name: str, kinds: str) -> npt.NDArray[Any]:
    """A list of numbers, of one of these kinds of type.

    Raises:
        ValueError: Something else is in its place.
    """
    values = source[name]
    array = values if isinstance(values, np.ndarray) else np.asarray(values)
    if array.ndim != 1:
        raise ValueError(f"{name}: expected a list of numbers")
    if not len(array):
        return np.empty(0, np.int64)

    if array.dtype.kind not in kinds:
        expected = "numbers" if "f" in kinds else "whole numbers"
        raise ValueError(f"{name}: expected {expected}, found {array.dtype}")

    return array
