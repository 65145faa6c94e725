"""What scikit-learn's tree ensembles are made of, read from fitted estimators.

Each function names what it relies on; the private parts are compared with the library's own predictions at the start
of each shard, so that a later version which changes them costs the speed and not the result.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from nightscore.models.compiled.forest import Forest, Tree, TreeModel
from nightscore.models.compiled.links import Function, Link
from nightscore.models.compiled.unsupported import UnsupportedError


def tree_model(final: Any) -> TreeModel:
    """The compiled form of an estimator.

    Raises:
        UnsupportedError: There is none.
    """
    kind = type(final)
    if not kind.__module__.startswith("sklearn."):
        raise UnsupportedError(f"{kind.__name__} is not scikit-learn's own")
    make = _MAKERS.get(kind.__name__)
    if make is None:
        raise UnsupportedError(f"there is no compiled form of {kind.__name__}")
    return make(final)


def _hist_boosting(final: Any) -> TreeModel:
    """`HistGradientBoosting*._raw_predict`: float64, `raw[:, k] += tree`, from the baseline on."""
    mapper = final._bin_mapper
    is_categorical = np.asarray(mapper.is_categorical_, dtype=bool)
    known, place = mapper.make_known_categories_bitsets()
    n_categories = {}
    for feature in np.flatnonzero(is_categorical).tolist():
        codes = np.flatnonzero(
            np.unpackbits(known[place[feature]].astype("<u4").view(np.uint8), bitorder="little")
        )
        if codes.tolist() != list(range(len(codes))):
            raise UnsupportedError("categories are not counted from 0")
        n_categories[feature] = len(codes) + 1
    trees, column = [], []
    for iteration in final._predictors:
        for k, predictor in enumerate(iteration):
            trees.append(_hist_tree(predictor, n_categories))
            column.append(k)
    base = np.array(final._baseline_prediction, np.float64).reshape(-1)
    forest = Forest(tuple(trees), len(is_categorical), tuple(column), base, "float64", n_categories)
    return TreeModel(
        forest, _link(final, zero_is_second=False), refuses_nan=False, refuses_infinite=False
    )


def _hist_tree(predictor: Any, n_categories: dict[int, int]) -> Tree:
    nodes = predictor.nodes
    is_leaf = nodes["is_leaf"].astype(bool)
    missing_left = nodes["missing_go_to_left"].astype(bool)
    categories = {}
    for node in np.flatnonzero(nodes["is_categorical"].astype(bool) & ~is_leaf).tolist():
        n_codes = n_categories[int(nodes["feature_idx"][node])]
        words = predictor.raw_left_cat_bitsets[nodes["bitset_idx"][node]].astype("<u4")
        bits = np.flatnonzero(np.unpackbits(words.view(np.uint8), bitorder="little"))
        goes_left = [int(code) for code in bits if code < n_codes - 1]
        categories[node] = [*goes_left, n_codes - 1] if missing_left[node] else goes_left
    return Tree(
        nodes["feature_idx"].astype(np.int64),
        nodes["num_threshold"].astype(np.float64),
        np.where(is_leaf, -1, nodes["left"].astype(np.int64)),
        np.where(is_leaf, -1, nodes["right"].astype(np.int64)),
        missing_left,
        nodes["value"].astype(np.float64).reshape(-1, 1),
        categories,
    )


def _boosting(final: Any) -> TreeModel:
    """`GradientBoosting*._raw_predict`: float32 X, `raw[:, k] += learning_rate * leaf`, from a constant on."""
    if final.init_ != "zero" and type(final.init_).__module__ != "sklearn.dummy":
        raise UnsupportedError(f"boosting starts from a {type(final.init_).__name__}")
    start = final._raw_predict_init(np.zeros((1, final.n_features_in_), np.float32))
    trees, column = [], []
    for stage in final.estimators_:
        for k, estimator in enumerate(stage):
            tree = _tree(estimator.tree_)
            trees.append(
                Tree(tree.feature, tree.threshold, tree.left, tree.right, tree.missing_left,
                     final.learning_rate * tree.values)
            )  # fmt: skip
            column.append(k)
    forest = Forest(tuple(trees), final.n_features_in_, tuple(column), start.reshape(-1), "float32")
    # Its own walk sends NaN to the right, where it gets as far as that: left to itself.
    return TreeModel(
        forest, _link(final, zero_is_second=True), refuses_nan=True, refuses_infinite=True
    )


_FUNCTIONS: dict[str, Function] = {
    "IdentityLink": "identity",
    "LogLink": "exp",
    "LogitLink": "expit",
    "HalfLogitLink": "half_expit",
    "MultinomialLogit": "softmax",
}


def _link(final: Any, *, zero_is_second: bool) -> Link:
    """Of a booster's loss."""
    name = type(final._loss.link).__name__
    if name not in _FUNCTIONS:
        raise UnsupportedError(f"a loss with a {name}")
    return Link(_FUNCTIONS[name], getattr(final, "classes_", None), zero_is_second)


def _forest(final: Any) -> TreeModel:
    """`_accumulate_prediction`: float32 X, values added tree by tree, then divided by their number."""
    return _averaged(final, list(final.estimators_), len(final.estimators_))


def _single(final: Any) -> TreeModel:
    return _averaged(final, [final], 0)


def _averaged(final: Any, estimators: list[Any], divisor: int) -> TreeModel:
    found = [_tree(estimator.tree_) for estimator in estimators]
    width = found[0].values.shape[1]
    n_outputs, classes = final.n_outputs_, getattr(final, "classes_", None)
    if classes is not None and n_outputs > 1:
        raise UnsupportedError("classifiers of several targets predict by themselves")
    forest = Forest(
        tuple(found), final.n_features_in_, (0,) * len(found), np.zeros(width), "float32"
    )
    takes_nan = bool(estimators[0]._support_missing_values(np.empty((0, 0))))
    link = Link("mean", classes, divisor=divisor)
    return TreeModel(forest, link, refuses_nan=not takes_nan, refuses_infinite=True)


def _tree(tree: Any) -> Tree:
    """Of `sklearn.tree._tree.Tree`; its values are means, or shares of the classes."""
    left = tree.children_left.astype(np.int64)
    return Tree(
        np.maximum(tree.feature, 0).astype(np.int64),
        tree.threshold.astype(np.float64),
        left,
        tree.children_right.astype(np.int64),
        tree.missing_go_to_left.astype(bool),
        np.array(tree.value, np.float64).reshape(len(left), -1),
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
"""Names of the estimators that have a compiled form."""
