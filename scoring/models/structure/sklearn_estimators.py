"""Whether what scikit-learn's estimators hand to machine code fits: looked at once, when an estimator was loaded.

An estimator is Python, which raises where something does not fit. Below it are loops in C over trees, search trees,
sparse matrices and support vectors, which do not look. Each of these is found wherever it is, and checked.
"""

import functools
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from nightscore.models.structure.lightgbm_trees import check_lightgbm
from nightscore.models.structure.sklearn_encoders import (
    hasher_problems,
    one_hot_problems,
    vocabulary_problems,
)
from nightscore.models.structure.sklearn_state import (
    centers_problems,
    generator_problems,
    metric_problems,
    neighbors_problems,
    search_tree_problems,
    sparse_problems,
    spline_problems,
    support_vector_problems,
)
from nightscore.models.structure.tree_nodes import (
    MAX_FEATURES,
    hist_problems,
    refuse,
    sklearn_problems,
)
from nightscore.models.structure.xgboost_trees import check_xgboost

HIST_ARRAYS = ("nodes", "binned_left_cat_bitsets", "raw_left_cat_bitsets")
"""Of a `TreePredictor`."""
TREE_SIZES = ("n_features", "n_classes", "n_outputs")
"""Arguments of a `Tree`."""
STATE_CHECKS: tuple[tuple[str, str, Callable[[str, Any], list[str]]], ...] = (
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
"""Module and name of a class, and what looks at one."""
STRANGE = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""Raised where state is not even of the types that are expected."""
PLAIN = (str, bytes, int, float, bool, complex, type(None), np.generic, np.dtype, type)
"""Hold nothing else."""


def check_estimator(estimator: Any, where: str) -> None:
    """Refuse an estimator whose parts point outside of their arrays, or in circles.

    Args:
        estimator: As it was loaded; nothing of it has been called yet.
        where: Its file, for the error.

    Raises:
        ModelStructureError: With every kind of fault; the estimator must not be used.
    """
    problems: list[str] = []
    trees: dict[int, tuple[str, Any, int]] = {}
    checks: dict[type, list[Callable[[str, Any], list[str]]]] = {}
    for path, part in _parts(estimator):
        if type(part) not in checks:  # of a few types there are very many
            checks[type(part)] = [
                check for module, name, check in STATE_CHECKS if _is_a(part, module, name)
            ]
        for check in checks[type(part)]:
            problems += _problems_of(check, path, part)
        if _is_a(part, "sklearn.tree._tree", "Tree"):
            trees.setdefault(id(part), (path, part, part.n_features))
        elif _is_a(part, "sklearn.tree._classes", "BaseDecisionTree"):
            _add_tree(trees, problems, path, part)
        elif _is_a(part, "sklearn.ensemble._forest", "BaseForest"):
            problems += _problems_of(_forest_problems, path, part)
        elif _is_a(part, "sklearn.ensemble._gb", "BaseGradientBoosting"):
            problems += _problems_of(_boosting_problems, path, part)
        elif _is_a(part, "sklearn.ensemble._iforest", "IsolationForest"):
            problems += _problems_of(_isolation_problems, path, part)
        elif _is_a(
            part,
            "sklearn.ensemble._hist_gradient_boosting.gradient_boosting",
            "BaseHistGradientBoosting",
        ):
            problems += _problems_of(_hist_boosting_problems, path, part)
        elif _is_a(part, "lightgbm.basic", "Booster"):
            check_lightgbm(part.model_to_string(num_iteration=-1), f"{where}: {path}")
        elif _is_a(part, "xgboost.core", "Booster"):
            check_xgboost(bytes(part.save_raw("ubj")), f"{where}: {path}")
    refuse([*problems, *sklearn_problems(trees.values())], where)


def _problems_of(check: Callable[[str, Any], list[str]], path: str, part: Any) -> list[str]:
    try:
        return check(path, part)
    except STRANGE as error:
        return [f"{path}: state of other types than expected ({type(error).__name__}: {error})"]


def file_readers(estimator: Any) -> list[str]:
    """Ways to the parts of an estimator that open the files which its texts name."""
    vectorizers = ("CountVectorizer", "HashingVectorizer")
    return [
        path
        for path, part in _parts(estimator)
        if any(_is_a(part, "sklearn.feature_extraction.text", name) for name in vectorizers)
        and part.input == "filename"
    ]


@functools.cache
def guard_lightgbm() -> None:
    """From now on, setting the state of a Booster checks the text first: LightGBM itself writes outside otherwise."""
    from lightgbm.basic import Booster

    set_state = Booster.__setstate__

    def checked(booster: Any, state: dict[str, Any]) -> None:
        text = state.get("_handle", state.get("handle"))  # as LightGBM looks for it
        if text is not None and not isinstance(text, str):
            refuse(
                [f"expected a model's text, found {type(text).__name__}"], "the state of a Booster"
            )
        elif text is not None:
            check_lightgbm(text, "the state of a Booster")
        set_state(booster, state)

    Booster.__setstate__ = checked  # type: ignore[method-assign, assignment]


@functools.cache
def guard_trees() -> None:
    """From now on, skops checks a tree's sizes before it makes one: scikit-learn reads as many as it is told."""
    from skops.io._sklearn import TreeNode

    construct = TreeNode._construct

    def checked(node: Any) -> Any:
        refuse(tree_size_problems(node.args.construct()), "the sizes of a Tree")
        return construct(node)

    TreeNode._construct = checked


def tree_size_problems(arguments: Any) -> list[str]:
    """What is wrong with the arguments that a `Tree` is made with: features, classes of each output, outputs."""
    if not isinstance(arguments, tuple) or len(arguments) != len(TREE_SIZES):
        return [f"expected {', '.join(TREE_SIZES)}"]
    n_features, n_classes, n_outputs = arguments
    if (
        not isinstance(n_classes, np.ndarray)
        or n_classes.ndim != 1
        or n_classes.dtype.kind not in "iu"
    ):
        return ["n_classes: expected a list of whole numbers"]
    problems = []
    if not isinstance(n_features, int | np.integer) or not 0 <= n_features <= MAX_FEATURES:
        problems.append(f"n_features {n_features!r}, expected 0 to {MAX_FEATURES}")
    if not isinstance(n_outputs, int | np.integer) or n_outputs != len(n_classes) or n_outputs < 1:
        problems.append(
            f"n_outputs {n_outputs!r}, expected at least 1, and as many as n_classes, {len(n_classes)}"
        )
    elif (n_classes < 1).any():
        problems.append(f"n_classes {n_classes.min()}, expected at least 1")
    return problems


def _is_a(part: Any, module: str, name: str) -> bool:
    """Whether it is of a class, which is looked up where that was loaded: else nothing is of it."""
    loaded = sys.modules.get(module)
    kind = getattr(loaded, name, None)
    return isinstance(kind, type) and isinstance(part, kind)


def _parts(root: Any) -> Iterator[tuple[str, Any]]:
    """All objects that an estimator is made of, each once, with the way to them; circles are no matter."""
    waiting: list[tuple[str, Any]] = [("model", root)]
    seen: dict[int, Any] = {}  # holds them, so that no number is given twice
    while waiting:
        path, part = waiting.pop()
        if id(part) in seen:
            continue
        seen[id(part)] = part
        yield path, part
        waiting += [
            (where, child) for where, child in _children(path, part) if not isinstance(child, PLAIN)
        ]


def _children(path: str, part: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(part, dict):
        yield from (
            (f"{path}[{key!r}]" if isinstance(key, str) else path, child)
            for key, child in part.items()
        )
    elif isinstance(part, list | tuple | set | frozenset):
        yield from ((f"{path}[{i}]", child) for i, child in enumerate(part))
    elif isinstance(part, np.ndarray):
        if part.dtype.kind == "O":
            yield from ((f"{path}[{i}]", child) for i, child in enumerate(part.ravel().tolist()))
    elif isinstance(part, functools.partial):
        yield from ((path, child) for child in (part.func, part.args, part.keywords))
    elif _is_a(part, "numpy.random.mtrand", "RandomState"):
        yield path, part._bit_generator
    elif _is_a(part, "numpy.random._generator", "Generator"):
        yield path, part.bit_generator
    else:
        for name, child in getattr(part, "__dict__", {}).items():
            yield f"{path}.{name}", child


def _width(part: Any) -> int | None:
    """Features that an estimator checks X for; None: it does not say, and so checks nothing."""
    width = vars(part).get("n_features_in_")
    is_number = isinstance(width, int | np.integer) and not isinstance(width, bool)
    return int(width) if is_number else None


def _listed(part: Any) -> list[tuple[str, Any]]:
    found = getattr(part, "estimators_", ())
    if isinstance(found, np.ndarray):
        found = found.ravel().tolist()
    return [(f"estimators_[{i}]", child) for i, child in enumerate(found)]


def _add_tree(
    trees: dict[int, tuple[str, Any, int]], problems: list[str], path: str, part: Any
) -> None:
    tree, width = getattr(part, "tree_", None), _width(part)
    if tree is None:
        return
    if not _is_a(tree, "sklearn.tree._tree", "Tree"):
        problems.append(f"{path}.tree_: expected a Tree, found {type(tree).__name__}")
        return
    if width is None:
        problems.append(f"{path}: expected n_features_in_, found none: it would be given any X")
        return
    trees[id(tree)] = (f"{path}.tree_", tree, width)


def _width_problems(
    path: str, part: Any, trees: list[tuple[str, Any]], width: int | None = None
) -> list[str]:
    """Trees that would be given an X of another width than their own, without a check."""
    width = _width(part) if width is None else width
    if trees and width is None:
        return [f"{path}: expected n_features_in_, found none: it would be given any X"]
    return [
        f"{path}.{name}: n_features_in_ {_width(tree)}, expected {width}, as many as {path} has"
        for name, tree in trees
        if not hasattr(tree, "tree_") or _width(tree) != width
    ]


def _forest_problems(path: str, part: Any) -> list[str]:
    return _width_problems(path, part, _listed(part))


def _boosting_problems(path: str, part: Any) -> list[str]:
    """Its C adds tree k of a stage to column k of the scores, which start from what `init_` gives."""
    stages = getattr(part, "estimators_", None)
    if stages is None:
        return []
    if not isinstance(stages, np.ndarray) or stages.ndim != 2:
        return [
            f"{path}.estimators_: expected an array of two dimensions, found {type(stages).__name__}"
        ]
    n_columns = _n_score_columns(part)
    if stages.shape[1] != n_columns:
        return [
            f"{path}.estimators_: {stages.shape[1]} trees a stage, expected {n_columns}, one for each score"
        ]
    return _width_problems(path, part, _listed(part))


def _n_score_columns(part: Any) -> int | None:
    """Of boosting: columns of what its trees are added to; None: that cannot be told."""
    classes = getattr(part, "classes_", None)
    n_classes = 0 if classes is None else len(classes)
    n_columns = n_classes if n_classes > 2 else 1
    init = getattr(part, "init_", None)
    stated = getattr(part, "n_trees_per_iteration_", n_columns)
    if isinstance(init, str) and init == "zero":
        return n_columns if stated == n_columns else None
    n_outputs = getattr(init, "n_outputs_", 1)
    if n_outputs != 1 or stated != n_columns:
        return None
    init_classes = getattr(init, "classes_", None)
    is_multiclass = bool(getattr(getattr(part, "_loss", None), "is_multiclass", False))
    if n_classes and init_classes is not None and len(init_classes) != n_classes:
        return None
    return n_columns if is_multiclass == (n_classes > 2) else None


def _isolation_problems(path: str, part: Any) -> list[str]:
    trees, chosen = _listed(part), list(getattr(part, "estimators_features_", ()))
    if len(trees) != len(chosen):
        return [
            f"{path}: {len(chosen)} sets of estimators_features_, expected {len(trees)}, one for each tree"
        ]
    width, problems = _width(part), []
    for tree, features in zip(trees, chosen, strict=True):
        # All columns are given as they are where every feature was drawn.
        is_subset = getattr(part, "_max_features", width) != width
        problems += _width_problems(path, part, [tree], len(features) if is_subset else None)
    return problems


def _hist_boosting_problems(path: str, part: Any) -> list[str]:
    iterations, mapper = getattr(part, "_predictors", None), getattr(part, "_bin_mapper", None)
    if iterations is None:
        return []
    categorical = np.asarray(getattr(mapper, "is_categorical_", None))
    if categorical.ndim != 1 or categorical.dtype.kind not in "biu":
        return [f"{path}._bin_mapper.is_categorical_: expected a number for each feature"]
    width = _width(part)
    problems = (
        []
        if width is not None
        else [f"{path}: expected n_features_in_, found none: it would be given any X"]
    )
    encoder = getattr(part, "_preprocessor", None)
    if encoder is not None:
        problems += _encoder_problems(f"{path}._preprocessor", encoder, len(categorical))
    elif width is not None and len(categorical) != width:
        problems.append(
            f"{path}: n_features_in_ {width}, expected {len(categorical)}, as many as its trees have"
        )
    n_sums = np.size(getattr(part, "_baseline_prediction", 0.0))
    predictors: list[tuple[str, Any, Any, Any]] = []
    for i, iteration in enumerate(iterations):
        if len(iteration) != n_sums:
            problems.append(
                f"{path}._predictors[{i}]: {len(iteration)} trees, expected {n_sums}, one for each score"
            )
        for k, predictor in enumerate(iteration):
            nodes, binned, raw = (getattr(predictor, name, None) for name in HIST_ARRAYS)
            predictors.append((f"{path}._predictors[{i}][{k}]", nodes, binned, raw))
    return problems + hist_problems(predictors, len(categorical), categorical.astype(np.bool_))


def _encoder_problems(path: str, encoder: Any, n_features: int) -> list[str]:
    """Boosting on categories encodes them first: as many columns must come out as its trees know."""
    chosen = getattr(encoder, "_transformer_to_input_indices", None)
    names = [
        name for name, step, _ in getattr(encoder, "transformers_", ()) if not _is_dropped(step)
    ]
    if not isinstance(chosen, dict) or any(name not in chosen for name in names):
        return [f"{path}: expected the columns of each transformer"]
    n_columns = sum(len(chosen[name]) for name in names)
    if n_columns != n_features:
        return [
            f"{path}: gives {n_columns} columns, expected {n_features}, as many as the trees have"
        ]
    return []


def _is_dropped(step: Any) -> bool:
    return isinstance(step, str) and step == "drop"
