"""XGBoost's trees, read from its model file.

X, thresholds, leaves and sums are float32: a sum starts from the margin of `base_score`, and trees are added in their
order. A value below a threshold goes left, which is one not above the threshold's lower neighbour. A category in the
set of a node goes right, any other left, and a missing one where the node says.
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
        ("reg:squarederror", "reg:squaredlogerror", "reg:pseudohubererror", "reg:absoluteerror", "reg:quantileerror",
         "binary:logitraw", "rank:pairwise", "rank:ndcg", "rank:map"),
        "identity",
    ),
    **dict.fromkeys(("reg:logistic", "binary:logistic"), "sigmoid"),
    **dict.fromkeys(("count:poisson", "reg:gamma", "reg:tweedie", "survival:cox", "survival:aft"), "exp"),
    "binary:hinge": "hinge",
    "multi:softprob": "softmax",
    "multi:softmax": "argmax",
}  # fmt: skip
LOGISTIC = ("reg:logistic", "binary:logistic")
CLOSEST = 1e-6
"""To 0 and to 1: a logistic base score nearer to them is moved away by some versions of XGBoost, by others not."""


def xgboost_model(
    file: XgboostFile, classes: npt.NDArray[Any] | None, *, is_booster: bool
) -> tuple[TreeModel, FeatureRules]:
    """A model's trees, and what becomes of values before they see them.

    Args:
        file: The model.
        classes: Of a classifier of scikit-learn's kind; None: the prediction is what the objective makes of the sum.
        is_booster: All its trees predict, and infinite values are refused, as MLflow has it; else those up to the
            best iteration, and infinite values are values.

    Raises:
        UnsupportedError: There is none.
    """
    booster = file.booster
    if booster["name"] not in ("gbtree", "dart"):
        raise UnsupportedError(f"its booster is {booster['name']}, not trees")
    if classes is not None and file.objective == "multi:softmax":
        raise UnsupportedError(
            "a classifier with the objective multi:softmax computes probabilities by SciPy"
        )
    is_dart = booster["name"] == "dart"
    if is_dart and not is_booster:
        raise UnsupportedError("wrappers add the trees of DART in another arithmetic")
    model = booster["gbtree"]["model"] if is_dart else booster["model"]
    n_trees = len(model["trees"])
    if not is_booster and "best_iteration" in file.attributes:
        n_trees = int(model["iteration_indptr"][int(file.attributes["best_iteration"]) + 1])
    weights = (
        [np.float32(weight) for weight in booster["weight_drop"]] if is_dart else [None] * n_trees
    )
    parts = [_Nodes(tree) for tree in model["trees"][:n_trees]]
    n_codes: dict[int, int] = {}
    for part in parts:
        for feature, categories in part.categories.values():
            n_codes[feature] = max(n_codes.get(feature, 2), max(categories, default=0) + 3)
    check_codes(n_codes, sum(len(part.categories) for part in parts))
    if any(feature in n_codes for part in parts for feature in part.compared):
        raise UnsupportedError("a feature is split by category in some nodes and by size in others")
    forest = Forest(
        tuple(part.tree(weight, n_codes) for part, weight in zip(parts, weights, strict=True)),
        file.n_features,
        tuple(int(group) for group in model["tree_info"][:n_trees]),
        _base_margin(file),
        "float32",
        n_codes,
        sums="float32",
    )
    # Infinite values and unknown categories are refused wherever they are: all features are looked at.
    rules = FeatureRules("xgboost", n_codes, used=tuple(range(file.n_features)))
    link = Link("identity", classes, library="xgboost", of_booster=_function(file))
    return TreeModel(forest, link, refuses_nan=False, refuses_infinite=is_booster), rules


def _function(file: XgboostFile) -> BoosterFunction:
    found = _FUNCTIONS.get(file.objective)
    if found is None:
        raise UnsupportedError(f"its objective is {file.objective}")
    return found


def _base_margin(file: XgboostFile) -> npt.NDArray[np.float64]:
    """What the sums start from: `base_score`, by the objective's inverse link, in float32."""
    stated = json.loads(file.parameters["base_score"])
    scores = np.atleast_1d(np.asarray(stated, np.float32))
    if file.objective in LOGISTIC:
        if ((scores < CLOSEST) | (scores > 1 - CLOSEST)).any():
            raise UnsupportedError(f"its base_score, {stated}, is within {CLOSEST:g} of 0 or 1")
        # C's logf is correctly rounded nearly everywhere, so it is float64's logarithm, rounded.
        one = np.float32(1)
        scores = np.array(
            [np.float32(-math.log(float(one / score - one))) for score in scores], np.float32
        )
    elif _FUNCTIONS.get(file.objective) == "exp":
        scores = np.array([np.float32(math.log(float(score))) for score in scores], np.float32)
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
        found = np.asarray(tree["categories"], np.int64)
        starts, sizes = tree["categories_segments"], tree["categories_sizes"]
        self.categories: dict[int, tuple[int, list[int]]] = {
            int(node): (
                int(self.feature[int(node)]),
                found[int(start) : int(start) + int(size)].tolist(),
            )
            for node, start, size in zip(tree["categories_nodes"], starts, sizes, strict=True)
        }

    @property
    def compared(self) -> set[int]:
        """Features that are split by size."""
        inner = {*np.flatnonzero(self.left >= 0).tolist()} - {*self.categories}
        return {*self.feature[sorted(inner)].tolist()}

    def tree(self, weight: np.float32 | None, n_codes: Mapping[int, int]) -> Tree:
        is_leaf = self.left < 0
        goes_left = {}
        for node, (feature, categories) in self.categories.items():
            missing = n_codes[feature] - 1
            left = sorted({*range(missing)} - {*categories})
            goes_left[node] = [*left, missing] if self.default_left[node] else left
        compares = ~is_leaf
        compares[list(goes_left)] = False
        with np.errstate(over="ignore"):
            below = np.nextafter(self.condition, np.float32(-np.inf))
        if np.isinf(below[compares]).any():
            raise UnsupportedError("a threshold has no lower neighbour")
        # DART adds each tree to a zero of its own first, which makes -0.0 of a leaf 0.0.
        leaves = self.condition if weight is None else (np.float32(0) + self.condition) * weight
        values = np.where(is_leaf, leaves, np.float32(0))
        return Tree(
            np.where(is_leaf, 0, self.feature),
            np.where(compares, below, np.float32(0)).astype(np.float64),
            np.where(is_leaf, -1, self.left),
            np.where(is_leaf, -1, self.right),
            self.default_left & ~is_leaf,
            values.astype(np.float64).reshape(-1, 1),
            goes_left,
        )
