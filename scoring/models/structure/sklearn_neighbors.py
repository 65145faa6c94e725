"""Whether search trees, metrics and neighbors of scikit-learn fit what C reads of them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from nightscore.models.structure.shapes import n_rows, shape_of

NODE_FIELDS = ("idx_start", "idx_end", "is_leaf")
"""What queries follow of a search tree's nodes."""
NORMS = ("X_norm_squared", "Y_norm_squared")
"""Parameters of a metric that would be read as if they had one number for each row."""


def search_tree_problems(path: str, tree: Any) -> list[str]:
    """What is wrong with a KDTree or BallTree.

    Node i has the children 2i + 1 and 2i + 2, which share its points.
    """
    try:
        data, index, nodes, bounds, leaf_size, _, n_nodes, *_, metric, weight = tree.__getstate__()
    except (AttributeError, TypeError, ValueError) as error:
        return [f"{path}: expected the arrays of a search tree, found none ({error})"]

    if metric is None or any(np.ndim(array) < 1 for array in (data, index, nodes, bounds)):
        return [f"{path}: expected the arrays and the metric of a search tree, found none"]

    n_points, width = data.shape
    problems = metric_problems(f"{path}: metric", metric, data)
    expected = (_n_bounds(tree), n_nodes, width)

    if bounds.shape != expected:
        problems.append(f"{path}: bounds of shape {bounds.shape}, expected {expected}")

    if leaf_size < 1 or not 1 <= n_nodes == len(nodes):
        problems.append(
            f"{path}: {len(nodes)} nodes and leaves of {leaf_size} points, expected {n_nodes} nodes"
        )

    if weight is not None and len(weight) != n_points:
        problems.append(f"{path}: {len(weight)} weights, expected {n_points}, one for each point")
    if len(index) != n_points or not np.array_equal(np.sort(index), np.arange(n_points)):
        problems.append(f"{path}: expected every point from 0 to {n_points - 1} once in its index")

    return problems or _search_node_problems(path, nodes, n_points)


def _n_bounds(tree: Any) -> int:
    """A box has two corners, a ball one center."""
    modules = [base.__module__ for base in type(tree).__mro__]
    return 2 if "sklearn.neighbors._kd_tree" in modules else 1


def _search_node_problems(path: str, nodes: npt.NDArray[Any], n_points: int) -> list[str]:
    start, end, is_leaf = (nodes[name].astype(np.int64) for name in NODE_FIELDS)
    if start[0] != 0 or end[0] != n_points:
        return [f"{path}, node 0: points {start[0]} to {end[0]}, expected 0 to {n_points}"]

    is_bad = (start < 0) | (start > end) | (end > n_points)
    parent = np.flatnonzero(is_leaf == 0)
    is_inside = 2 * parent + 2 < len(nodes)
    is_bad[parent[~is_inside]] = True

    parent = parent[is_inside]
    left, right = 2 * parent + 1, 2 * parent + 2
    begins = start[left] == start[parent]
    meets = end[left] == start[right]
    ends = end[right] == end[parent]
    is_bad[parent[~(begins & meets & ends)]] = True

    if not is_bad.any():
        return []

    node = int(np.argmax(is_bad))
    return [f"{path}, node {node}: expected points that its two children share, or a leaf"]


def metric_problems(path: str, metric: Any, data: npt.NDArray[Any] | None = None) -> list[str]:
    """What is wrong with a DistanceMetric: its weights or matrix must be as wide as the data."""
    try:
        matrix = metric.__getstate__()[2]
        if data is not None:
            metric._validate_data(data)
    except (AttributeError, TypeError, ValueError) as error:
        return [f"{path}: {error}"]

    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        return [f"{path}: a matrix of shape {matrix.shape}, expected as many rows as columns"]

    return []


def neighbors_problems(path: str, part: Any) -> list[str]:
    """What is wrong with an estimator of neighbors.

    Labels, samples and search tree must have the same rows, and be as wide as X.
    """
    state = vars(part)
    if "_fit_method" not in state:
        return []

    problems = []
    n_samples = state.get("n_samples_fit_")
    expected = (n_samples, state.get("n_features_in_"))
    fitted, tree = shape_of(state.get("_fit_X")), state.get("_tree")

    if fitted != expected:
        problems.append(f"{path}._fit_X: shape {fitted}, expected {expected}")
    if tree is not None and shape_of(getattr(tree, "data", None)) != expected:
        problems.append(f"{path}._tree: shape {shape_of(tree.data)}, expected {expected}")

    if "_y" in state and n_rows(state["_y"]) != n_samples:
        n_labels = n_rows(state["_y"])
        problems.append(f"{path}._y: {n_labels} rows, expected {n_samples}, one for each sample")

    if "classes_" in state:
        problems += _label_problems(path, state)

    return problems + _norm_problems(path, state.get("effective_metric_params_") or {})


def _norm_problems(path: str, parameters: Mapping[str, Any]) -> list[str]:
    names = [name for name in NORMS if name in parameters]
    return [f"{path}: expected no parameter {name} of its metric" for name in names]


def _label_problems(path: str, state: dict[str, Any]) -> list[str]:
    """Votes are counted in a column for each class, by the number of a sample's label."""
    labels, classes = np.asarray(state.get("_y")), state["classes_"]
    columns, by_output = labels.reshape(-1, 1), [classes]

    if state.get("outputs_2d_"):
        columns, by_output = labels, classes

    n_outputs = len(by_output)
    if columns.ndim != 2 or columns.shape[1] != n_outputs or columns.dtype.kind not in "iu":
        return [f"{path}._y: expected numbers of classes, {n_outputs} for each sample"]
    if not columns.size:
        return []

    problems = []
    ranges = zip(columns.min(axis=0), columns.max(axis=0), by_output, strict=True)

    for low, high, known in ranges:
        last = n_rows(known) - 1
        if low < 0 or high > last:
            wrong = low if low < 0 else high
            problems.append(f"{path}._y: class {wrong}, expected 0 to {last}")

    return problems
