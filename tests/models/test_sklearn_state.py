"""Search trees, support vectors, neighbours and the like are refused where their parts do not fit each other."""

import copy
import pickle
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from scipy import sparse
from sklearn.cluster import BisectingKMeans, KMeans, MiniBatchKMeans
from sklearn.impute import KNNImputer
from sklearn.metrics import DistanceMetric
from sklearn.neighbors import (
    BallTree,
    KDTree,
    KernelDensity,
    KNeighborsClassifier,
    KNeighborsRegressor,
    KNeighborsTransformer,
    LocalOutlierFactor,
    NearestNeighbors,
    RadiusNeighborsClassifier,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import SplineTransformer
from sklearn.semi_supervised import LabelSpreading
from sklearn.svm import SVC, SVR, LinearSVC, NuSVC, NuSVR, OneClassSVM

from nightscore.errors import ModelStructureError
from nightscore.models.structure.sklearn_estimators import check_estimator

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4))
SPARSE = sparse.csr_matrix(np.where(X > 0, X, 0.0))
TWO = (X[:, 0] > 0).astype(int)
THREE = np.digitize(X[:, 0] + X[:, 1], [-0.5, 0.5])
SEVERAL = np.column_stack([TWO, THREE])


def inner_product(left: Any, right: Any) -> Any:
    """A kernel of one's own."""
    return left @ right.T


SOUND: dict[str, Callable[[], Any]] = {
    "svc": lambda: SVC().fit(X, TWO),
    "svc three": lambda: SVC().fit(X, THREE),
    "svc sparse": lambda: SVC(kernel="linear").fit(SPARSE, THREE),
    "svc precomputed": lambda: SVC(kernel="precomputed").fit(X @ X.T, THREE),
    "svc function": lambda: SVC(kernel=inner_product).fit(X, TWO),
    "nusvc": lambda: NuSVC(nu=0.2).fit(X, THREE),
    "svr": lambda: SVR().fit(X, X[:, 0]),
    "svr without vectors": lambda: SVR(epsilon=100).fit(X, X[:, 0]),
    "svr sparse": lambda: SVR().fit(SPARSE, X[:, 0]),
    "nusvr": lambda: NuSVR().fit(X, X[:, 0]),
    "one class": lambda: OneClassSVM().fit(X),
    "linear svc": lambda: LinearSVC().fit(X, TWO),
    "svc unfitted": SVC,
    "neighbors": lambda: NearestNeighbors(algorithm="brute").fit(X),
    "neighbors sparse": lambda: NearestNeighbors().fit(SPARSE),
    "neighbors precomputed": lambda: NearestNeighbors(metric="precomputed").fit(np.abs(X @ X.T)),
    "knn kd": lambda: KNeighborsClassifier(algorithm="kd_tree", leaf_size=3).fit(X, THREE),
    "knn ball": lambda: KNeighborsClassifier(algorithm="ball_tree", leaf_size=3).fit(X, SEVERAL),
    "knn brute": lambda: KNeighborsClassifier(algorithm="brute").fit(X, SEVERAL),
    "knn column": lambda: KNeighborsClassifier(algorithm="brute").fit(
        X, np.array(list("abc"))[THREE]
    ),
    "knn mahalanobis": lambda: KNeighborsRegressor(
        algorithm="ball_tree", metric="mahalanobis", metric_params={"VI": np.eye(4)}
    ).fit(X, SEVERAL.astype(float)),
    "knn weighted": lambda: KNeighborsRegressor(metric_params={"w": np.ones(4)}).fit(X, X[:, 0]),
    "knn transformer": lambda: KNeighborsTransformer().fit(X),
    "radius": lambda: RadiusNeighborsClassifier(radius=5.0).fit(X, THREE),
    "outlier": lambda: LocalOutlierFactor(novelty=True).fit(X),
    "density": lambda: KernelDensity(leaf_size=2).fit(X, sample_weight=np.ones(60)),
    "spreading": lambda: LabelSpreading(kernel="knn").fit(X, THREE),
    "imputer": lambda: KNNImputer().fit(X),
    "kmeans": lambda: KMeans(3, n_init=1).fit(X),
    "mini batches": lambda: MiniBatchKMeans(3, n_init=1).fit(X),
    "bisecting": lambda: BisectingKMeans(4).fit(X),
    "splines": lambda: make_pipeline(
        SplineTransformer(), SplineTransformer(extrapolation="periodic")
    ).fit(X),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", SOUND)
def test_what_the_library_has_trained_is_sound(name: str) -> None:
    model = SOUND[name]()
    check_estimator(model, "model.pkl")
    check_estimator(pickle.loads(pickle.dumps(model)), "model.pkl")


@pytest.mark.parametrize("n_points", [*range(1, 40), 1_000])
@pytest.mark.parametrize("kind", [KDTree, BallTree])
def test_search_trees_of_any_size_are_sound(kind: Any, n_points: int) -> None:
    data = np.random.default_rng(n_points).normal(size=(n_points, 3))
    check_estimator([kind(data, leaf_size=size) for size in (1, 2, 3, 40)], "model.pkl")


def refused(estimator: Any) -> str:
    with pytest.raises(ModelStructureError) as caught:
        check_estimator(estimator, "model.pkl")
    return str(caught.value)


def set_node(node: int, field: str, value: int) -> Callable[[list[Any]], None]:
    def change(state: list[Any]) -> None:
        state[2][field][node] = value

    return change


def set_state(place: int, make: Callable[[Any], Any]) -> Callable[[list[Any]], None]:
    def change(state: list[Any]) -> None:
        state[place] = make(state[place])

    return change


SEARCH_FAULTS: list[tuple[Callable[[list[Any]], None], str]] = [
    (set_node(0, "idx_end", 61), "node 0: points 0 to 61, expected 0 to 60"),
    (set_node(2, "idx_end", 10**9), "node 0: expected points that its two children share"),
    (set_node(6, "is_leaf", 0), "node 6: expected points that its two children share, or a leaf"),
    (set_node(5, "idx_start", -4), "node 2: expected points"),
    (set_state(1, lambda index: index + 1), "expected every point from 0 to 59 once in its index"),
    (set_state(1, lambda index: index[:10].copy()), "expected every point"),
    (set_state(0, lambda data: data[:10].copy()), "expected every point from 0 to 9"),
    (set_state(0, lambda data: np.hstack([data, data])), "bounds of shape"),
    (
        set_state(2, lambda nodes: nodes[:3].copy()),
        "3 nodes and leaves of 10 points, expected 7 nodes",
    ),
    (set_state(3, lambda bounds: bounds[:, :2].copy()), "bounds of shape"),
    (set_state(4, lambda _: 0), "leaves of 0 points"),
    (set_state(6, lambda _: 10**6), "7 nodes and leaves of 10 points, expected 1000000 nodes"),
    (set_state(11, lambda _: None), "expected the arrays and the metric"),
    (
        set_state(11, lambda _: DistanceMetric.get_metric("mahalanobis", VI=np.eye(9))),
        "size of V does not match",
    ),
    (set_state(12, lambda _: np.ones(3)), "3 weights, expected 60"),
]


@pytest.mark.parametrize("kind", [KDTree, BallTree])
@pytest.mark.parametrize(("change", "message"), SEARCH_FAULTS)
def test_a_broken_search_tree(kind: Any, change: Callable[[list[Any]], None], message: str) -> None:
    model = KernelDensity().fit(X)
    tree = kind(X, leaf_size=10)
    state = [part.copy() if isinstance(part, np.ndarray) else part for part in tree.__getstate__()]
    change(state)
    tree.__setstate__(tuple(state))
    model.tree_ = tree

    text = refused(model)

    assert message in text
    assert "model.tree_" in text


def test_a_metric_with_a_matrix_that_is_no_square() -> None:
    metric = DistanceMetric.get_metric("mahalanobis", VI=np.eye(4))
    power, vector, _ = metric.__getstate__()
    metric.__setstate__((power, vector, np.ones((4, 1))))
    assert "a matrix of shape (4, 1)" in refused(NearestNeighbors(metric=metric).fit(X))


STATE_FAULTS: list[tuple[str, str, Any, str]] = [
    (
        "svc three",
        "_n_support",
        np.array([1, 1, 10**6], np.int32),
        "_n_support: expected counts of",
    ),
    ("svc three", "_n_support", np.array([-1, 31, 30], np.int32), "_n_support: expected counts of"),
    ("svc three", "_n_support", np.array([60], np.int32), "_n_support: 1 counts"),
    ("svc three", "_dual_coef_", np.ones((1, 2)), "_dual_coef_: shape (1, 2), expected (2, "),
    ("svc three", "_intercept_", np.ones(1), "_intercept_: 1 numbers, expected 3"),
    ("svc three", "_probA", np.ones(1), "_probA: 1 and 0 numbers, expected 3 or none"),
    ("svc three", "support_", np.ones(500, np.int32), "_n_support: expected counts of 500"),
    (
        "svc three",
        "support_vectors_",
        np.ones((3, 4)),
        "support_vectors_: shape (3, 4), expected (",
    ),
    ("svc three", "n_features_in_", 9, "support_vectors_: shape"),
    ("svc three", "_sparse", True, "that are sparse where _sparse says so"),
    ("svc three", "_intercept_", None, "expected _intercept_, found none"),
    ("svr", "_n_support", np.array([1, 1, 1], np.int32), "_n_support: 3 counts, expected 2"),
    ("svr", "support_", np.ones(900, np.int32), "_dual_coef_: shape"),
    ("svc sparse", "_dual_coef_", sparse.csr_matrix((2, 60)), "_dual_coef_: "),
    (
        "svc precomputed",
        "support_",
        np.array([10**6], np.int32),
        "support_: expected numbers from 0 to 59",
    ),
    ("svc function", "kernel", np.add, "kernel: expected a function of X and 60 samples"),
    (
        "svc function",
        "kernel",
        partial(partial(np.add)),
        "kernel: expected a function of X and 60 samples",
    ),
    ("svc function", "_BaseLibSVM__Xfit", X[:3], "kernel: expected a function of X and 60 samples"),
    ("knn brute", "_y", SEVERAL[:10], "_y: 10 rows, expected 60"),
    ("knn brute", "_y", SEVERAL + 10**6, "_y: class 1000001, expected 0 to 1"),
    ("knn column", "_y", THREE - 1, "_y: class -1, expected 0 to 2"),
    ("knn column", "classes_", np.array(["a"]), "_y: class 2, expected 0 to 0"),
    ("knn column", "outputs_2d_", True, "_y: expected numbers of classes, 3 for each sample"),
    ("radius", "classes_", np.array([]), "_y: class 2, expected 0 to -1"),
    ("neighbors", "_fit_X", np.hstack([X, X]), "_fit_X: shape (60, 8), expected (60, 4)"),
    ("neighbors", "n_samples_fit_", 10**6, "_fit_X: shape (60, 4), expected (1000000, 4)"),
    (
        "neighbors",
        "effective_metric_params_",
        {"Y_norm_squared": np.ones(1)},
        "no parameter Y_norm_squared",
    ),
    ("knn kd", "_tree", KDTree(X[:10]), "_tree: shape (10, 4), expected (60, 4)"),
    ("kmeans", "cluster_centers_", np.ones((3, 2)), "cluster_centers_: shape (3, 2)"),
    ("mini batches", "n_features_in_", 9, "expected one or more rows of 9 columns"),
    ("kmeans", "_n_threads", 10**6, "_n_threads: expected 1 to 1024 threads"),
    ("svc three", "shape_fit_", 4, "state of other types than expected (TypeError"),
    ("kmeans", "cluster_centers_", "none", "cluster_centers_: shape ()"),
    ("bisecting", "n_features_in_", 9, "_bisecting_tree: expected centers of 9 numbers"),
]


@pytest.mark.parametrize(("name", "attribute", "value", "message"), STATE_FAULTS)
def test_state_that_does_not_fit(name: str, attribute: str, value: Any, message: str) -> None:
    model = SOUND[name]()
    setattr(model, attribute, value)
    assert message in refused([model])


def test_clusters_in_a_circle() -> None:
    model = SOUND["bisecting"]()
    model._bisecting_tree.left = model._bisecting_tree
    assert "expected one way to each cluster" in refused(model)


def broken(matrix: Any, name: str, value: Any) -> Any:
    setattr(matrix, name, value)
    return matrix


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: broken(SPARSE.copy(), "indices", SPARSE.indices + 10**6), "do not fit"),
        (lambda: broken(SPARSE.copy(), "indices", SPARSE.indices - 100), "do not fit"),
        (lambda: broken(SPARSE.copy(), "indptr", SPARSE.indptr[:9]), "do not fit"),
        (lambda: broken(SPARSE.copy(), "indptr", SPARSE.indptr[::-1].copy()), "do not fit"),
        (lambda: broken(SPARSE.tocsc(), "data", SPARSE.data[:5]), "do not fit"),
        (lambda: broken(SPARSE.tocoo(), "coords", (np.array([99]), np.array([0]))), "do not fit"),
        (lambda: broken(SPARSE.todia(), "offsets", np.arange(500)), "500 offsets"),
        (lambda: broken(SPARSE.tolil(), "rows", SPARSE.tolil().rows[:4]), "4 lists, expected 60"),
    ],
)
def test_a_broken_sparse_matrix(make: Callable[[], Any], message: str) -> None:
    for form in (
        SPARSE,
        SPARSE.tocoo(),
        SPARSE.tobsr(),
        SPARSE.todia(),
        SPARSE.tolil(),
        SPARSE.todok(),
    ):
        check_estimator(form, "model.pkl")
    model = SOUND["neighbors sparse"]()
    model._fit_X = make()
    text = refused(model)
    assert "model._fit_X: " in text
    assert message in text


def test_columns_of_lists_outside() -> None:
    matrix = SPARSE.tolil()
    matrix.rows[0] = [100] * len(matrix.rows[0])
    assert "columns outside of 0 to 3" in refused([matrix])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("k", 40),
        ("k", -1),
        ("_t", np.arange(500.0)),
        ("_c", np.ones(1)),
        ("_t", np.full(10, np.nan)),
    ],
)
def test_a_broken_spline(name: str, value: Any) -> None:
    model = SplineTransformer().fit(X)
    model.bsplines_ = copy.deepcopy(model.bsplines_)
    setattr(model.bsplines_[1], name, value)
    assert "model.bsplines_[1]: " in refused(model)


def test_a_random_generator_beyond_its_words() -> None:
    legacy, new = np.random.RandomState(1), np.random.Generator(np.random.Philox(1))
    check_estimator([legacy, new, np.random.default_rng(1)], "model.pkl")
    state = legacy._bit_generator.state
    state["state"]["pos"] = 10**6
    legacy._bit_generator.state = state
    text = refused({"random_state": legacy, "other": new})
    assert "model['random_state']: place 1000000 of a random generator, expected 0 to 624" in text
