"""Random LightGBM and XGBoost models on rows that hit the edges of their trees: the library's own, to the bit."""

import warnings
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import xgboost
from hypothesis import given, reject
from hypothesis import strategies as st

from nightscore.models.compiled.boosters import lightgbm_trees, xgboost_trees
from nightscore.models.compiled.unsupported import UnsupportedError
from nightscore.models.flavors.lightgbm import LightgbmPredictor
from nightscore.models.flavors.xgboost import XgboostPredictor
from nightscore.models.protocol import CompiledPredictor, Predictor
from nightscore.schemas.model import ModelFacts
from tests.models.compiled.test_exactness import examples, form
from tests.support.tree_data import EXTREMES, Matrix, compile_predictor, to_table, training_matrix

__all__ = ["form"]

KINDS = [
    "normal",
    "constant",
    "few",
    "neighbours",
    "neighbours32",
    "denormal",
    "denormal32",
    "missing",
    "wide",
]
seeds = st.integers(0, 2**32 - 1)
some_kinds = st.lists(st.sampled_from(KINDS), min_size=1, max_size=4)
NEAR_ZERO = [
    1e-35,
    -1e-35,
    float(np.float32(1e-35)),
    float(np.nextafter(np.float32(1e-35), np.float32(1))),
    1e-36,
]
ODD_CODES = [
    np.nan,
    -1.0,
    -0.5,
    0.0,
    -0.0,
    0.5,
    1.5,
    2.999,
    31.0,
    32.0,
    1e9,
    -1e9,
    3e9,
    1e30,
    np.inf,
    -np.inf,
]


def facts_of(model: Any, flavor: str) -> ModelFacts:
    """What `inspect` would say, as far as predictors ask."""
    classes = tuple(np.asarray(model.classes_).tolist()) if hasattr(model, "classes_") else None
    return ModelFacts(flavor=flavor, estimator=type(model).__name__, classes=classes)


def predictors(model: Any, flavor: str, cache: Path) -> tuple[Predictor, CompiledPredictor]:
    facts = facts_of(model, flavor)
    own = (
        LightgbmPredictor(model, facts) if flavor == "lightgbm" else XgboostPredictor(model, facts)
    )
    return own, compile_predictor(model, facts, own, cache)


def check(model: Any, flavor: str, rows: Matrix, cache: Path) -> None:
    """All outputs, bit by bit; nothing is left to the library."""
    own, compiled = predictors(model, flavor, cache)
    kinds = ["raw", "probability"] if hasattr(model, "classes_") else ["raw"]
    table = to_table(rows)
    expected = {kind: np.array(values) for kind, values in own.predict(table, kinds).items()}
    answer = compiled.predict(table, kinds)
    assert compiled.rows_by_library == 0, compiled.trouble
    assert {*answer} == {*expected}
    for kind, values in expected.items():
        assert answer[kind].shape == values.shape
        assert answer[kind].dtype == values.dtype
        assert (
            np.ascontiguousarray(answer[kind]).tobytes() == np.ascontiguousarray(values).tobytes()
        ), kind


def adversarial_rows(
    rng: np.random.Generator, model: Any, flavor: str, n_rows: int, *, finite32: bool
) -> Matrix:
    """Each feature takes its thresholds exactly, their neighbours of float64 and float32, and extremes."""
    read_trees = lightgbm_trees if flavor == "lightgbm" else xgboost_trees
    trees, rules = read_trees(model, facts_of(model, flavor))
    columns = []
    for feature in range(trees.forest.n_features):
        parts = [t.threshold[(t.feature == feature) & (t.left >= 0)] for t in trees.forest.trees]
        exact = np.unique(np.concatenate([*parts, [0.0]]))
        with np.errstate(over="ignore"):
            near = exact.astype(np.float32)
            neighbours = [np.nextafter(near, np.float32(side)) for side in (-np.inf, np.inf)]
        pool = np.concatenate(
            [
                exact, np.nextafter(exact, -np.inf), np.nextafter(exact, np.inf), near, *neighbours, EXTREMES,
                NEAR_ZERO, rng.normal(size=8), [np.nan] * 5, [np.inf, -np.inf],
            ]
        )  # fmt: skip
        if feature in rules.n_codes:
            pool = np.concatenate([ODD_CODES, np.arange(rules.n_codes[feature] + 3.0)])
        if finite32:
            with np.errstate(over="ignore"):
                pool = pool[~np.isinf(pool.astype(np.float32))]
        columns.append(rng.choice(pool, n_rows))
    return np.column_stack(columns)


def light(x: Matrix, y: Any, options: dict[str, Any], rounds: int = 5, **more: Any) -> Any:
    fixed: dict[str, Any] = {
        "verbose": -1, "num_threads": 1, "min_data_in_leaf": 1, "min_sum_hessian_in_leaf": 0.0, "min_data_in_bin": 1,
        "seed": 1, "min_data_per_group": 1, "cat_smooth": 0.1,
    }  # fmt: skip
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            return lightgbm.train({**fixed, **options}, lightgbm.Dataset(x, y, **more), rounds)
        except lightgbm.basic.LightGBMError:
            reject()  # it cannot be trained


def extreme(x: Matrix, y: Any, options: dict[str, Any], rounds: int = 5, **more: Any) -> Any:
    fixed: dict[str, Any] = {"nthread": 1, "min_child_weight": 0, "seed": 1}
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        x = np.where(np.isinf(x.astype(np.float32)), 1e30, x)
        return xgboost.train({**fixed, **options}, xgboost.DMatrix(x, y, nthread=1, **more), rounds)


LIGHT_OBJECTIVES = [
    "binary", "multiclass", "multiclassova", "regression", "regression_l1", "huber", "fair", "poisson", "quantile",
    "mape", "gamma", "tweedie", "cross_entropy", "cross_entropy_lambda",
]  # fmt: skip


def light_target(rng: np.random.Generator, objective: str, n_rows: int) -> Any:
    if objective.startswith("multi"):
        return rng.permutation(np.arange(n_rows) % 3)
    if objective in ("binary", "cross_entropy", "cross_entropy_lambda"):
        return rng.permutation(np.arange(n_rows) % 2)
    return rng.gamma(2.0, size=n_rows) + 0.1


@examples
@given(
    seed=seeds,
    kinds=some_kinds,
    objective=st.sampled_from(LIGHT_OBJECTIVES),
    leaves=st.sampled_from([2, 7, 31, 300]),
    missing=st.sampled_from([{}, {"use_missing": False}, {"zero_as_missing": True}]),
    boosting=st.sampled_from([{}, {}, {"boosting": "dart"}, {"boosting": "rf", "bagging_freq": 1,
                                                             "bagging_fraction": 0.5}]),
)  # fmt: skip
def test_lightgbm(
    form: str,
    machine_code: Path,
    seed: int,
    kinds: list[str],
    objective: str,
    leaves: int,
    missing: dict[str, Any],
    boosting: dict[str, Any],
) -> None:
    rng = np.random.default_rng(seed)
    x = training_matrix(rng, 300, kinds)
    x[rng.random(x.shape) < 0.2] = 0.0  # so that zeros, too, are missing where they count as such
    options = {"objective": objective, "num_leaves": leaves, "sigmoid": 1.7, **missing, **boosting}
    if objective.startswith("multi"):
        options["num_class"] = 3
    model = light(x, light_target(rng, objective, 300), options)
    check(
        model,
        "lightgbm",
        adversarial_rows(rng, model, "lightgbm", 333, finite32=False),
        machine_code,
    )


@examples
@given(
    seed=seeds,
    n_known=st.integers(1, 200),
    onehot=st.sampled_from([1, 4, 1_000]),
    has_missing=st.booleans(),
    spread=st.sampled_from([1, 7]),
)
def test_lightgbm_splits_by_category(
    machine_code: Path, seed: int, n_known: int, onehot: int, has_missing: bool, spread: int
) -> None:
    rng = np.random.default_rng(seed)
    category = spread * rng.integers(0, n_known, 400).astype(float)
    if has_missing:
        category[rng.random(400) < 0.2] = np.nan
    x = np.column_stack([rng.normal(size=400), category])
    y = rng.normal(size=400) + np.nan_to_num(category) % 3
    model = light(x, y, {"max_cat_to_onehot": onehot}, categorical_feature=[1])
    check(
        model,
        "lightgbm",
        adversarial_rows(rng, model, "lightgbm", 333, finite32=False),
        machine_code,
    )


def test_lightgbm_of_the_square_root_of_its_target(machine_code: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 2))
    model = light(x, x[:, 0] * 9, {"objective": "regression", "reg_sqrt": True})
    check(
        model,
        "lightgbm",
        adversarial_rows(rng, model, "lightgbm", 333, finite32=False),
        machine_code,
    )


@pytest.mark.parametrize("objective", ["lambdarank", "rank_xendcg"])
def test_lightgbm_ranks(machine_code: Path, objective: str) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 2))
    model = light(x, rng.integers(0, 4, 300), {"objective": objective}, group=[30] * 10)
    check(
        model,
        "lightgbm",
        adversarial_rows(rng, model, "lightgbm", 333, finite32=False),
        machine_code,
    )


EXTREME_OBJECTIVES = [
    "binary:logistic", "binary:logitraw", "binary:hinge", "multi:softprob", "multi:softmax", "reg:squarederror",
    "reg:logistic", "reg:pseudohubererror", "reg:absoluteerror", "count:poisson", "reg:gamma", "reg:tweedie",
]  # fmt: skip


def extreme_target(rng: np.random.Generator, objective: str, n_rows: int) -> Any:
    if objective.startswith("multi"):
        return rng.permutation(np.arange(n_rows) % 3)
    if objective.startswith("binary") or objective == "reg:logistic":
        return rng.permutation(np.arange(n_rows) % 2)
    return rng.gamma(2.0, size=n_rows) + 0.1


@examples
@given(
    seed=seeds,
    kinds=some_kinds,
    objective=st.sampled_from(EXTREME_OBJECTIVES),
    depth=st.sampled_from([1, 3, 8]),
    base=st.sampled_from([{}, {"base_score": 0.3}]),
    boosting=st.sampled_from(
        [{}, {}, {"booster": "dart", "rate_drop": 0.5}, {"num_parallel_tree": 3, "subsample": 0.5},
         {"tree_method": "exact"}, {"grow_policy": "lossguide", "max_leaves": 40, "max_depth": 0}]
    ),
)  # fmt: skip
def test_xgboost(
    form: str,
    machine_code: Path,
    seed: int,
    kinds: list[str],
    objective: str,
    depth: int,
    base: dict[str, Any],
    boosting: dict[str, Any],
) -> None:
    rng = np.random.default_rng(seed)
    x = training_matrix(rng, 300, kinds)
    options = {"objective": objective, "max_depth": depth, **base, **boosting}
    if objective.startswith("multi"):
        options["num_class"] = 3
    model = extreme(x, extreme_target(rng, objective, 300), options)
    check(
        model, "xgboost", adversarial_rows(rng, model, "xgboost", 333, finite32=True), machine_code
    )


@pytest.mark.parametrize(
    "objective", ["rank:ndcg", "rank:pairwise", "survival:cox", "survival:aft", "reg:quantileerror",
                  "reg:squaredlogerror"],
)  # fmt: skip
def test_rarer_objectives_of_xgboost(machine_code: Path, objective: str) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 2))
    y = np.abs(x[:, 0]) + 0.1
    more: dict[str, Any] = {"group": [30] * 10} if "rank" in objective else {}
    if "aft" in objective:
        more = {"label_lower_bound": y, "label_upper_bound": y}
    options: dict[str, Any] = {"objective": objective}
    if "quantile" in objective:
        options["quantile_alpha"] = [0.1, 0.5]
    model = extreme(x, y > 0.5 if "rank" in objective else y, options, **more)
    check(
        model, "xgboost", adversarial_rows(rng, model, "xgboost", 333, finite32=True), machine_code
    )


@examples
@given(
    seed=seeds,
    n_known=st.integers(1, 100),
    onehot=st.sampled_from([1, 4, 1_000]),
    has_missing=st.booleans(),
)
def test_xgboost_splits_by_category(
    machine_code: Path, seed: int, n_known: int, onehot: int, has_missing: bool
) -> None:
    rng = np.random.default_rng(seed)
    category = rng.integers(0, n_known, 400).astype(float)
    if has_missing:
        category[rng.random(400) < 0.2] = np.nan
    x = np.column_stack([rng.normal(size=400), category])
    y = rng.normal(size=400) + np.nan_to_num(category) % 3
    options = {"objective": "reg:squarederror", "max_depth": 3, "max_cat_to_onehot": onehot}
    model = extreme(x, y, options, 3, feature_types=["q", "c"], enable_categorical=True)
    check(
        model, "xgboost", adversarial_rows(rng, model, "xgboost", 333, finite32=True), machine_code
    )


@examples
@given(seed=seeds, n_classes=st.sampled_from([0, 2, 3]), stops=st.booleans())
def test_wrappers_predict_up_to_their_best_iteration(
    machine_code: Path, seed: int, n_classes: int, stops: bool
) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(200, 3))
    y = rng.permutation(np.arange(200) % n_classes) if n_classes else x[:, 0] + rng.normal(size=200)
    shared: dict[str, Any] = {"n_estimators": 12, "n_jobs": 1, "learning_rate": 1.0}
    for flavor, kind in (
        ("lightgbm", lightgbm.LGBMClassifier if n_classes else lightgbm.LGBMRegressor),
        ("xgboost", xgboost.XGBClassifier if n_classes else xgboost.XGBRegressor),
    ):
        options = {"verbose": -1} if flavor == "lightgbm" else {}
        model: Any = kind(**shared, **options)
        held_out = {"eval_set": [(x[100:], y[100:])]}
        if flavor == "xgboost":
            model.set_params(early_stopping_rounds=1 if stops else None)
            model.fit(x[:100], y[:100], verbose=False, **(held_out if stops else {}))
        else:
            calls = [lightgbm.early_stopping(1, verbose=False)] if stops else None
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # its versions have other names for the same
                model.fit(x[:100], y[:100], callbacks=calls, **(held_out if stops else {}))
        check(model, flavor, rng.normal(size=(65, 3)), machine_code)


@pytest.mark.parametrize(
    ("flavor", "options", "why"),
    [
        ("lightgbm", {"linear_tree": True}, "linear models in their leaves"),
        ("xgboost", {"booster": "gblinear"}, "its booster is gblinear"),
        (
            "xgboost",
            {"multi_strategy": "multi_output_tree", "tree_method": "hist"},
            "several outputs each",
        ),
    ],
)
def test_what_is_left_to_the_library(
    machine_code: Path, flavor: str, options: dict[str, Any], why: str
) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 3))
    y = x[:, 0] if "multi_strategy" not in options else x[:, :2]
    model = light(x, y, options) if flavor == "lightgbm" else extreme(x, y, options)
    facts = facts_of(model, flavor)
    own: Predictor = (
        LightgbmPredictor(model, facts) if flavor == "lightgbm" else XgboostPredictor(model, facts)
    )
    with pytest.raises(UnsupportedError, match=why):
        compile_predictor(model, facts, own, machine_code)
    expected = model.predict(x if flavor == "lightgbm" else xgboost.DMatrix(x)).reshape(len(x), -1)
    assert np.array_equal(own.predict(to_table(x), [])["prediction"], expected)


def test_a_classifier_of_softmax_is_left_to_xgboost(machine_code: Path) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(150, 3)), np.arange(150) % 3
    model = xgboost.XGBClassifier(n_estimators=2, objective="multi:softmax", n_jobs=1).fit(x, y)
    facts = facts_of(model, "xgboost")
    own = XgboostPredictor(model, facts)
    with pytest.raises(UnsupportedError, match="multi:softmax"):
        compile_predictor(model, facts, own, machine_code)
    answer = own.predict(to_table(x), ["probability"])
    assert np.array_equal(answer["probability"], model.predict_proba(x))
    assert np.array_equal(answer["prediction"].ravel(), model.predict(x))


def test_more_categories_than_a_set_of_words_holds_are_left_to_the_library(
    machine_code: Path,
) -> None:
    rng = np.random.default_rng(0)
    category = rng.integers(0, 5_000, 20_000).astype(float)
    y = np.sin(category) + rng.normal(size=20_000)
    options = {"max_depth": 3, "max_cat_to_onehot": 1}
    model = extreme(category[:, None], y, options, 3, feature_types=["c"], enable_categorical=True)
    with pytest.raises(UnsupportedError, match="so many categories"):
        predictors(model, "xgboost", machine_code)


def test_a_column_of_integers_is_read_as_the_library_reads_it(machine_code: Path) -> None:
    """Beyond 2**24, float32 rounds them: once, not by way of float64."""
    rng = np.random.default_rng(0)
    whole = rng.integers(2**60, 2**60 + 2**40, 500)
    x = whole.astype(np.float64)[:, None]
    for flavor, model in (
        ("lightgbm", light(x, whole % 97, {})),
        (
            "xgboost",
            extreme(x, whole % 97, {"objective": "reg:squarederror"}, feature_names=["f0"]),
        ),
    ):
        own, compiled = predictors(model, flavor, machine_code)
        table = pa.table({"f0": whole})
        frame = pd.DataFrame(
            {"f0": whole}
        )  # LightGBM takes an array of integers as float32, a frame as float64
        expected = model.predict(frame) if flavor == "lightgbm" else model.inplace_predict(frame)
        assert np.array_equal(own.predict(table, [])["prediction"].ravel(), expected)
        assert np.array_equal(compiled.predict(table, [])["prediction"].ravel(), expected)
