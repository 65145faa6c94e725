"""Scikit-learn's tree ensembles as data, read from fitted estimators.

Each function names what it relies on. The private parts are compared with the library's own
predictions at the start of each shard, so a later version that changes them costs speed, but
changes no result.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from nightscore.models.compiled.forest import Forest, Tree, TreeModel
from nightscore.models.compiled.links import Function, Link
from nightscore.models.compiled.unsupported import UnsupportedError


def tree_model(final: Any) -> TreeModel:
    """The trees of a fitted estimator.

    Raises:
        UnsupportedError: It has no compiled form.
    """
    kind = type(final)
    if not kind.__module__.startswith("sklearn."):
        raise UnsupportedError(f"{kind.__name__} is not scikit-learn's own")

    make = _MAKERS.get(kind.__name__)
    if make is None:
        raise UnsupportedError(f"there is no compiled form of {kind.__name__}")

    return make(final)


def _hist_boosting(final: Any) -> TreeModel:
    """`HistGradientBoosting*._raw_predict`: float64, `raw[:, k] += tree`, from the baseline on.

    Its sums are in Fortran's order.
    """
    n_categories = _hist_categories(final._bin_mapper)
    trees, column = [], []

    for iteration in final._predictors:
        for k, predictor in enumerate(iteration):
            trees.append(_hist_tree(predictor, n_categories))
            column.append(k)

    forest = Forest(
        trees=tuple(trees),
        n_features=len(final._bin_mapper.is_categorical_),
        column=tuple(column),
        base=np.array(final._baseline_prediction, np.float64).reshape(-1),
        number="float64",
        n_categories=n_categories,
    )

    link = replace(_link(final, zero_is_second=False), is_by_column=True)

    return TreeModel(forest, link, refuses_nan=False, refuses_infinite=False)


def _hist_categories(mapper: Any) -> dict[int, int]:
    """The number of codes of each categorical feature, with the one of missing values."""
    is_categorical = np.asarray(mapper.is_categorical_, dtype=bool)
    known, place = mapper.make_known_categories_bitsets()

    n_categories = {}
    for feature in np.flatnonzero(is_categorical).tolist():
        codes = _set_bits(known[place[feature]])
        if codes != list(range(len(codes))):
            raise UnsupportedError("categories are not counted from 0")
        n_categories[feature] = len(codes) + 1

    return n_categories


def _set_bits(words: Any) -> list[int]:
    """The places of the bits that are set in words of 32 bits."""
    bits = np.unpackbits(words.astype("<u4").view(np.uint8), bitorder="little")
    places: list[int] = np.flatnonzero(bits).tolist()
    return places


def _hist_tree(predictor: Any, n_categories: dict[int, int]) -> Tree:
    nodes = predictor.nodes
    is_leaf = nodes["is_leaf"].astype(bool)
    missing_left = nodes["missing_go_to_left"].astype(bool)

    categories = {}

    asks = nodes["is_categorical"].astype(bool) & ~is_leaf
    for node in np.flatnonzero(asks).tolist():
        missing = n_categories[int(nodes["feature_idx"][node])] - 1
        bits = _set_bits(predictor.raw_left_cat_bitsets[nodes["bitset_idx"][node]])
        categories[node] = [code for code in bits if code < missing]
        if missing_left[node]:
            categories[node].append(missing)

    return Tree(
        feature=nodes["feature_idx"].astype(np.int64),
        threshold=nodes["num_threshold"].astype(np.float64),
        left=np.where(is_leaf, -1, nodes["left"].astype(np.int64)),
        right=np.where(is_leaf, -1, nodes["right"].astype(np.int64)),
        missing_left=missing_left,
        values=nodes["value"].astype(np.float64).reshape(-1, 1),
        categories=categories,
    )


def _boosting(final: Any) -> TreeModel:
    """`GradientBoosting*._raw_predict`: float32 X, `raw[:, k] += learning_rate * leaf`.

    It starts at a constant.
    """
    if final.init_ != "zero" and type(final.init_).__module__ != "sklearn.dummy":
        raise UnsupportedError(
            f"boosting starts from an estimator of its own, {type(final.init_).__name__}"
        )

    start = final._raw_predict_init(np.zeros((1, final.n_features_in_), np.float32))
    trees, column = [], []

    for stage in final.estimators_:
        for k, estimator in enumerate(stage):
            tree = _tree(estimator.tree_)
            trees.append(replace(tree, values=final.learning_rate * tree.values))
            column.append(k)

    forest = Forest(
        trees=tuple(trees),
        n_features=final.n_features_in_,
        column=tuple(column),
        base=start.reshape(-1),
        number="float32",
    )

    link = _link(final, zero_is_second=True)

    # The library sends NaN to the right, where it gets that far. That is left to the library.
    return TreeModel(forest, link, refuses_nan=True, refuses_infinite=True)


_FUNCTIONS: dict[str, Function] = {
    "IdentityLink": "identity",
    "LogLink": "exp",
    "LogitLink": "expit",
    "HalfLogitLink": "half_expit",
    "MultinomialLogit": "softmax",
}


def _link(final: Any, *, zero_is_second: bool) -> Link:
    """The link of a booster's loss."""
    name = type(final._loss.link).__name__
    if name not in _FUNCTIONS:
        raise UnsupportedError(f"its loss has the link {name}")

    classes = getattr(final, "classes_", None)
    return Link(function=_FUNCTIONS[name], classes=classes, zero_is_second=zero_is_second)


def _forest(final: Any) -> TreeModel:
    """`_accumulate_prediction`: float32 X, values added tree by tree, then averaged."""
    return _averaged(final, list(final.estimators_), len(final.estimators_))


def _single(final: Any) -> TreeModel:
    return _averaged(final, [final], 0)


def _averaged(final: Any, estimators: list[Any], divisor: int) -> TreeModel:
    classes = getattr(final, "classes_", None)
    if classes is not None and final.n_outputs_ > 1:
        raise UnsupportedError("the library predicts classifiers with several targets")

    trees = tuple(_tree(estimator.tree_) for estimator in estimators)
    forest = Forest(
        trees=trees,
        n_features=final.n_features_in_,
        column=(0,) * len(trees),
        base=np.zeros(trees[0].values.shape[1]),
        number="float32",
    )

    link = Link(function="mean", classes=classes, divisor=divisor)
    takes_nan = bool(estimators[0]._support_missing_values(np.empty((0, 0))))

    return TreeModel(forest, link, refuses_nan=not takes_nan, refuses_infinite=True)


def _tree(tree: Any) -> Tree:
    """`sklearn.tree._tree.Tree`. Its values are means, or shares of the classes."""
    left = tree.children_left.astype(np.int64)
    return Tree(
        feature=np.maximum(tree.feature, 0).astype(np.int64),
        threshold=tree.threshold.astype(np.float64),
        left=left,
        right=tree.children_right.astype(np.int64),
        missing_left=tree.missing_go_to_left.astype(bool),
        values=np.array(tree.value, np.float64).reshape(len(left), -1),
    )


_MAKERS: dict[str, Callable[[Any], TreeModel]] = {
    "HistGradientBoostingClassifier": _hist_boosting,
    "HistGradientBoostingRegressor": _hist_boosting,
    "GradientBoostingClassifier": _boosting,
    "GradientBoostingRegressor": _boosting,
    "RandomForestClassifier": _forest,
    "RandomForestRegressor": _forest,
    "ExtraTreesClassifier": _forest,
    "ExtraTreesRegressor": _forest,
    "DecisionTreeClassifier": _single,
    "DecisionTreeRegressor": _single,
    "ExtraTreeClassifier": _single,
    "ExtraTreeRegressor": _single,
}

TREES = tuple(_MAKERS)
"""Names of the estimators with a compiled form."""
