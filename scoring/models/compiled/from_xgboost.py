"""XGBoost's trees, read from its model file.

X, thresholds, leaves and sums are float32. A sum starts from the margin of `base_score`, and trees
are added in their order. A value below a threshold goes left, that is one not above the threshold's
lower neighbour. A category in a node's set goes right, any other left, and a missing one where the
node says.
"""

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from nightscore.models.compiled.booster_values import FeatureRules
from nightscore.models.compiled.forest import Forest, Tree, TreeModel
from nightscore.models.compiled.links import BoosterFunction, Link
from nightscore.models.compiled.unsupported import UnsupportedError, check_codes
from nightscore.models.structure.xgboost_file import XgboostFile

_FUNCTIONS: dict[str, BoosterFunction] = {
    **dict.fromkeys(
        ("reg:squarederror", "reg:squaredlogerror", "reg:pseudohubererror", "reg:absoluteerror",
         "reg:quantileerror", "binary:logitraw", "rank:pairwise", "rank:ndcg", "rank:map"),
        "identity",
    ),
    **dict.fromkeys(("reg:logistic", "binary:logistic"), "sigmoid"),
    **dict.fromkeys(
        ("count:poisson", "reg:gamma", "reg:tweedie", "survival:cox", "survival:aft"), "exp"
    ),
    "binary:hinge": "hinge",
    "multi:softprob": "softmax",
    "multi:softmax": "argmax",
}  # fmt: skip
LOGISTIC = ("reg:logistic", "binary:logistic")
CLOSEST = 1e-6
"""Distance of a logistic base score from 0 and 1.

Only some versions of XGBoost move away one that is nearer.
"""


def xgboost_model(
    file: XgboostFile, classes: npt.NDArray[Any] | None, *, is_booster: bool
) -> tuple[TreeModel, FeatureRules]:
    """A model's trees, and what becomes of values before they see them.

    Args:
        file: The model.
        classes: Classes of a classifier with scikit-learn's interface; None: the prediction is what
            the objective makes of the sum.
        is_booster: Whether all trees predict and infinite values are refused, as in MLflow. If not,
            the trees up to the best iteration predict, and infinite values are values.

    Raises:
        UnsupportedError: It has no compiled form.
    """
    _check_supported(file, classes, is_booster=is_booster)
    booster = file.booster
    is_dart = booster["name"] == "dart"
    model = booster["gbtree"]["model"] if is_dart else booster["model"]
    n_trees = len(model["trees"])

    if not is_booster and "best_iteration" in file.attributes:
        n_trees = int(model["iteration_indptr"][int(file.attributes["best_iteration"]) + 1])

    weights: list[np.float32 | None] = [None] * n_trees

    if is_dart:
        weights = [np.float32(weight) for weight in booster["weight_drop"]]

    parts = [_Nodes(tree) for tree in model["trees"][:n_trees]]
    n_codes = _count_codes(parts)

    trees = [part.tree(weight, n_codes) for part, weight in zip(parts, weights, strict=True)]
    forest = Forest(
        trees=tuple(trees),
        n_features=file.n_features,
        column=tuple(int(group) for group in model["tree_info"][:n_trees]),
        base=_base_margin(file),
        number="float32",
        n_categories=n_codes,
        sums="float32",
    )

    # Infinite values and unknown categories are refused in any feature, so all are read.
    all_features = tuple(range(file.n_features))
    rules = FeatureRules(library="xgboost", n_codes=n_codes, used=all_features)
    link = Link(function="identity", classes=classes, library="xgboost", of_booster=_function(file))

    return TreeModel(forest, link, refuses_nan=False, refuses_infinite=is_booster), rules


def _check_supported(
    file: XgboostFile, classes: npt.NDArray[Any] | None, *, is_booster: bool
) -> None:
    name = file.booster["name"]
    if name not in ("gbtree", "dart"):
        raise UnsupportedError(f"its booster is {name}, not trees")

    if classes is not None and file.objective == "multi:softmax":
        raise UnsupportedError(
            "a classifier with the objective multi:softmax computes probabilities by SciPy"
        )

    if name == "dart" and not is_booster:
        raise UnsupportedError("XGBoost's estimators add the trees of DART in another arithmetic")


def _function(file: XgboostFile) -> BoosterFunction:
    function = _FUNCTIONS.get(file.objective)
    if function is None:
        raise UnsupportedError(f"its objective is {file.objective}")
    return function


def _base_margin(file: XgboostFile) -> npt.NDArray[np.float64]:
    """What the sums start from: `base_score`, by the objective's inverse link, in float32."""
    stated = json.loads(file.parameters["base_score"])
    scores = np.atleast_1d(np.asarray(stated, np.float32))

    if file.objective in LOGISTIC:
        if ((scores < CLOSEST) | (scores > 1 - CLOSEST)).any():
            raise UnsupportedError(f"its base_score, {stated}, is within {CLOSEST:g} of 0 or 1")

        # C's logf is correctly rounded nearly everywhere: it is float64's logarithm, rounded.
        one = np.float32(1)
        margins = [np.float32(-math.log(float(one / score - one))) for score in scores]
        scores = np.array(margins, np.float32)
    elif _FUNCTIONS.get(file.objective) == "exp":
        margins = [np.float32(math.log(float(score))) for score in scores]
        scores = np.array(margins, np.float32)

    return np.broadcast_to(scores.astype(np.float64), (file.n_groups,)).copy()


class _Nodes:
    """One tree, in XGBoost's own numbering."""

    def __init__(self, tree: Mapping[str, Any]) -> None:
        if int(tree["tree_param"].get("size_leaf_vector", "1")) > 1:
            raise UnsupportedError("its trees have several outputs each")

        self.left = np.asarray(tree["left_children"], np.int64)
        self.right = np.asarray(tree["right_children"], np.int64)
        self.feature = np.asarray(tree["split_indices"], np.int64)
        self.condition = np.asarray(tree["split_conditions"], np.float32)
        self.default_left = np.asarray(tree["default_left"]).astype(np.bool_)

        categories = np.asarray(tree["categories"], np.int64)
        nodes = [int(node) for node in tree["categories_nodes"]]
        starts, sizes = tree["categories_segments"], tree["categories_sizes"]
        self.categories: dict[int, tuple[int, list[int]]] = {}
        """For each categorical node, its feature and the categories that go right."""

        for node, start, size in zip(nodes, starts, sizes, strict=True):
            node_categories = categories[int(start) : int(start) + int(size)].tolist()
            self.categories[node] = int(self.feature[node]), node_categories

    @property
    def compared(self) -> set[int]:
        """Features that are split by size."""
        inner = {*np.flatnonzero(self.left >= 0).tolist()} - {*self.categories}
        return {*self.feature[sorted(inner)].tolist()}

    def tree(self, weight: np.float32 | None, n_codes: Mapping[int, int]) -> Tree:
        """The tree as data.

        Args:
            weight: Of a tree of DART.
            n_codes: The number of codes of each feature that is split by category.
        """
        is_leaf = self.left < 0
        categories = self._goes_left(n_codes)
        compares = ~is_leaf
        compares[list(categories)] = False

        with np.errstate(over="ignore"):
            below = np.nextafter(self.condition, np.float32(-np.inf))

        if np.isinf(below[compares]).any():
            raise UnsupportedError("a threshold has no lower neighbour")

        # DART adds each tree to a zero of its own first, which turns a leaf's -0.0 into 0.0.
        leaves = self.condition

        if weight is not None:
            leaves = (np.float32(0) + self.condition) * weight

        values = np.where(is_leaf, leaves, np.float32(0))

        return Tree(
            feature=np.where(is_leaf, 0, self.feature),
            threshold=np.where(compares, below, np.float32(0)).astype(np.float64),
            left=np.where(is_leaf, -1, self.left),
            right=np.where(is_leaf, -1, self.right),
            missing_left=self.default_left & ~is_leaf,
            values=values.astype(np.float64).reshape(-1, 1),
            categories=categories,
        )

    def _goes_left(self, n_codes: Mapping[int, int]) -> dict[int, list[int]]:
        """For each categorical node, the codes that go left."""
        goes_left = {}
        for node, (feature, goes_right) in self.categories.items():
            missing = n_codes[feature] - 1
            codes = sorted({*range(missing)} - {*goes_right})
            if self.default_left[node]:
                codes.append(missing)
            goes_left[node] = codes
        return goes_left


def _count_codes(parts: list[_Nodes]) -> dict[int, int]:
    """The number of codes of each feature that is split by category."""
    n_codes: dict[int, int] = {}
    for part in parts:
        for feature, categories in part.categories.values():
            n_codes[feature] = max(n_codes.get(feature, 2), max(categories, default=0) + 3)
    check_codes(n_codes, sum(len(part.categories) for part in parts))

    if any(feature in n_codes for part in parts for feature in part.compared):
        raise UnsupportedError("a feature is split by category in some nodes and by size in others")
    return n_codes
