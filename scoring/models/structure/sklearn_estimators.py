"""Whether what scikit-learn's estimators pass to machine code fits: checked once, after loading.

An estimator is Python, which raises if something does not fit. Below it are loops in C over trees,
search trees, sparse matrices and support vectors, which do not look. Each of these is found
wherever it is in the estimator, and checked.
"""

from collections.abc import Callable
from typing import Any

from nightscore.models.structure.lightgbm_trees import check_lightgbm
from nightscore.models.structure.object_graph import is_a, walk
from nightscore.models.structure.sklearn_encoders import (
    hasher_problems,
    one_hot_problems,
    vocabulary_problems,
)
from nightscore.models.structure.sklearn_ensembles import (
    add_tree,
    boosting_problems,
    forest_problems,
    hist_boosting_problems,
    isolation_problems,
)
from nightscore.models.structure.sklearn_neighbors import (
    metric_problems,
    neighbors_problems,
    search_tree_problems,
)
from nightscore.models.structure.sklearn_state import (
    generator_problems,
    sparse_problems,
    spline_problems,
)
from nightscore.models.structure.sklearn_trees import sklearn_problems
from nightscore.models.structure.sklearn_vectors import centers_problems, support_vector_problems
from nightscore.models.structure.tree_nodes import refuse
from nightscore.models.structure.xgboost_trees import check_xgboost

Check = Callable[[str, Any], list[str]]
"""Takes the path to an object, and the object; returns what is wrong with it."""

STATE_CHECKS: tuple[tuple[str, str, Check], ...] = (
    ("scipy.sparse._base", "_spbase", sparse_problems),
    ("scipy.interpolate._bsplines", "BSpline", spline_problems),
    ("numpy.random.bit_generator", "BitGenerator", generator_problems),
    ("sklearn.neighbors._kd_tree", "BinaryTree64", search_tree_problems),
    ("sklearn.neighbors._kd_tree", "BinaryTree32", search_tree_problems),
    ("sklearn.neighbors._ball_tree", "BinaryTree64", search_tree_problems),
    ("sklearn.neighbors._ball_tree", "BinaryTree32", search_tree_problems),
    ("sklearn.metrics._dist_metrics", "DistanceMetric", metric_problems),
    ("sklearn.neighbors._base", "NeighborsBase", neighbors_problems),
    ("sklearn.svm._base", "BaseLibSVM", support_vector_problems),
    ("sklearn.cluster._kmeans", "_BaseKMeans", centers_problems),
    ("sklearn.preprocessing._encoders", "OneHotEncoder", one_hot_problems),
    ("sklearn.preprocessing._label", "MultiLabelBinarizer", vocabulary_problems),
    ("sklearn.feature_extraction.text", "CountVectorizer", vocabulary_problems),
    ("sklearn.feature_extraction._dict_vectorizer", "DictVectorizer", vocabulary_problems),
    ("sklearn.feature_extraction.text", "HashingVectorizer", hasher_problems),
    ("sklearn.feature_extraction._hash", "FeatureHasher", hasher_problems),
)
"""Module and name of a class, and the check of its objects."""
ENSEMBLE_CHECKS: tuple[tuple[str, str, Check], ...] = (
    ("sklearn.ensemble._forest", "BaseForest", forest_problems),
    ("sklearn.ensemble._gb", "BaseGradientBoosting", boosting_problems),
    ("sklearn.ensemble._iforest", "IsolationForest", isolation_problems),
    (
        "sklearn.ensemble._hist_gradient_boosting.gradient_boosting",
        "BaseHistGradientBoosting",
        hist_boosting_problems,
    ),
)
STRANGE = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""Raised if state is not even of the types that are expected."""
VECTORIZERS = ("CountVectorizer", "HashingVectorizer")


def check_estimator(estimator: Any, where: str) -> None:
    """Refuse an estimator whose parts point outside of their arrays, or in circles.

    Args:
        estimator: As it was loaded. Nothing of it has been called yet.
        where: Its file, for the error.

    Raises:
        ModelStructureError: With every kind of fault. The estimator must not be used.
    """
    problems: list[str] = []
    trees: dict[int, tuple[str, Any, int]] = {}
    checks: dict[type, list[Check]] = {}

    for path, part in walk(estimator):
        if type(part) not in checks:  # there are very many objects of a few types
            checks[type(part)] = _checks_of(part)

        for check in checks[type(part)]:
            problems += _problems_of(check, path, part)

        if is_a(part, "sklearn.tree._tree", "Tree"):
            trees.setdefault(id(part), (path, part, part.n_features))
        elif is_a(part, "sklearn.tree._classes", "BaseDecisionTree"):
            add_tree(trees, problems, path, part)
        elif is_a(part, "lightgbm.basic", "Booster"):
            check_lightgbm(part.model_to_string(num_iteration=-1), f"{where}: {path}")
        elif is_a(part, "xgboost.core", "Booster"):
            check_xgboost(bytes(part.save_raw("ubj")), f"{where}: {path}")

    refuse([*problems, *sklearn_problems(trees.values())], where)


def _checks_of(part: Any) -> list[Check]:
    return [
        check
        for module, name, check in (*STATE_CHECKS, *ENSEMBLE_CHECKS)
        if is_a(part, module, name)
    ]


def _problems_of(check: Check, path: str, part: Any) -> list[str]:
    try:
        return check(path, part)
    except STRANGE as error:
        return [f"{path}: state of other types than expected ({type(error).__name__}: {error})"]


def file_readers(estimator: Any) -> list[str]:
    """Paths to the parts of an estimator that open the files which its input names."""
    readers = []
    for path, part in walk(estimator):
        is_vectorizer = any(
            is_a(part, "sklearn.feature_extraction.text", name) for name in VECTORIZERS
        )
        if is_vectorizer and part.input == "filename":
            readers.append(path)
    return readers
