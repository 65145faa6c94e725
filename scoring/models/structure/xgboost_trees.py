"""Whether an XGBoost model file is whole: checked before XGBoost follows its numbers.

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
from nightscore.models.structure.xgboost_arrays import TreeArrays, number_array
from nightscore.models.structure.xgboost_file import XgboostFile, read_xgboost

MAX_CATEGORY_BYTES = 1 << 30
"""Most bytes of the sets of categories, each of which is as long as its greatest category."""
TREES = ("gbtree", "dart")
UNREADABLE = (
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    OverflowError,
    RecursionError,
)
"""Raised if something in the file is not even of the type that is expected."""


def check_xgboost(content: bytes, where: str) -> XgboostFile:
    """The content of a model file, if it is whole.

    Args:
        content: JSON or UBJSON.
        where: The file, for the error.

    Raises:
        ModelStructureError: With every kind of fault. XGBoost must not get the file.
    """
    try:
        file = read_xgboost(content)
        problems = _problems(file)
    except UNREADABLE as error:
        refuse([f"the file cannot be read: {type(error).__name__}: {str(error)[:300]}"], where)
        raise

    refuse(problems, where)
    return file


def _problems(file: XgboostFile) -> list[str]:
    name = file.booster["name"]

    problems = list(_learner_problems(file))
    if problems:
        return problems
    if name == "gblinear":
        return _linear_problems(file)
    if name not in TREES:
        return [f"gradient_booster: {str(name)[:40]!r}, expected gbtree, dart or gblinear"]
    if name == "gbtree":
        return _model_problems(file, file.booster["model"])

    model = file.booster["gbtree"]["model"]
    problems = _model_problems(file, model)
    n_weights, n_trees = len(number_array(file.booster, "weight_drop", "fiu")), len(model["trees"])

    if n_weights != n_trees:
        problems.append(
            f"weight_drop: {n_weights:,} numbers, expected {n_trees:,}, one for each tree"
        )

    return problems


def _linear_problems(file: XgboostFile) -> list[str]:
    n_weights = len(number_array(file.booster["model"], "weights", "fiu"))
    n_expected = (file.n_features + 1) * file.n_groups
    if n_weights == n_expected:
        return []
    return [f"weights: {n_weights:,} numbers, expected {n_expected:,}, of {file.n_groups} groups"]


def _learner_problems(file: XgboostFile) -> Iterator[str]:
    n_features, n_groups = file.n_features, file.n_groups
    if not 0 <= n_features <= MAX_FEATURES:
        yield f"num_feature {n_features}, expected 0 to {MAX_FEATURES}"
    if int(file.parameters["num_class"]) < 0 or int(file.parameters.get("num_target", "1")) < 0:
        yield "num_class and num_target: expected no negative numbers"
    if n_groups > MAX_GROUPS:
        yield f"num_class or num_target {n_groups}, expected at most {MAX_GROUPS}"

    for name in ("feature_names", "feature_types"):
        n_words = len(file.learner.get(name, ()))
        if n_words not in (0, n_features):
            yield f"{name}: {n_words:,} words, expected {n_features:,}, one for each feature"

    softmax = file.learner["objective"].get("softmax_multiclass_param", {})
    n_classes = softmax.get("num_class")

    if n_classes is not None and int(n_classes) != n_groups:
        yield (
            f"softmax_multiclass_param: num_class {n_classes}, expected {n_groups}, as many as "
            "groups"
        )


def _model_problems(file: XgboostFile, model: Mapping[str, Any]) -> list[str]:
    trees = model["trees"]
    if not isinstance(trees, list):
        return [f"trees: expected a list, found {type(trees).__name__}"]

    problems = []

    stated = int(model["gbtree_model_param"]["num_trees"])
    if stated != len(trees):
        problems.append(f"num_trees {stated}, expected {len(trees)}, as many as trees")

    problems += _group_problems(model, len(trees), file.n_groups)
    problems += _id_problems(trees)
    problems += _round_problems(file, model, len(trees))
    problems += _category_problems(model.get("cats", {}), file.n_features)

    return problems + _tree_problems(trees, file)


def _group_problems(model: Mapping[str, Any], n_trees: int, n_groups: int) -> Iterator[str]:
    """The column of the margin that each tree adds to."""
    groups = number_array(model, "tree_info", "iu")
    if len(groups) != n_trees:
        yield f"tree_info: {len(groups):,} numbers, expected {n_trees:,}, one for each tree"

    outside = (groups < 0) | (groups >= n_groups)
    if outside.any():
        tree = int(np.argmax(outside))
        yield f"tree_info: tree {tree} adds to group {groups[tree]}, expected 0 to {n_groups - 1}"


def _id_problems(trees: Sequence[Any]) -> Iterator[str]:
    """XGBoost puts a tree where its id says, and then looks at each place."""
    ids = [tree.get("id", i) if isinstance(tree, Mapping) else None for i, tree in enumerate(trees)]
    if any(type(number) is not int or number != i for i, number in enumerate(ids)):
        last = len(trees) - 1
        yield f"trees: expected the ids 0 to {last} in order, found {str(ids)[:100]}"


def _round_problems(file: XgboostFile, model: Mapping[str, Any], n_trees: int) -> Iterator[str]:
    """Trees of each iteration."""
    if "iteration_indptr" not in model:
        return
    rounds = number_array(model, "iteration_indptr", "iu")
    if not _are_bounds(rounds, n_trees):
        yield f"iteration_indptr: expected rising numbers from 0 to {n_trees}"

    best = file.attributes.get("best_iteration")
    if best is not None and not 0 <= int(best) < max(len(rounds) - 1, 1):
        yield f"best_iteration {best}, expected 0 to {len(rounds) - 2}"


def _are_bounds(bounds: npt.NDArray[Any], end: int) -> bool:
    """Whether numbers rise from 0 to an end."""
    if not len(bounds) or bounds[0] != 0 or bounds[-1] != end:
        return False
    return bool((np.diff(bounds) >= 0).all())


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
        n_values = len(number_array(column, "values", "fiu"))

        if "offsets" in column:
            offsets = number_array(column, "offsets", "iu")
            if len(offsets) and not _are_bounds(offsets, n_values):
                yield f"cats.enc[{feature}].offsets: expected rising numbers from 0 to {n_values}"
            n_values = max(len(offsets) - 1, 0)

        ends.append(ends[-1] + n_values)

    yield from _order_problems(stored, ends)


def _order_problems(stored: Mapping[str, Any], ends: Sequence[int]) -> Iterator[str]:
    """The order of each feature's categories."""
    segments = number_array(stored, "feature_segments", "iu")
    order = number_array(stored, "sorted_idx", "iu")

    if segments.tolist() != list(ends):
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
    read: list[TreeArrays] = []

    for index, tree in enumerate(trees):
        try:
            arrays = TreeArrays(tree)
            problems += [f"tree {index}: {problem}" for problem in arrays.problems(file)]
            read.append(arrays)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
            problems.append(f"tree {index}: {type(error).__name__}: {str(error)[:200]}")

    set_bytes = sum(arrays.set_bytes for arrays in read)
    if set_bytes > MAX_CATEGORY_BYTES:
        problems.append(
            f"categories: sets of {set_bytes:,} bytes, expected at most {MAX_CATEGORY_BYTES:,}"
        )

    if problems or not read:
        return problems

    return _node_problems(read, file.n_features)


def _node_problems(trees: Sequence[TreeArrays], n_features: int) -> list[str]:
    nodes = TreeNodes(
        sizes=np.array([tree.n_nodes for tree in trees], np.int64),
        left=np.concatenate([tree.left for tree in trees]),
        right=np.concatenate([tree.right for tree in trees]),
        is_leaf=np.concatenate([tree.is_leaf for tree in trees]),
        feature=np.concatenate([tree.feature for tree in trees]),
        threshold=np.concatenate([tree.condition for tree in trees]),
        compares=np.concatenate([~tree.by_category for tree in trees]),
        n_features=n_features,
        removed=np.concatenate([tree.removed for tree in trees]),
        fields=("left_children", "right_children", "split_indices", "split_conditions"),
    )

    return tree_problems(nodes)
