"""Whether support vectors and cluster centers of scikit-learn fit what C reads of them."""

import functools
from typing import Any

import numpy as np
import numpy.typing as npt

from nightscore.models.structure.shapes import n_rows, shape_of

CLASSIFYING = ("c_svc", "nu_svc")
"""What libsvm does for classes. Everything else has one function."""
MAX_THREADS = 1024
SUPPORT_STATE = (
    "support_",
    "support_vectors_",
    "_n_support",
    "_dual_coef_",
    "_intercept_",
    "_probA",
    "_probB",
)


def support_vector_problems(path: str, part: Any) -> list[str]:
    """What is wrong with counts, coefficients, intercepts and vectors of libsvm's estimators."""
    state = vars(part)
    if "support_" not in state:
        return []

    required = (*SUPPORT_STATE, "shape_fit_", "_sparse")
    missing = [name for name in required if state.get(name) is None]
    if missing:
        return [f"{path}: expected {', '.join(missing)}, found none"]

    n_classes = np.size(state["_n_support"])

    is_classifying = getattr(part, "_impl", None) in CLASSIFYING
    if n_classes < 2 or (n_classes > 2 and not is_classifying):
        return [f"{path}._n_support: {n_classes} counts, expected 2, or one for each class"]

    problems = _count_problems(path, state, is_classifying=is_classifying)
    problems += _coefficient_problems(path, state, n_classes)

    return problems + _vector_problems(path, part)


def _count_problems(path: str, state: dict[str, Any], *, is_classifying: bool) -> list[str]:
    """Vectors of each class. Other estimators must have numbers too, whatever these say."""
    counts = np.asarray(state["_n_support"], dtype=np.int64)
    n_vectors = np.size(state["support_"])
    if not is_classifying or ((counts >= 0).all() and counts.sum() == n_vectors):
        return []
    return [f"{path}._n_support: expected counts of {n_vectors} vectors, found {counts.tolist()}"]


def _coefficient_problems(path: str, state: dict[str, Any], n_classes: int) -> list[str]:
    """Coefficients of each vector, and intercepts and probabilities of each pair of classes."""
    n_pairs = n_classes * (n_classes - 1) // 2
    expected = (n_classes - 1, np.size(state["support_"]))
    problems = []

    shape = shape_of(state["_dual_coef_"])
    if shape != expected:
        problems.append(f"{path}._dual_coef_: shape {shape}, expected {expected}")

    n_intercepts = np.size(state["_intercept_"])
    if n_intercepts != n_pairs:
        problems.append(f"{path}._intercept_: {n_intercepts} numbers, expected {n_pairs}")

    n_a, n_b = np.size(state["_probA"]), np.size(state["_probB"])
    if n_a != n_b or n_a not in (0, n_pairs):
        problems.append(f"{path}._probA: {n_a} and {n_b} numbers, expected {n_pairs} or none")

    return problems


def _vector_problems(path: str, part: Any) -> list[str]:
    """The vectors themselves."""
    from scipy.sparse import issparse

    state = vars(part)
    vectors, coefficients = state["support_vectors_"], state["_dual_coef_"]
    n_fit = part.shape_fit_[0]

    is_sparse = bool(part._sparse)
    if is_sparse != issparse(vectors) or is_sparse != issparse(coefficients):
        return [
            f"{path}: expected support_vectors_ and _dual_coef_ that are sparse where _sparse "
            "says so"
        ]

    if is_sparse and np.size(coefficients.data) != np.prod(shape_of(coefficients)):
        return [f"{path}._dual_coef_: expected a number in every place"]

    if callable(part.kernel) or part.kernel == "precomputed":
        return _kernel_problems(path, part, n_fit)

    expected = (len(np.asarray(state["support_"])), state.get("n_features_in_"))
    if shape_of(vectors) != expected:
        return [f"{path}.support_vectors_: shape {shape_of(vectors)}, expected {expected}"]

    return []


def _kernel_problems(path: str, part: Any, n_fit: int) -> list[str]:
    """A kernel that is computed before has the numbers of vectors in place of vectors."""
    state = vars(part)
    support: npt.NDArray[Any] = np.asarray(state["support_"])
    problems = []

    if bool(part._sparse) or np.size(state["support_vectors_"]):
        problems.append(
            f"{path}: expected no sparse vectors beside a kernel that is computed before"
        )

    if len(support) and (support.min() < 0 or support.max() >= n_fit):
        problems.append(f"{path}.support_: expected numbers from 0 to {n_fit - 1}")

    # A function's result is as wide as what it was trained with. A ufunc's result is not.
    function = part.kernel
    while isinstance(function, functools.partial):
        function = function.func

    samples = state.get("_BaseLibSVM__Xfit")
    is_wrong = isinstance(function, np.ufunc) or n_rows(samples) != n_fit
    if callable(part.kernel) and is_wrong:
        problems.append(f"{path}.kernel: expected a function of X and {n_fit} samples")

    return problems


def centers_problems(path: str, part: Any) -> list[str]:
    """What is wrong with k-means: centers as wide as X. Bisecting k-means has them in a tree."""
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

    return problems + _bisecting_problems(path, state.get("_bisecting_tree"), width)


def _bisecting_problems(path: str, root: Any, width: Any) -> list[str]:
    waiting, seen = [root], set()
    while waiting:
        node = waiting.pop()
        if node is None:
            continue
        if id(node) in seen:
            return [f"{path}._bisecting_tree: expected one way to each cluster"]

        seen.add(id(node))

        if shape_of(getattr(node, "center", None)) != (width,):
            return [f"{path}._bisecting_tree: expected centers of {width} numbers"]

        waiting += [getattr(node, "left", None), getattr(node, "right", None)]

    return []
