"""Checks that run while a library restores a model, before it follows the model's numbers."""

import functools
from typing import Any

import numpy as np

from nightscore.models.structure.lightgbm_trees import check_lightgbm
from nightscore.models.structure.tree_nodes import MAX_FEATURES, refuse

TREE_SIZES = ("n_features", "n_classes", "n_outputs")
"""Arguments of a `Tree`."""


@functools.cache
def guard_lightgbm() -> None:
    """From now on, restoring a Booster checks its text first: LightGBM would write outside."""
    from lightgbm.basic import Booster

    set_state = Booster.__setstate__

    def checked(booster: Any, state: dict[str, Any]) -> None:
        text = state.get("_handle", state.get("handle"))  # where LightGBM looks for it
        where = "the state of a Booster"
        if text is not None and not isinstance(text, str):
            refuse([f"expected a model's text, found {type(text).__name__}"], where)
        elif text is not None:
            check_lightgbm(text, where)
        set_state(booster, state)

    Booster.__setstate__ = checked  # type: ignore[method-assign, assignment]


@functools.cache
def guard_trees() -> None:
    """From now on, skops checks a tree's sizes before it makes one, which scikit-learn does not."""
    from skops.io._sklearn import TreeNode

    construct = TreeNode._construct

    def checked(node: Any) -> Any:
        refuse(tree_size_problems(node.args.construct()), "the sizes of a Tree")
        return construct(node)

    TreeNode._construct = checked


def tree_size_problems(arguments: Any) -> list[str]:
    """What is wrong with the arguments of a `Tree`: features, classes of each output, outputs."""
    if not isinstance(arguments, tuple) or len(arguments) != len(TREE_SIZES):
        return [f"expected {', '.join(TREE_SIZES)}"]

    n_features, n_classes, n_outputs = arguments
    is_list = isinstance(n_classes, np.ndarray) and n_classes.ndim == 1
    if not is_list or n_classes.dtype.kind not in "iu":
        return ["n_classes: expected a list of whole numbers"]

    problems = []
    if not isinstance(n_features, int | np.integer) or not 0 <= n_features <= MAX_FEATURES:
        problems.append(f"n_features {n_features!r}, expected 0 to {MAX_FEATURES}")

    if not isinstance(n_outputs, int | np.integer) or not 1 <= n_outputs == len(n_classes):
        problems.append(
            f"n_outputs {n_outputs!r}, expected at least 1, and as many as n_classes, "
            f"{len(n_classes)}"
        )
    elif (n_classes < 1).any():
        problems.append(f"n_classes {n_classes.min()}, expected at least 1")

    return problems
