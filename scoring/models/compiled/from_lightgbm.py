"""LightGBM's trees, read from its model file.

LightGBM's dense reader takes values of at most 1e-35 in size for 0. A node then says what NaN is
(`missing_type`): 0, a value that goes where the node says, or the same as 0, which is missing.
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
        classes: Classes of a classifier with scikit-learn's interface; None: the prediction is what
            the objective makes of the sum.

    Raises:
        UnsupportedError: It has no compiled form.
    """
    if any(tree.get("is_linear", "0") != "0" for tree in file.trees):
        raise UnsupportedError("its trees have linear models in their leaves")

    parts = [_Nodes(tree) for tree in file.trees]
    n_codes = _count_codes(parts)
    check_codes(n_codes, sum(int(part.is_categorical.sum()) for part in parts))

    n_outputs, n_trees = file.n_outputs, len(file.trees)
    forest = Forest(
        trees=tuple(part.tree() for part in parts),
        n_features=file.n_features,
        column=tuple(i % n_outputs for i in range(n_trees)),
        base=np.zeros(n_outputs),
        number="float64",
        n_categories=n_codes,
    )

    used: set[int] = set()
    for part in parts:
        used.update(part.feature.tolist())

    rules = FeatureRules(
        library="lightgbm",
        n_codes=n_codes,
        zero_missing=tuple(sorted(_zero_missing(parts))),
        used=tuple(sorted(used)),
    )

    divisor = n_trees // n_outputs if "average_output" in file.header else 0
    link = _link(file, classes, divisor)

    return TreeModel(forest, link, refuses_nan=False, refuses_infinite=False), rules


def _link(file: LightgbmFile, classes: npt.NDArray[Any] | None, divisor: int) -> Link:
    name, *options = file.objective or ("",)
    stated = dict(option.partition(":")[::2] for option in options)

    function = _FUNCTIONS.get(name)
    if function is None:
        raise UnsupportedError(f"its objective is {name}")

    if name == "regression" and "sqrt" in stated:
        function = "square"

    return Link(
        function="identity",
        classes=classes,
        divisor=divisor,
        library="lightgbm",
        of_booster=function,
        scale=float(stated.get("sigmoid", 1.0)),
    )


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

        self._left = numbers(lines, "left_child", np.int64)
        self._right = numbers(lines, "right_child", np.int64)
        self._bounds = numbers(lines, "cat_boundaries", np.int64)
        self._words = numbers(lines, "cat_threshold", np.int64).astype("<u4")

        lengths = {len(self.feature), len(self.threshold), len(decision), len(self._left)}
        if lengths != {self.n_inner}:
            raise UnsupportedError("a tree of its model file is incomplete")

    def categories(self) -> list[tuple[int, list[int]]]:
        """For each categorical node, its feature and the categories that go left."""
        nodes = np.flatnonzero(self.is_categorical).tolist()
        return [(int(self.feature[node]), self._goes_left(node)) for node in nodes]

    def _goes_left(self, node: int) -> list[int]:
        place = int(self.threshold[node])
        words = self._words[self._bounds[place] : self._bounds[place + 1]]
        bits = np.unpackbits(words.view(np.uint8), bitorder="little")
        return [int(code) for code in np.flatnonzero(bits)]

    @property
    def zero_left(self) -> npt.NDArray[np.bool_]:
        """Where 0 goes by comparison."""
        return self.threshold >= 0.0

    def tree(self) -> Tree:
        """The tree as data."""
        n_leaves = len(self.values)
        zeros = np.zeros(n_leaves, np.int64)
        categories = np.flatnonzero(self.is_categorical).tolist()

        return Tree(
            feature=np.concatenate([self.feature, zeros]),
            threshold=np.concatenate([self._thresholds(), zeros]),
            left=np.concatenate([self._children(self._left), zeros - 1]),
            right=np.concatenate([self._children(self._right), zeros - 1]),
            missing_left=np.concatenate([self._missing_left(), zeros.astype(np.bool_)]),
            values=np.concatenate([np.zeros(self.n_inner), self.values]).reshape(-1, 1),
            categories={node: self._goes_left(node) for node in categories},
        )

    def _thresholds(self) -> npt.NDArray[np.float64]:
        """Thresholds for values as they are.

        Values that are 0 to LightGBM go together, so a threshold among them stands for one at their
        end.
        """
        at_end = np.where(self.zero_left, ZERO, np.nextafter(-ZERO, -np.inf))
        is_near_zero = (self.threshold >= -ZERO) & (self.threshold < ZERO)
        return np.where(is_near_zero, at_end, self.threshold)

    def _children(self, children: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Numbers of children, leaves after inner nodes."""
        return np.where(children < 0, self.n_inner - 1 - children, children)

    def _missing_left(self) -> npt.NDArray[np.bool_]:
        goes_left = np.where(self.missing == NONE, self.zero_left, self.default_left)
        return np.asarray(goes_left & ~self.is_categorical, np.bool_)


def _count_codes(parts: list[_Nodes]) -> dict[int, int]:
    """The number of codes of each feature that is split by category."""
    n_codes: dict[int, int] = {}
    for part in parts:
        for feature, categories in part.categories():
            n_codes[feature] = max(n_codes.get(feature, 1), max(categories, default=0) + 2)

    compared: set[int] = set()
    for part in parts:
        compared.update(part.feature[~part.is_categorical].tolist())

    if not compared.isdisjoint(n_codes):
        raise UnsupportedError(
            "a feature is a category in some of its splits, and a number in others"
        )

    return n_codes


def _zero_missing(parts: list[_Nodes]) -> frozenset[int]:
    """Features whose zeros count as missing.

    In some node such zeros do not go where a comparison sends them.
    """
    zero_missing: set[int] = set()
    nan_missing: set[int] = set()
    for part in parts:
        compares = ~part.is_categorical
        is_redirected = part.default_left != part.zero_left
        is_zero_missing = compares & (part.missing == ZERO_MISSING) & is_redirected
        is_nan_missing = compares & (part.missing == NAN_MISSING)
        zero_missing.update(part.feature[is_zero_missing].tolist())
        nan_missing.update(part.feature[is_nan_missing].tolist())

    if zero_missing & nan_missing:
        raise UnsupportedError(
            "zeros of a feature are missing in some of its trees and not in others"
        )

    return frozenset(zero_missing)
