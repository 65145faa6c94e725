"""LightGBM's and XGBoost's models as data for machine code, read from their files."""

from typing import Any

import numpy as np
import numpy.typing as npt

from nightscore.models.compiled.booster_values import FeatureRules
from nightscore.models.compiled.forest import Forest, TreeModel
from nightscore.models.compiled.from_lightgbm import lightgbm_model
from nightscore.models.compiled.from_xgboost import xgboost_model
from nightscore.models.compiled.layout import depth, lay_out
from nightscore.models.compiled.trees import TreesForm
from nightscore.models.compiled.unsupported import UnsupportedError
from nightscore.models.structure.lightgbm_file import model_text, read_lightgbm
from nightscore.models.structure.xgboost_file import read_xgboost
from nightscore.schemas.model import ModelFacts

WORD_NS = 2.6
"""Time of 64 rows for a word of a categorical node's set (Zen 5, AVX-512)."""
NODE_NS = 3.3
"""Time of 64 rows for any other node."""
LEVEL_NS = 170.0
"""Time of 64 rows for a level of a tree in the library's own walk.

XGBoost takes 240 ns, and LightGBM longer. The rest is a margin.
"""


def lightgbm_form(model: Any, facts: ModelFacts) -> TreesForm:
    """The data of a LightGBM model.

    Args:
        model: A booster, or one of LightGBM's estimators.
        facts: What the model is.

    Raises:
        UnsupportedError: There is no compiled form.
    """
    return _booster_form(*lightgbm_trees(model, facts))


def xgboost_form(model: Any, facts: ModelFacts) -> TreesForm:
    """The data of an XGBoost model.

    Args:
        model: A booster, or one of XGBoost's estimators.
        facts: What the model is.

    Raises:
        UnsupportedError: There is no compiled form.
    """
    return _booster_form(*xgboost_trees(model, facts))


def lightgbm_trees(model: Any, facts: ModelFacts) -> tuple[TreeModel, FeatureRules]:
    """A LightGBM model's trees, and what it makes of values first.

    Raises:
        UnsupportedError: See `lightgbm_form`.
    """
    if getattr(model, "_other_params", {}).get("pred_early_stop"):
        raise UnsupportedError("its predictions stop early")

    return lightgbm_model(read_lightgbm(model_text(model)), _classes(facts))


def xgboost_trees(model: Any, facts: ModelFacts) -> tuple[TreeModel, FeatureRules]:
    """An XGBoost model's trees, and what it makes of values first.

    Raises:
        UnsupportedError: See `xgboost_form`.
    """
    is_booster = not hasattr(model, "get_booster")
    booster = model if is_booster else model.get_booster()
    file = read_xgboost(bytes(booster.save_raw("ubj")))
    return xgboost_model(file, _classes(facts), is_booster=is_booster)


def _classes(facts: ModelFacts) -> npt.NDArray[Any] | None:
    return None if facts.classes is None else np.asarray(facts.classes)


def _booster_form(trees: TreeModel, rules: FeatureRules) -> TreesForm:
    if trees.forest.n_categories and _is_slower(trees.forest):
        raise UnsupportedError("it has so many categories that the library itself is faster")

    forest = lay_out(trees.forest)
    if forest is None:
        raise UnsupportedError("its trees have too many leaves, thresholds or categories")

    return TreesForm(
        forest=forest,
        link=trees.link,
        refuses_nan=trees.refuses_nan,
        refuses_infinite=trees.refuses_infinite,
        branches=None,
        rules=rules,
    )


def _is_slower(forest: Forest) -> bool:
    """Whether sets of categories take longer than the library's own walk."""
    n_words = -(-max(forest.n_categories.values()) // 32)
    n_sets = sum(len(tree.categories) for tree in forest.trees)
    n_nodes = sum(int((~tree.is_leaf).sum()) for tree in forest.trees)
    n_levels = sum(depth(tree) for tree in forest.trees)

    split_ns = WORD_NS * n_words * n_sets + NODE_NS * (n_nodes - n_sets)
    return split_ns > LEVEL_NS * n_levels
