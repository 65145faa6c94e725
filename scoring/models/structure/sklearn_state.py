"""Whether state of scikit-learn's estimators that is no tree of decisions fits what C reads of it.

Search trees, metrics, neighbours, support vectors, centres, sparse matrices, splines and random generators: their
loops index with numbers of the model, and sizes of one array are taken for those of another.
"""

import functools
from typing import Any

import numpy as np
import numpy.typing as npt

NODE_FIELDS = ("idx_start", "idx_end", "is_leaf")
"""Of a search tree's nodes, what queries follow."""
NORMS = ("X_norm_squared", "Y_norm_squared")
"""A metric's parameters that would be read as if they had one number for each row."""
CLASSIFYING = ("c_svc", "nu_svc")
"""What libsvm does for classes; all else has one function."""
MAX_THREADS = 1024
MT19937_WORDS = 624
PHILOX_WORDS = 4


def search_tree_problems(path: str, tree: Any) -> list[str]:
    """Of a KDTree or BallTree: node i has the children 2i + 1 and 2i + 2, which share its points."""
    try:
        data, index, nodes, bounds, leaf_size, _, n_nodes, *_, metric, weight = tree.__getstate__()
    except (AttributeError, TypeError, ValueError) as error:
        return [f"{path}: expected the arrays of a search tree, found none ({error})"]
    if metric is None or any(np.ndim(array) < 1 for array in (data, index, nodes, bounds)):
        return [f"{path}: expected the arrays and the metric of a search tree, found none"]

    n_points, width = data.shape
    problems = metric_problems(f"{path}: metric", metric, data)
    is_kd = any(kind.__module__ == "sklearn.neighbors._kd_tree" for kind in type(tree).__mro__)
    n_parts = 2 if is_kd else 1
    if bounds.shape != (n_parts, n_nodes, width):
        problems.append(
            f"{path}: bounds of shape {bounds.shape}, expected {(n_parts, n_nodes, width)}"
        )
    if leaf_size < 1 or not 1 <= n_nodes == len(nodes):
        problems.append(
            f"{path}: {len(nodes)} nodes and leaves of {leaf_size} points, expected {n_nodes} nodes"
        )
    if weight is not None and len(weight) != n_points:
        problems.append(f"{path}: {len(weight)} weights, expected {n_points}, one for each point")
    if len(index) != n_points or not np.array_equal(np.sort(index), np.arange(n_points)):
        problems.append(f"{path}: expected every point from 0 to {n_points - 1} once in its index")
    return problems or _search_node_problems(path, nodes, n_points)


def _search_node_problems(path: str, nodes: npt.NDArray[Any], n_points: int) -> list[str]:
    start, end, is_leaf = (nodes[name].astype(np.int64) for name in NODE_FIELDS)
    if start[0] != 0 or end[0] != n_points:
        return [f"{path}, node 0: points {start[0]} to {end[0]}, expected 0 to {n_points}"]
    bad = (start < 0) | (start > end) | (end > n_points)

    parent = np.flatnonzero(is_leaf == 0)
    left, right = 2 * parent + 1, 2 * parent + 2
    bad[parent[right >= len(nodes)]] = True
    within = right < len(nodes)
    parent, left, right = parent[within], left[within], right[within]
    is_split = (
        (start[left] == start[parent]) & (end[left] == start[right]) & (end[right] == end[parent])
    )
    bad[parent[~is_split]] = True
    if not bad.any():
        return []
    return [
        f"{path}, node {int(np.argmax(bad))}: expected points that its two children share, or a leaf"
    ]


def metric_problems(path: str, metric: Any, data: npt.NDArray[Any] | None = None) -> list[str]:
    """Of a DistanceMetric: its weights or matrix are as wide as the data, which is not looked at again."""
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
    """Of estimators of neighbours: labels, samples and search tree are of the same rows, as wide as X."""
    state = vars(part)
    if "_fit_method" not in state:
        return []
    problems = []
    n_samples, width = state.get("n_samples_fit_"), state.get("n_features_in_")
    fitted, tree = _shape(state.get("_fit_X")), state.get("_tree")
    if fitted != (n_samples, width):
        problems.append(f"{path}._fit_X: shape {fitted}, expected {(n_samples, width)}")
    if tree is not None and _shape(getattr(tree, "data", None)) != (n_samples, width):
        problems.append(f"{path}._tree: shape {_shape(tree.data)}, expected {(n_samples, width)}")
    if "_y" in state and _n_rows(state["_y"]) != n_samples:
        problems.append(
            f"{path}._y: {_n_rows(state['_y'])} rows, expected {n_samples}, one for each sample"
        )
    if "classes_" in state:
        problems += _label_problems(path, state)
    parameters = state.get("effective_metric_params_") or {}
    problems += [
        f"{path}: expected no parameter {name} of its metric"
        for name in NORMS
        if name in parameters
    ]
    return problems


def _label_problems(path: str, state: dict[str, Any]) -> list[str]:
    """Votes are counted in a column for each class, by the number of a sample's label."""
    labels, classes = np.asarray(state.get("_y")), state["classes_"]
    n_outputs = len(classes) if state.get("outputs_2d_") else 1
    columns = labels if state.get("outputs_2d_") else labels.reshape(-1, 1)
    by_output = classes if state.get("outputs_2d_") else [classes]
    if columns.ndim != 2 or columns.shape[1] != n_outputs or columns.dtype.kind not in "iu":
        return [f"{path}._y: expected numbers of classes, {n_outputs} for each sample"]
    if not columns.size:
        return []
    return [
        f"{path}._y: class {low if low < 0 else high}, expected 0 to {_n_rows(own) - 1}"
        for low, high, own in zip(columns.min(axis=0), columns.max(axis=0), by_output, strict=True)
        if low < 0 or high >= _n_rows(own)
    ]


def _shape(array: Any) -> tuple[int, ...]:
    """Of a sparse matrix too."""
    shape = getattr(array, "shape", None)
    return tuple(shape) if shape is not None else np.shape(array)


def _n_rows(array: Any) -> int:
    shape = _shape(array)
    return shape[0] if shape else 0


def support_vector_problems(path: str, part: Any) -> list[str]:
    """Of libsvm's estimators: counts of vectors, coefficients, intercepts and probabilities, as C takes them."""
    state = vars(part)
    if "support_" not in state:
        return []
    names = (
        "support_",
        "support_vectors_",
        "_n_support",
        "_dual_coef_",
        "_intercept_",
        "_probA",
        "_probB",
    )
    missing = [name for name in (*names, "shape_fit_", "_sparse") if state.get(name) is None]
    if missing:
        return [f"{path}: expected {', '.join(missing)}, found none"]
    support, vectors, counts, coefficients, intercept, a, b = (state[name] for name in names)
    n_classes, n_vectors = np.size(counts), np.size(support)
    n_pairs = n_classes * (n_classes - 1) // 2
    is_classifying = getattr(part, "_impl", None) in CLASSIFYING

    if n_classes < 2 or (n_classes > 2 and not is_classifying):
        return [f"{path}._n_support: {n_classes} counts, expected 2, or one for each class"]
    problems = []
    counted = np.asarray(counts, dtype=np.int64)
    if is_classifying and ((counted < 0).any() or counted.sum() != n_vectors):
        problems.append(
            f"{path}._n_support: expected counts of {n_vectors} vectors, found {counted.tolist()}"
        )
    if _shape(coefficients) != (n_classes - 1, n_vectors):
        problems.append(
            f"{path}._dual_coef_: shape {_shape(coefficients)}, expected {(n_classes - 1, n_vectors)}"
        )
    if np.size(intercept) != n_pairs:
        problems.append(f"{path}._intercept_: {np.size(intercept)} numbers, expected {n_pairs}")
    if np.size(a) != np.size(b) or np.size(a) not in (0, n_pairs):
        problems.append(
            f"{path}._probA: {np.size(a)} and {np.size(b)} numbers, expected {n_pairs} or none"
        )
    return problems + _vector_problems(path, part, np.asarray(support), vectors, coefficients)


def _vector_problems(
    path: str, part: Any, support: npt.NDArray[Any], vectors: Any, coefficients: Any
) -> list[str]:
    """The vectors themselves; a kernel that is computed before has their numbers instead."""
    from scipy.sparse import issparse

    kernel, width, n_fit = part.kernel, vars(part).get("n_features_in_"), part.shape_fit_[0]
    is_sparse = bool(part._sparse)
    if is_sparse != issparse(vectors) or is_sparse != issparse(coefficients):
        return [
            f"{path}: expected support_vectors_ and _dual_coef_ that are sparse where _sparse says so"
        ]
    if is_sparse and np.size(coefficients.data) != (np.prod(_shape(coefficients))):
        return [f"{path}._dual_coef_: expected a number in every place"]

    if callable(kernel) or kernel == "precomputed":
        problems = []
        if is_sparse or np.size(vectors):
            problems.append(
                f"{path}: expected no sparse vectors beside a kernel that is computed before"
            )
        if len(support) and (support.min() < 0 or support.max() >= n_fit):
            problems.append(f"{path}.support_: expected numbers from 0 to {n_fit - 1}")
        # What a function gives is as wide as what it was trained with; a ufunc's result is not.
        seen = vars(part).get("_BaseLibSVM__Xfit")
        function = kernel
        while isinstance(function, functools.partial):
            function = function.func
        if callable(kernel) and (isinstance(function, np.ufunc) or _n_rows(seen) != n_fit):
            problems.append(f"{path}.kernel: expected a function of X and {n_fit} samples")
        return problems
    if _shape(vectors) != (len(support), width):
        return [
            f"{path}.support_vectors_: shape {_shape(vectors)}, expected {(len(support), width)}"
        ]
    return []


def centers_problems(path: str, part: Any) -> list[str]:
    """Of k-means: centres as wide as X; those of bisecting k-means are in a tree."""
    state = vars(part)
    if "cluster_centers_" not in state:
        return []
    width, n_threads = state.get("n_features_in_"), state.get("_n_threads", 1)
    problems = []
    shape = np.shape(state["cluster_centers_"])
    if len(shape) != 2 or not shape[0] or shape[1] != width:
        problems.append(
            f"{path}.cluster_centers_: shape {shape}, expected one or more rows of {width} columns"
        )
    if not isinstance(n_threads, int | np.integer) or not 1 <= n_threads <= MAX_THREADS:
        problems.append(
            f"{path}._n_threads: expected 1 to {MAX_THREADS} threads, found {n_threads}"
        )

    waiting, seen = [state.get("_bisecting_tree")], set()
    while waiting:
        node = waiting.pop()
        if node is None:
            continue
        if id(node) in seen:
            return [*problems, f"{path}._bisecting_tree: expected one way to each cluster"]
        seen.add(id(node))
        if _shape(getattr(node, "center", None)) != (width,):
            return [*problems, f"{path}._bisecting_tree: expected centers of {width} numbers"]
        waiting += [getattr(node, "left", None), getattr(node, "right", None)]
    return problems


def sparse_problems(path: str, matrix: Any) -> list[str]:
    """Of SciPy's sparse matrices and arrays: whatever form it has, its numbers are within its shape."""
    try:
        if matrix.format in ("csr", "csc", "bsr"):
            matrix.check_format(full_check=True)
        elif matrix.format == "coo":
            matrix._check()
        elif matrix.format == "dia" and matrix.data.shape[:1] != matrix.offsets.shape:
            return [
                f"{path}: {len(matrix.offsets)} offsets, expected {len(matrix.data)}, one for each diagonal"
            ]
        elif matrix.format == "lil":
            return _list_problems(path, matrix)
    except (ValueError, TypeError, AttributeError, IndexError) as error:
        return [f"{path}: a sparse matrix whose parts do not fit: {error}"]
    return []


def _list_problems(path: str, matrix: Any) -> list[str]:
    n_rows, n_columns = matrix.shape
    if matrix.rows.shape != (n_rows,) or matrix.data.shape != (n_rows,):
        return [f"{path}: a sparse matrix of {len(matrix.rows)} lists, expected {n_rows}"]
    lengths = [len(row) for row in matrix.rows]
    columns = np.array([column for row in matrix.rows for column in row], dtype=np.int64)
    if (
        lengths != [len(row) for row in matrix.data]
        or ((columns < 0) | (columns >= n_columns)).any()
    ):
        return [f"{path}: a sparse matrix with columns outside of 0 to {n_columns - 1}"]
    return []


def spline_problems(path: str, spline: Any) -> list[str]:
    """Of SciPy's B-splines: as many coefficients as knots ask for."""
    knots, degree, coefficients = (
        np.asarray(getattr(spline, name, None)) for name in ("t", "k", "c")
    )
    if knots.ndim != 1 or knots.dtype.kind != "f" or degree.ndim or degree.dtype.kind not in "iu":
        return [f"{path}: expected knots and a degree of a spline"]
    n_bases = len(knots) - int(degree) - 1
    if degree < 0 or n_bases < degree + 1 or coefficients.ndim < 1 or len(coefficients) < n_bases:
        return [f"{path}: {len(knots)} knots and degree {degree}, expected {n_bases} coefficients"]
    if not np.isfinite(knots).all() or (np.diff(knots) < 0).any():
        return [f"{path}: expected knots in order, all of them finite"]
    return []


def generator_problems(path: str, generator: Any) -> list[str]:
    """Of NumPy's bit generators: the place in their words, which C goes on from."""
    state = generator.state
    place, n_words = 0, MT19937_WORDS
    if state["bit_generator"] == "MT19937":
        place = state["state"]["pos"]
    if state["bit_generator"] == "Philox":
        place, n_words = state["buffer_pos"], PHILOX_WORDS
    if 0 <= place <= n_words:
        return []
    return [f"{path}: place {place} of a random generator, expected 0 to {n_words}"]
