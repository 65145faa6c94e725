"""Compiled trees give the library's bits on each variant of the kernels that this processor runs."""

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import (
    ExtraTreesRegressor,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)

from nightscore.native.variants import SETTING, runnable_variants, this_processor
from tests.models.compiled.test_exactness import check
from tests.support.tree_data import adversarial_rows, fit, training_matrix

KINDS = ["normal", "few", "missing", "neighbours"]


@functools.cache
def boosted_with_categories() -> Any:
    """Codes of one byte, and nodes that ask for categories."""
    rng = np.random.default_rng(0)
    x = training_matrix(rng, 600, KINDS)
    y = rng.permutation(np.arange(600) % 12)
    options: Any = {"max_iter": 2, "min_samples_leaf": 1, "early_stopping": False}
    return fit(HistGradientBoostingClassifier(categorical_features=[1], **options), x, y)


@functools.cache
def small_forest() -> Any:
    """Codes of two bytes: more than 254 thresholds."""
    rng = np.random.default_rng(1)
    x = training_matrix(rng, 600, ["normal", "few", "normal"])
    y = rng.permutation(np.arange(600) % 3)
    return fit(RandomForestClassifier(30, max_depth=4, random_state=0), x, y)


@functools.cache
def deep_forest() -> Any:
    """Trees that are walked."""
    rng = np.random.default_rng(2)
    x = training_matrix(rng, 3_000, ["normal", "normal"])
    return fit(ExtraTreesRegressor(3, random_state=0), x, rng.normal(size=3_000))


@pytest.mark.parametrize("variant", runnable_variants(this_processor()))
@pytest.mark.parametrize("make", [boosted_with_categories, small_forest, deep_forest])
def test_trees_are_equal_on_each_variant(
    make: Any, variant: str, machine_code: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The best needs no setting, and its machine code is there already.
    if variant != runnable_variants(this_processor())[0]:
        monkeypatch.setenv(SETTING, variant)
    rng = np.random.default_rng(3)
    model = make()
    if make is boosted_with_categories:
        rows = training_matrix(rng, 333, KINDS)
    else:
        rows = adversarial_rows(rng, model, 333, finite32=True, nan=False)
    check(model, rows, machine_code)
