"""Whether ensembles of scikit-learn's trees give each tree what it was trained on."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from nightscore.models.structure.object_graph import is_a
from nightscore.models.structure.sklearn_trees import hist_problems

HIST_ARRAYS = ("nodes", "binned_left_cat_bitsets", "raw_left_cat_bitsets")
"""Arrays of a `TreePredictor`."""
NO_WIDTH = "expected n_features_in_, found none: it would be given any X"


def tree_width(part: Any) -> int | None:
    """Features that an estimator checks X for. None: it does not say, and so checks nothing."""
    width = vars(part).get("n_features_in_")
    is_number = isinstance(width, int | np.integer) and not isinstance(width, bool)
    return int(width) if is_number else None


def add_tree(
    trees: dict[int, tuple[str, Any, int]], problems: list[str], path: str, part: Any
) -> None:
    """Note the tree of an estimator, and the width of the X that it will get.

    Args:
        trees: Gets the tree.
        problems: Gets what is wrong.
        path: Where the estimator is.
        part: A `BaseDecisionTree`.
    """
    tree, width = getattr(part, "tree_", None), tree_width(part)
    if tree is None:
        return

    if not is_a(tree, "sklearn.tree._tree", "Tree"):
        problems.append(f"{path}.tree_: expected a Tree, found {type(tree).__name__}")
    elif width is None:
        problems.append(f"{path}: {NO_WIDTH}")
    else:
        trees[id(tree)] = (f"{path}.tree_", tree, width)


def forest_problems(path: str, part: Any) -> list[str]:
    """What is wrong with a `BaseForest`."""
    return _width_problems(path, part, _listed(part))


def boosting_problems(path: str, part: Any) -> list[str]:
    """What is wrong with a `BaseGradientBoosting`.

    Its C code adds tree k of a stage to column k of the scores, which start from `init_`.
    """
    stages = getattr(part, "estimators_", None)
    if stages is None:
        return []

    if not isinstance(stages, np.ndarray) or stages.ndim != 2:
        name = type(stages).__name__
        return [f"{path}.estimators_: expected an array of two dimensions, found {name}"]

    n_columns = _n_score_columns(part)
    if stages.shape[1] != n_columns:
        return [
            f"{path}.estimators_: {stages.shape[1]} trees a stage, expected {n_columns}, one for "
            "each score"
        ]

    return _width_problems(path, part, _listed(part))


def isolation_problems(path: str, part: Any) -> list[str]:
    """What is wrong with an `IsolationForest`."""
    trees, selections = _listed(part), list(getattr(part, "estimators_features_", ()))
    if len(trees) != len(selections):
        return [
            f"{path}: {len(selections)} sets of estimators_features_, expected {len(trees)}, one "
            "for each tree"
        ]

    width, problems = tree_width(part), []
    # If every feature was drawn, trees get all columns as they are.
    is_subset = getattr(part, "_max_features", width) != width

    for tree, features in zip(trees, selections, strict=True):
        problems += _width_problems(path, part, [tree], len(features) if is_subset else None)

    return problems


def hist_boosting_problems(path: str, part: Any) -> list[str]:
    """What is wrong with a `BaseHistGradientBoosting`."""
    iterations, mapper = getattr(part, "_predictors", None), getattr(part, "_bin_mapper", None)
    if iterations is None:
        return []

    categorical = np.asarray(getattr(mapper, "is_categorical_", None))
    if categorical.ndim != 1 or categorical.dtype.kind not in "biu":
        return [f"{path}._bin_mapper.is_categorical_: expected a number for each feature"]

    n_features = len(categorical)
    problems = _hist_width_problems(path, part, n_features)
    problems += _iteration_problems(path, part, iterations)

    predictors: list[tuple[str, Any, Any, Any]] = []
    for i, iteration in enumerate(iterations):
        for k, predictor in enumerate(iteration):
            nodes, binned, raw = (getattr(predictor, name, None) for name in HIST_ARRAYS)
            predictors.append((f"{path}._predictors[{i}][{k}]", nodes, binned, raw))

    return problems + hist_problems(predictors, n_features, categorical.astype(np.bool_))


def _hist_width_problems(path: str, part: Any, n_features: int) -> list[str]:
    """Whether the trees get as many columns as they know."""
    width = tree_width(part)
    problems = [f"{path}: {NO_WIDTH}"] if width is None else []

    encoder = getattr(part, "_preprocessor", None)
    if encoder is not None:
        problems += _encoder_problems(f"{path}._preprocessor", encoder, n_features)
    elif width is not None and n_features != width:
        problems.append(
            f"{path}: n_features_in_ {width}, expected {n_features}, as many as its trees have"
        )

    return problems


def _iteration_problems(path: str, part: Any, iterations: Sequence[Any]) -> list[str]:
    n_sums = np.size(getattr(part, "_baseline_prediction", 0.0))
    return [
        f"{path}._predictors[{i}]: {len(iteration)} trees, expected {n_sums}, one for each score"
        for i, iteration in enumerate(iterations)
        if len(iteration) != n_sums
    ]


def _encoder_problems(path: str, encoder: Any, n_features: int) -> list[str]:
    """Boosting on categories encodes them first, to as many columns as its trees must know."""
    selections = getattr(encoder, "_transformer_to_input_indices", None)

    names = [
        name for name, step, _ in getattr(encoder, "transformers_", ()) if not _is_dropped(step)
    ]
    if not isinstance(selections, dict) or any(name not in selections for name in names):
        return [f"{path}: expected the columns of each transformer"]

    n_columns = sum(len(selections[name]) for name in names)
    if n_columns == n_features:
        return []

    return [f"{path}: gives {n_columns} columns, expected {n_features}, as many as the trees have"]


def _is_dropped(step: Any) -> bool:
    return isinstance(step, str) and step == "drop"


def _listed(part: Any) -> list[tuple[str, Any]]:
    """The estimators of an ensemble, with their names."""
    estimators = getattr(part, "estimators_", ())
    if isinstance(estimators, np.ndarray):
        estimators = estimators.ravel().tolist()
    return [(f"estimators_[{i}]", child) for i, child in enumerate(estimators)]


def _width_problems(
    path: str, part: Any, trees: list[tuple[str, Any]], width: int | None = None
) -> list[str]:
    """Trees that would get an X of another width than their own, without a check."""
    expected = tree_width(part) if width is None else width
    if trees and expected is None:
        return [f"{path}: {NO_WIDTH}"]

    return [
        f"{path}.{name}: n_features_in_ {tree_width(tree)}, expected {expected}, as many as {path} "
        "has"
        for name, tree in trees
        if not hasattr(tree, "tree_") or tree_width(tree) != expected
    ]


def _n_score_columns(part: Any) -> int | None:
    """Columns that boosting adds its trees to, or None if that is unclear."""
    classes = getattr(part, "classes_", None)
    n_classes = 0 if classes is None else len(classes)
    n_columns = n_classes if n_classes > 2 else 1

    if getattr(part, "n_trees_per_iteration_", n_columns) != n_columns:
        return None

    init = getattr(part, "init_", None)
    if isinstance(init, str) and init == "zero":
        return n_columns
    if getattr(init, "n_outputs_", 1) != 1:
        return None

    init_classes = getattr(init, "classes_", None)
    if n_classes and init_classes is not None and len(init_classes) != n_classes:
        return None

    is_multiclass = bool(getattr(getattr(part, "_loss", None), "is_multiclass", False))
    return n_columns if is_multiclass == (n_classes > 2) else None
