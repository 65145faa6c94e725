"""Whether an XGBoost model file is whole: looked at before XGBoost, which follows its numbers, is given it.

Source: `RegTree::LoadModel`, `GBTreeModel::LoadModel`, `LearnerImpl::LoadModel`, of XGBoost 1 to 3.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nightscore.models.structure.tree_nodes import (
    MAX_FEATURES,
    MAX_GROUPS,
    TreeNodes,
    refuse,
    tree_problems,
)
from nightscore.models.structure.xgboost_file import XgboostFile, read_xgboost

REMOVED = 2**31 - 1
"""Feature of a node that was pruned: nothing leads to it any more."""
NO_PARENT = (-1, REMOVED)
"""Of a root."""
MAX_CATEGORY = 1 << 24
"""XGBoost's own limit: what float32 counts."""
MAX_CATEGORY_BYTES = 1 << 30
"""Of the sets that XGBoost makes of all nodes' categories, each as long as its greatest category."""
TREES = ("gbtree", "dart")
OF_NODES: dict[str, str] = {
    "left_children": "iu", "right_children": "iu", "split_indices": "iu", "split_conditions": "fiu",
    "default_left": "iub",
}  # fmt: skip
"""Arrays with a number for each node, and the kinds of type that they may have."""
MAYBE_OF_NODES: dict[str, str] = {
    "parents": "iu",
    "split_type": "iub",
    "sum_hessian": "fiu",
    "loss_changes": "fiu",
}
"""The same, of which early versions lack some."""
OF_CATEGORIES = ("categories", "categories_nodes", "categories_segments", "categories_sizes")


def check_xgboost(content: bytes, where: str) -> XgboostFile:
    """The content of a model file, if it is whole.

    Args:
        content: JSON or UBJSON.
        where: The file, for the error.

    Raises:
        ModelStructureError: With every kind of fault; XGBoost must not be given it.
    """
    try:
        file = read_xgboost(content)
        problems = _problems(file)
    except (
        ValueError,
        TypeError,
        KeyError,
        IndexError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        refuse([f"the file cannot be read: {type(error).__name__}: {str(error)[:300]}"], where)
        raise
    refuse(problems, where)
    return file


def _problems(file: XgboostFile) -> list[str]:
    problems = list(_learner_problems(file))
    name = file.booster["name"]
    if problems:
        return problems
    if name == "gblinear":
        weights = _array(file.booster["model"], "weights", "fiu")
        wanted = (file.n_features + 1) * file.n_groups
        found = f"weights: {len(weights):,} numbers, expected {wanted:,}, of {file.n_groups} groups"
        return [] if len(weights) == wanted else [found]
    if name not in TREES:
        return [f"gradient_booster: {str(name)[:40]!r}, expected gbtree, dart or gblinear"]
    model = file.booster["gbtree"]["model"] if name == "dart" else file.booster["model"]
    problems += _model_problems(file, model)
    if name == "dart":
        n_weights = len(_array(file.booster, "weight_drop", "fiu"))
        if n_weights != len(model["trees"]):
            problems.append(
                f"weight_drop: {n_weights:,} numbers, expected {len(model['trees']):,}, one for each tree"
            )
    return problems


def _learner_problems(file: XgboostFile) -> Iterator[str]:
    n_features, n_groups = file.n_features, file.n_groups
    if not 0 <= n_features <= MAX_FEATURES:
        yield f"num_feature {n_features}, expected 0 to {MAX_FEATURES}"
    if int(file.parameters["num_class"]) < 0 or int(file.parameters.get("num_target", "1")) < 0:
        yield "num_class and num_target: expected no negative numbers"
    if n_groups > MAX_GROUPS:
        yield f"num_class or num_target {n_groups}, expected at most {MAX_GROUPS}"
    for name in ("feature_names", "feature_types"):
        found = file.learner.get(name, ())
        if len(found) not in (0, n_features):
            yield f"{name}: {len(found):,} words, expected {n_features:,}, one for each feature"
    stated = file.learner["objective"].get("softmax_multiclass_param", {}).get("num_class")
    if stated is not None and int(stated) != n_groups:
        yield f"softmax_multiclass_param: num_class {stated}, expected {n_groups}, as many as groups"


def _model_problems(file: XgboostFile, model: Mapping[str, Any]) -> list[str]:
    trees, n_groups = model["trees"], file.n_groups
    if not isinstance(trees, list):
        return [f"trees: expected a list, found {type(trees).__name__}"]
    problems = []
    stated = int(model["gbtree_model_param"]["num_trees"])
    if stated != len(trees):
        problems.append(f"num_trees {stated}, expected {len(trees)}, as many as trees")
    groups = _array(model, "tree_info", "iu")
    if len(groups) != len(trees):
        problems.append(
            f"tree_info: {len(groups):,} numbers, expected {len(trees):,}, one for each tree"
        )
    outside = (groups < 0) | (groups >= n_groups)
    if outside.any():
        tree = int(np.argmax(outside))
        problems.append(
            f"tree_info: tree {tree} adds to group {groups[tree]}, expected 0 to {n_groups - 1}"
        )
    # XGBoost puts a tree where its number says, and looks at each place then.
    numbers = [
        tree.get("id", index) if isinstance(tree, Mapping) else None
        for index, tree in enumerate(trees)
    ]
    if any(type(number) is not int or number != index for index, number in enumerate(numbers)):
        problems.append(
            f"trees: expected the ids 0 to {len(trees) - 1} in order, found {str(numbers)[:100]}"
        )
    problems += _round_problems(file, model, len(trees))
    problems += _category_problems(model.get("cats", {}), file.n_features)
    return problems + _tree_problems(trees, file)


def _round_problems(file: XgboostFile, model: Mapping[str, Any], n_trees: int) -> Iterator[str]:
    """Trees of each iteration."""
    rounds = _array(model, "iteration_indptr", "iu") if "iteration_indptr" in model else None
    if rounds is None:
        return
    if not len(rounds) or rounds[0] != 0 or rounds[-1] != n_trees or (np.diff(rounds) < 0).any():
        yield f"iteration_indptr: expected rising numbers from 0 to {n_trees}"
    best = file.attributes.get("best_iteration")
    if best is not None and not 0 <= int(best) < max(len(rounds) - 1, 1):
        yield f"best_iteration {best}, expected 0 to {len(rounds) - 2}"


def _category_problems(stored: Mapping[str, Any], n_features: int) -> Iterator[str]:
    """Values of columns that were categories of a data frame in training."""
    columns = stored.get("enc", ())
    if not len(columns):
        return
    if len(columns) != n_features:
        yield f"cats.enc: {len(columns):,} columns, expected {n_features:,}"
        return
    ends = [0]
    for feature, column in enumerate(columns):
        n_values = len(_array(column, "values", "fiu"))
        if "offsets" in column:
            offsets = _array(column, "offsets", "iu")
            if len(offsets) and (
                offsets[0] != 0 or offsets[-1] != n_values or (np.diff(offsets) < 0).any()
            ):
                yield f"cats.enc[{feature}].offsets: expected rising numbers from 0 to {n_values}"
            n_values = max(len(offsets) - 1, 0)
        ends.append(ends[-1] + n_values)
    segments, order = _array(stored, "feature_segments", "iu"), _array(stored, "sorted_idx", "iu")
    if segments.tolist() != ends:
        yield "cats.feature_segments: expected the number of categories up to each feature"
        return
    if len(order) != ends[-1]:
        yield f"cats.sorted_idx: {len(order):,} numbers, expected {ends[-1]:,}"
        return
    sizes = np.repeat(np.diff(segments), np.diff(segments))
    if ((order < 0) | (order >= sizes)).any():
        yield "cats.sorted_idx: expected numbers of categories of their feature"


def _tree_problems(trees: Sequence[Mapping[str, Any]], file: XgboostFile) -> list[str]:
    problems: list[str] = []
    parts: list[_Arrays] = []
    set_bytes = 0
    for index, tree in enumerate(trees):
        try:
            part = _Arrays(tree)
            problems += [f"tree {index}: {problem}" for problem in part.problems(file)]
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
            problems.append(f"tree {index}: {type(error).__name__}: {str(error)[:200]}")
            continue
        parts.append(part)
        set_bytes += part.set_bytes
    if set_bytes > MAX_CATEGORY_BYTES:
        problems.append(
            f"categories: sets of {set_bytes:,} bytes, expected at most {MAX_CATEGORY_BYTES:,}"
        )
    if problems or not parts:
        return problems
    nodes = TreeNodes(
        sizes=np.array([part.n_nodes for part in parts], np.int64),
        left=_joined([part.left for part in parts]),
        right=_joined([part.right for part in parts]),
        is_leaf=_joined([part.is_leaf for part in parts]),
        feature=_joined([part.feature for part in parts]),
        threshold=_joined([part.condition for part in parts]),
        compares=_joined([~part.by_category for part in parts]),
        n_features=file.n_features,
        removed=_joined([part.removed for part in parts]),
        fields=("left_children", "right_children", "split_indices", "split_conditions"),
    )
    return tree_problems(nodes)


def _joined(arrays: list[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    return np.concatenate(arrays)


class _Arrays:
    """One tree, in XGBoost's own numbering."""

    def __init__(self, tree: Mapping[str, Any]) -> None:
        self._tree = tree
        self._stated = {name: int(value) for name, value in tree["tree_param"].items()}
        found = {name: _array(tree, name, kinds) for name, kinds in OF_NODES.items()}
        found |= {
            name: _array(tree, name, kinds)
            for name, kinds in MAYBE_OF_NODES.items()
            if name in tree
        }
        self._of_nodes = found
        self.left, self.right = (
            found[name].astype(np.int64) for name in ("left_children", "right_children")
        )
        self.feature = found["split_indices"].astype(np.int64)
        self.condition = found["split_conditions"]
        self.n_nodes = len(self.left)
        self.is_leaf = self.left == -1
        self.removed = self.is_leaf & ((self.feature & REMOVED) == REMOVED)
        self.by_category = np.zeros(self.n_nodes, np.bool_)
        self.set_bytes = 0

    def problems(self, file: XgboostFile) -> Iterator[str]:
        """What is wrong with the arrays as such: lengths, counts, parents, categories; marks categorical nodes."""
        n_nodes = self.n_nodes
        if self._stated["num_nodes"] != n_nodes:
            yield f"num_nodes {self._stated['num_nodes']}, expected {n_nodes}, as many as left_children"
        wrong = [name for name, found in self._of_nodes.items() if len(found) != n_nodes]
        yield from (
            f"{name}: {len(self._of_nodes[name]):,} numbers, expected {n_nodes:,}" for name in wrong
        )
        if wrong or not n_nodes:
            return
        n_removed = int(self.removed[1:].sum())
        if self._stated.get("num_deleted", n_removed) != n_removed:
            yield f"num_deleted {self._stated['num_deleted']}, expected {n_removed}, as many as pruned nodes"
        self.removed[0] = False
        if self._stated.get("num_feature", file.n_features) not in (0, file.n_features):
            yield f"num_feature {self._stated['num_feature']}, expected {file.n_features}"
        yield from self._leaf_problems(file)
        yield from self._parent_problems()
        yield from self._category_problems()

    def _leaf_problems(self, file: XgboostFile) -> Iterator[str]:
        stated = self._stated.get("size_leaf_vector", 1)
        if stated < 0:
            yield f"size_leaf_vector {stated}, expected no negative number"
        width = max(stated, 1)
        weights = (
            _array(self._tree, "base_weights", "fiu") if "base_weights" in self._tree else None
        )
        if width == 1:
            if weights is not None and len(weights) != self.n_nodes:
                yield f"base_weights: {len(weights):,} numbers, expected {self.n_nodes:,}"
            return
        if width != file.n_groups:
            yield f"size_leaf_vector {width}, expected {file.n_groups}, as many as groups"
        if weights is not None and len(weights) != self.n_nodes * width:
            yield f"base_weights: {len(weights):,} numbers, expected {self.n_nodes * width:,}"
        if "leaf_weights" not in self._tree:
            return
        # Their right child says where in these a leaf's vector is.
        n_vectors, rest = divmod(len(_array(self._tree, "leaf_weights", "fiu")), width)
        place = self.right[self.is_leaf]
        if rest or ((place < 0) | (place >= n_vectors)).any():
            yield f"leaf_weights: {n_vectors:,} vectors, expected one for each leaf"

    def _parent_problems(self) -> Iterator[str]:
        """XGBoost walks upwards too."""
        parents = self._of_nodes.get("parents")
        if parents is None:
            return
        if int(parents[0]) not in NO_PARENT:
            yield f"node 0: parent {parents[0]}, expected none"
        inner = np.flatnonzero(~self.is_leaf)
        for children in (self.left, self.right):
            child = children[inner]
            inside = (child >= 0) & (child < self.n_nodes)  # others are told elsewhere
            wrong = parents[child[inside]] != inner[inside]
            if wrong.any():
                node = int(child[inside][np.argmax(wrong)])
                yield f"node {node}: parent {parents[node]}, expected {inner[inside][np.argmax(wrong)]}"
        removed = parents[self.removed]
        if ((removed < 0) | (removed >= self.n_nodes)).any():
            yield f"parents: expected nodes from 0 to {self.n_nodes - 1}"

    def _category_problems(self) -> Iterator[str]:
        kinds = self._of_nodes.get("split_type")
        if "categories_nodes" not in self._tree:
            if kinds is not None and kinds.any():
                yield "split_type: expected 0 without categories"
            return
        values, nodes, starts, sizes = (
            _array(self._tree, name, "iu").astype(np.int64) for name in OF_CATEGORIES
        )
        if not len(nodes) == len(starts) == len(sizes):
            found = f"{len(nodes):,}, {len(starts):,} and {len(sizes):,}"
            yield f"categories_nodes, _segments and _sizes: {found} numbers, expected as many of each"
            return
        asks = np.zeros(self.n_nodes, np.int64) if kinds is None else kinds.astype(np.int64)
        if kinds is not None and ((asks < 0) | (asks > 1)).any():
            yield "split_type: expected 0 or 1"
        if len(nodes) and (
            nodes[0] < 0 or nodes[-1] >= self.n_nodes or (np.diff(nodes) <= 0).any()
        ):
            yield f"categories_nodes: expected rising nodes from 0 to {self.n_nodes - 1}"
            return
        if self.is_leaf[nodes].any():
            yield "categories_nodes: expected nodes that split, found a leaf"
        if kinds is not None and not np.array_equal(np.flatnonzero(asks == 1), nodes):
            yield "split_type: expected 1 of the nodes in categories_nodes alone"
        if (
            (sizes < 1).any()
            or not np.array_equal(starts, np.cumsum(sizes) - sizes)
            or sizes.sum() != len(values)
        ):
            yield f"categories_segments and _sizes: expected parts, one after another, of {len(values):,} categories"
            return
        if ((values < 0) | (values >= MAX_CATEGORY)).any():
            yield f"categories: expected numbers from 0 to {MAX_CATEGORY - 1}"
        elif len(nodes):
            self.set_bytes = int((np.maximum.reduceat(values, starts) // 32 + 1).sum()) * 4
        self.by_category[nodes] = True


def _array(source: Mapping[str, Any], name: str, kinds: str) -> npt.NDArray[Any]:
    """A list of numbers, of one of these kinds of type.

    Raises:
        ValueError: It is none.
    """
    values = source[name]
    array = values if isinstance(values, np.ndarray) else np.asarray(values)
    if array.ndim != 1:
        raise ValueError(f"{name}: expected a list of numbers")
    if not len(array):
        return np.empty(0, np.int64)
    if array.dtype.kind not in kinds:
        raise ValueError(
            f"{name}: expected {'numbers' if 'f' in kinds else 'whole numbers'}, found {array.dtype}"
        )
    return array
