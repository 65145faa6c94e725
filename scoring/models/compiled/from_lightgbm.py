"""LightGBM's trees, read from its model file.

A row's values go through LightGBM's dense reader first: what is not greater than 1e-35 in size is 0 there. A node
then says what NaN is (`missing_type`): 0, a value that goes where the node says, or the same as 0, which is missing.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from nightscore.models.compiled.booster_values import LIGHTGBM_ZERO as ZERO
from nightscore.models.compiled.booster_values import FeatureRules
from nightscore.models.compiled.forest import Forest, Tree, TreeModel
from nightscore.models.compiled.links import BoosterFunction, Link
from nightscore.models.compiled.unsupported import UnsupportedError, check_codes
from nightscore.models.structure.lightgbm_file import LightgbmFile, numbers

CATEGORICAL, DEFAULT_LEFT = 1, 2
NONE, ZERO_MISSING, NAN_MISSING = 0, 1, 2
_FUNCTIONS: dict[str, BoosterFunction] = {
    **dict.fromkeys(
        ("regression", "regression_l1", "huber", "fair", "quantile", "mape"), "identity"
    ),
    **dict.fromkeys(("lambdarank", "rank_xendcg"), "identity"),
    **dict.fromkeys(("poisson", "gamma", "tweedie"), "exp"),
    **dict.fromkeys(("binary", "cross_entropy", "multiclassova"), "sigmoid"),
    "multiclass": "softmax",
    "cross_entropy_lambda": "log1p_exp",
    "": "identity",
}


def lightgbm_model(
    file: LightgbmFile, classes: npt.NDArray[Any] | None
) -> tuple[TreeModel, FeatureRules]:
    """A model's trees, and what becomes of values before they see them.

    Args:
        file: The model.
        classes: Of a classifier of scikit-learn's kind; None: the prediction is what the objective makes of the sum.

    Raises:
        UnsupportedError: There is none.
    """
    if any(tree.get("is_linear", "0") != "0" for tree in file.trees):
        raise UnsupportedError("its trees have linear models in their leaves")
    n_codes: dict[int, int] = {}
    parts = [_Nodes(tree) for tree in file.trees]
    for part in parts:
        for feature, categories in part.categories():
            n_codes[feature] = max(n_codes.get(feature, 1), max(categories, default=0) + 2)
    compared = {
        feature for part in parts for feature in part.feature[~part.is_categorical].tolist()
    }
    if not compared.isdisjoint(n_codes):
        raise UnsupportedError(
            "a feature is a category in some of its splits, and a number in others"
        )
    check_codes(n_codes, sum(int(part.is_categorical.sum()) for part in parts))
    zero_missing = _zero_missing(parts)
    n_outputs, n_trees = file.n_outputs, len(file.trees)
    forest = Forest(
        tuple(part.tree() for part in parts),
        file.n_features,
        tuple(i % n_outputs for i in range(n_trees)),
        np.zeros(n_outputs),
        "float64",
        n_codes,
    )
    used = sorted({feature for part in parts for feature in part.feature.tolist()})
    rules = FeatureRules("lightgbm", n_codes, tuple(sorted(zero_missing)), tuple(used))
    divisor = n_trees // n_outputs if "average_output" in file.header else 0
    link = _link(file, classes, divisor)
    return TreeModel(forest, link, refuses_nan=False, refuses_infinite=False), rules


def _link(file: LightgbmFile, classes: npt.NDArray[Any] | None, divisor: int) -> Link:
    name, *options = file.objective or ("",)
    function = _FUNCTIONS.get(name)
    stated = dict(option.partition(":")[::2] for option in options)
    if function is None:
        raise UnsupportedError(f"its objective is {name}")
    if name == "regression" and "sqrt" in stated:
        function = "square"
    return Link(
        "identity", classes, divisor=divisor, library="lightgbm", of_booster=function,
        scale=float(stated.get("sigmoid", 1.0)),
    )  # fmt: skip


class _Nodes:
    """One tree: inner nodes first, then leaves, which LightGBM counts from -1 downwards."""

    def __init__(self, lines: Mapping[str, str]) -> None:
        self.values = numbers(lines, "leaf_value")
        self.n_inner = int(lines["num_leaves"]) - 1
        self.feature = numbers(lines, "split_feature", np.int64)
        self.threshold = numbers(lines, "threshold")
        decision = numbers(lines, "decision_type", np.int64)
        self.is_categorical = (decision & CATEGORICAL) != 0
        self.default_left = (decision & DEFAULT_LEFT) != 0
        self.missing = decision >> 2 & 3
        self._left, self._right = (
            numbers(lines, f"{side}_child", np.int64) for side in ("left", "right")
        )
        self._bounds = numbers(lines, "cat_boundaries", np.int64)
        self._words = numbers(lines, "cat_threshold", np.int64).astype("<u4")
        if {len(found) for found in (self.feature, self.threshold, decision, self._left)} != {
            self.n_inner
        }:
            raise UnsupportedError("a tree of its model file is not whole")

    def categories(self) -> list[tuple[int, list[int]]]:
        """Of each categorical node, its feature and the categories that go left."""
        return [
            (int(self.feature[node]), self._goes_left(node))
            for node in np.flatnonzero(self.is_categorical).tolist()
        ]

    def _goes_left(self, node: int) -> list[int]:
        place = int(self.threshold[node])
        words = self._words[self._bounds[place] : self._bounds[place + 1]]
        return [
            int(code)
            for code in np.flatnonzero(np.unpackbits(words.view(np.uint8), bitorder="little"))
        ]

    @property
    def zero_left(self) -> npt.NDArray[np.bool_]:
        """Where 0 goes by comparison."""
        return self.threshold >= 0.0

    def tree(self) -> Tree:
        n, n_leaves = self.n_inner, len(self.values)
        nothing = np.zeros(n_leaves, np.int64)
        # Values that are 0 to LightGBM go together, so that a threshold among them stands for one at their end.
        near = np.where(self.zero_left, ZERO, np.nextafter(-ZERO, -np.inf))
        threshold = np.where(
            (self.threshold >= -ZERO) & (self.threshold < ZERO), near, self.threshold
        )
        missing_left = (
            np.where(self.missing == NONE, self.zero_left, self.default_left) & ~self.is_categorical
        )
        return Tree(
            np.concatenate([self.feature, nothing]),
            np.concatenate([threshold, nothing]),
            np.concatenate([np.where(self._left < 0, n - 1 - self._left, self._left), nothing - 1]),
            np.concatenate(
                [np.where(self._right < 0, n - 1 - self._right, self._right), nothing - 1]
            ),
            np.concatenate([missing_left, nothing.astype(np.bool_)]),
            np.concatenate([np.zeros(n), self.values]).reshape(-1, 1),
            {int(node): self._goes_left(int(node)) for node in np.flatnonzero(self.is_categorical)},
        )


def _zero_missing(parts: list[_Nodes]) -> frozenset[int]:
    """Features whose zeros must be looked at as missing: somewhere they do not go where a comparison sends them."""
    found: set[int] = set()
    with_nan: set[int] = set()
    for part in parts:
        compares = ~part.is_categorical
        odd = compares & (part.missing == ZERO_MISSING) & (part.default_left != part.zero_left)
        found |= {*part.feature[odd].tolist()}
        with_nan |= {*part.feature[compares & (part.missing == NAN_MISSING)].tolist()}
    if found & with_nan:
        raise UnsupportedError(
            "zeros of a feature are missing in some of its trees and not in others"
        )
    return frozenset(found)
