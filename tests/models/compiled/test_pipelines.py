"""Transformers in front of trees: to the bit, whatever columns they take and however these are named."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.compose import ColumnTransformer, make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestRegressor
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    StandardScaler,
)

from nightscore.models.compiled import values
from nightscore.models.compiled.unsupported import UnsupportedError
from nightscore.models.flavors.sklearn import SklearnPredictor
from nightscore.models.structure.sklearn_pipelines import split_pipeline
from nightscore.schemas.model import ModelFacts
from tests.support.tree_data import compile_predictor, fit, kinds_of

NAMES = ["a", "color", "b", "size", "c", "count"]
ORDINAL = OrdinalEncoder(
    handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2
)
ONE_HOT = OneHotEncoder(handle_unknown="ignore", sparse_output=False)


def make_rows(rng: np.random.Generator, n_rows: int) -> pd.DataFrame:
    numbers = rng.normal(size=(n_rows, 3))
    numbers[rng.random(numbers.shape) < 0.1] = np.nan
    frame = pd.DataFrame(numbers, columns=["a", "b", "c"])
    frame["color"] = rng.choice(["red", "green", "blue", None], n_rows)
    frame["size"] = rng.choice([f"size {i}" for i in range(20)], n_rows)
    frame["count"] = rng.integers(0, 9, n_rows)
    return frame[NAMES]


def check(model: Any, x: Any, cache: Path, *, is_named: bool = True) -> None:
    facts = ModelFacts(flavor="sklearn", estimator="", is_named=is_named, n_features=x.shape[1])
    frame = x if is_named else pd.DataFrame(x, columns=[f"f{i}" for i in range(x.shape[1])])
    table, kinds = (
        pa.Table.from_pandas(frame, preserve_index=False),
        kinds_of(split_pipeline(model)[1]),
    )
    own = {
        kind: np.array(v)
        for kind, v in SklearnPredictor(model, facts).predict(table, kinds).items()
    }
    compiled = compile_predictor(model, facts, SklearnPredictor(model, facts), cache)
    answer = compiled.predict(table, kinds)
    assert compiled.rows_by_library == 0, compiled.trouble
    for kind, answers in own.items():
        assert np.array_equal(answer[kind], answers), kind
    assert np.array_equal(np.asarray(answer["prediction"]).ravel(), model.predict(x))


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    seed=st.integers(0, 2**32 - 1),
    encoder=st.sampled_from(
        [ORDINAL, ONE_HOT, make_pipeline(SimpleImputer(strategy="most_frequent"), ONE_HOT)]
    ),
    numeric=st.sampled_from(
        [
            "passthrough",
            SimpleImputer(),
            make_pipeline(SimpleImputer(), StandardScaler()),
            MinMaxScaler(),
        ]
    ),
    remainder=st.sampled_from(["passthrough", "drop"]),
    columns=st.sampled_from(["names", "places", "mask"]),
    final=st.sampled_from(
        [HistGradientBoostingClassifier(max_iter=5), RandomForestRegressor(5, random_state=0)]
    ),
)
def test_random_pipelines(
    machine_code: Path,
    seed: int,
    encoder: Any,
    numeric: Any,
    remainder: str,
    columns: str,
    final: Any,
) -> None:
    rng = np.random.default_rng(seed)
    frame = make_rows(rng, 300)
    strings: Any = ["size", "color"]
    numbers: Any = ["c", "a"]
    if columns == "places":
        strings, numbers = ([NAMES.index(name) for name in chosen] for chosen in (strings, numbers))
    elif columns == "mask":
        strings, numbers = ([name in chosen for name in NAMES] for chosen in (strings, numbers))
    front = make_column_transformer((encoder, strings), (numeric, numbers), remainder=remainder)
    y = rng.permutation(np.arange(300) % 3)
    model = fit(make_pipeline(front, final), frame, y)
    rows = make_rows(rng, 200)
    rows.loc[3, "color"] = "unseen"
    check(model, rows, machine_code)


@pytest.mark.parametrize(
    "final", [HistGradientBoostingClassifier(max_iter=5), RandomForestRegressor(5)]
)
@pytest.mark.parametrize(
    "front", [SimpleImputer(), StandardScaler(), make_pipeline(SimpleImputer(), MinMaxScaler())]
)
@pytest.mark.parametrize("is_named", [True, False])
def test_one_transformer_of_all_columns(
    machine_code: Path, front: Any, final: Any, is_named: bool
) -> None:
    rng = np.random.default_rng(0)
    x: Any = make_rows(rng, 300)[["a", "b", "c"]]
    x = x if is_named else x.to_numpy(copy=True)
    check(
        make_pipeline(front, final).fit(x, np.arange(300) % 3), x, machine_code, is_named=is_named
    )


def test_columns_by_slice_and_none_at_all(machine_code: Path) -> None:
    rng = np.random.default_rng(0)
    frame = make_rows(rng, 300)[["a", "b", "c", "count"]]
    front = ColumnTransformer(
        [
            ("scaled", StandardScaler(), slice(1, 3)),
            ("none", StandardScaler(), []),
            ("rest", "passthrough", slice(0, 1)),
        ]
    )
    model = make_pipeline(front, HistGradientBoostingClassifier(max_iter=5)).fit(
        frame, np.arange(300) % 2
    )
    check(model, frame, machine_code)


def test_encoded_numbers(machine_code: Path) -> None:
    rng = np.random.default_rng(0)
    frame = make_rows(rng, 300)[["count", "a"]].assign(half=rng.choice([0.5, 1.5, np.nan], 300))
    model = make_pipeline(
        make_column_transformer((ORDINAL, ["count", "half"]), remainder="passthrough"),
        HistGradientBoostingClassifier(max_iter=5),
    ).fit(frame, frame["count"] + frame["half"].fillna(9) > 5)
    frame.loc[3, ["count", "half"]] = [77, 0.25]
    check(model, frame, machine_code)


@pytest.mark.parametrize("limit", ["MAX_VALUES", "MAX_CELLS"])
def test_encoders_of_very_many_values_are_left_to_the_library(
    machine_code: Path, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    frame = pd.DataFrame({"a": [f"value {i % 30}" for i in range(300)]})
    model = make_pipeline(ONE_HOT, RandomForestRegressor(3)).fit(frame, np.arange(300.0))
    facts = ModelFacts(flavor="sklearn", estimator="", is_named=True, n_features=1)
    check(model, frame, machine_code)
    monkeypatch.setattr(values, limit, 29)
    with pytest.raises(UnsupportedError, match=r"known values|too much memory"):
        compile_predictor(model, facts, SklearnPredictor(model, facts), machine_code)


def test_a_category_that_no_row_of_a_slice_has_is_not_refused(machine_code: Path) -> None:
    frame = pd.DataFrame({"a": ["x", "y", "z"] * 30})
    model = make_pipeline(OneHotEncoder(sparse_output=False), RandomForestRegressor(3)).fit(
        frame, np.arange(90.0)
    )
    facts = ModelFacts(flavor="sklearn", estimator="", is_named=True, n_features=1)
    compiled = compile_predictor(model, facts, SklearnPredictor(model, facts), machine_code)
    rows = pa.table({"a": pa.array([*frame["a"], "unseen"]).dictionary_encode()})
    answer = compiled.predict(rows.slice(0, 90), [])["prediction"]
    assert np.array_equal(answer.ravel(), model.predict(frame))
    assert compiled.rows_by_library == 0
    with pytest.raises(ValueError, match="unknown categories"):
        compiled.predict(pa.table({"a": rows["a"].cast(pa.string())}), [])


@pytest.mark.parametrize(
    "front",
    [
        PolynomialFeatures(),
        SimpleImputer(add_indicator=True),
        make_column_transformer((OneHotEncoder(), ["count"])),
    ],
)
def test_other_transformers_are_left_to_the_library(machine_code: Path, front: Any) -> None:
    frame = make_rows(np.random.default_rng(0), 100)[["a", "count"]].fillna(0.0)
    frame.loc[3, "a"] = np.nan if isinstance(front, SimpleImputer) else 0.0
    model = make_pipeline(front, RandomForestRegressor(3)).fit(frame, frame["count"])
    facts = ModelFacts(flavor="sklearn", estimator="", is_named=True)
    with pytest.raises(UnsupportedError):
        compile_predictor(model, facts, SklearnPredictor(model, facts), machine_code)
