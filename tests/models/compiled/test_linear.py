"""Linear models with what is in front of them: to the bit on sparse matrices, within 1e-12 on dense ones."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import (
    ElasticNet,
    LinearRegression,
    LogisticRegression,
    Ridge,
    RidgeClassifier,
    SGDClassifier,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    RobustScaler,
    StandardScaler,
)

from nightscore.models.compiled.checked import difference
from nightscore.models.compiled.linear import COLUMNS_A_CALL
from nightscore.models.compiled.unsupported import UnsupportedError
from nightscore.models.flavors.sklearn import SklearnPredictor
from nightscore.models.protocol import CompiledPredictor
from nightscore.models.structure.sklearn_pipelines import split_pipeline
from nightscore.schemas.model import ModelFacts
from tests.contracts.test_predictors import chunked, encoded, plain, sliced
from tests.support.tree_data import compile_predictor, fit, kinds_of

STRINGS = ["color", "size"]
FACTS = ModelFacts(flavor="sklearn", estimator="", is_named=True)
SCALERS = [
    None,
    StandardScaler(),
    StandardScaler(with_mean=False),
    RobustScaler(),
    MinMaxScaler(),
    MaxAbsScaler(),
]


def make_rows(rng: np.random.Generator, n_rows: int, n_numbers: int) -> pd.DataFrame:
    """Strings with missing ones, numbers of many sizes, a constant among them."""
    numbers = rng.normal(size=(n_rows, n_numbers)) * 10.0 ** rng.integers(-3, 4, n_numbers)
    numbers[:, 0] = 1.5
    numbers[rng.random(numbers.shape) < 0.1] = np.nan
    frame = pd.DataFrame(numbers, columns=[f"n{i}" for i in range(n_numbers)])
    frame.insert(0, "size", rng.choice([*(f"size {i}" for i in range(30)), None], n_rows))
    frame["color"] = rng.choice(["red", "green", "blue", None], n_rows)
    return frame


def compiled_of(model: Any, cache: Path) -> CompiledPredictor:
    facts = FACTS.model_copy(update={"n_features": model.n_features_in_})
    return compile_predictor(model, facts, SklearnPredictor(model, facts), cache)


def check(model: Any, table: pa.Table, cache: Path, *, is_exact: bool) -> None:
    kinds = [kind for kind in kinds_of(split_pipeline(model)[1]) if kind != "raw"]
    own = {
        kind: np.array(v)
        for kind, v in SklearnPredictor(model, FACTS).predict(table, kinds).items()
    }
    compiled = compiled_of(model, cache)
    assert compiled.tolerance == (0.0 if is_exact else 1e-12)
    answer = compiled.predict(table, kinds)
    assert compiled.rows_by_library == 0, compiled.trouble
    for kind, values in own.items():
        worst = difference(values, np.asarray(answer[kind]), is_exact=is_exact)
        assert worst <= compiled.tolerance, (kind, worst)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    seed=st.integers(0, 2**32 - 1),
    n_numbers=st.integers(1, 6),
    scaler=st.sampled_from(SCALERS),
    is_sparse=st.booleans(),
    drop=st.sampled_from([None, "first"]),
    final=st.sampled_from(
        [LogisticRegression(max_iter=50), LogisticRegression(max_iter=50, fit_intercept=False), RidgeClassifier(),
         SGDClassifier(loss="log_loss"), Ridge(), ElasticNet(), LinearRegression()]
    ),
    n_classes=st.sampled_from([2, 4]),
)  # fmt: skip
def test_random_pipelines(
    machine_code: Path,
    seed: int,
    n_numbers: int,
    scaler: Any,
    is_sparse: bool,
    drop: str | None,
    final: Any,
    n_classes: int,
) -> None:
    rng = np.random.default_rng(seed)
    frame = make_rows(rng, 300, n_numbers)
    numbers = [name for name in frame if name.startswith("n")]
    front = make_column_transformer(
        (make_pipeline(SimpleImputer(), *([scaler] if scaler else [])), numbers),
        (OneHotEncoder(handle_unknown="ignore", drop=drop), STRINGS),
        sparse_threshold=1.0 if is_sparse else 0.0,
    )
    y: Any = rng.permutation(np.arange(300) % n_classes)
    if not hasattr(final, "decision_function") and n_classes > 2:
        y = rng.normal(size=(300, 2))
    model = fit(make_pipeline(front, final), frame, y)
    rows = make_rows(rng, 200, n_numbers)
    rows.loc[3, "color"] = "unseen"
    check(model, pa.Table.from_pandas(rows, preserve_index=False), machine_code, is_exact=is_sparse)


@pytest.fixture(scope="module")
def model() -> Any:
    frame = make_rows(np.random.default_rng(0), 400, 4)
    front = make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), ["n0", "n1", "n2"]),
        ("passthrough", ["n3"]),
        (OneHotEncoder(), STRINGS),
        sparse_threshold=1.0,
    )
    frame["n3"] = frame["n3"].fillna(0.0)
    return make_pipeline(front, LogisticRegression(max_iter=50)).fit(frame, np.arange(400) % 3)


@pytest.mark.parametrize("shape", [plain, sliced, chunked, encoded])
def test_the_shape_of_the_data_does_not_matter(machine_code: Path, model: Any, shape: Any) -> None:
    frame = make_rows(np.random.default_rng(1), 333, 4)
    frame["n3"] = frame["n3"].fillna(0.0)
    table = pa.Table.from_pandas(frame, preserve_index=False)
    assert table["n0"].null_count
    own = model.predict_proba(frame)
    compiled = compiled_of(model, machine_code)
    for _ in range(2):
        assert np.array_equal(compiled.predict(shape(table), ["probability"])["probability"], own)
    assert compiled.rows_by_library == 0


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("n3", np.nan, "contains NaN"),
        ("n1", np.inf, "contains infinity"),
        ("color", "mauve", "Found unknown categories"),
    ],
)
def test_what_the_library_refuses_is_refused_in_its_words(
    machine_code: Path, model: Any, column: str, value: Any, words: str
) -> None:
    frame = make_rows(np.random.default_rng(1), 20, 4)
    frame["n3"] = frame["n3"].fillna(0.0)
    frame.loc[3, column] = value
    with pytest.raises(ValueError, match=words):
        compiled_of(model, machine_code).predict(pa.Table.from_pandas(frame), ["probability"])


def test_a_tie_is_decided_by_the_library(machine_code: Path) -> None:
    rng = np.random.default_rng(0)
    x = pd.DataFrame({"a": rng.normal(size=200), "b": rng.normal(size=200)})
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(x, x["a"] > 0)
    scaler, final = model[0], model[1]
    # On the boundary as far as floats go: the sum's last bits decide.
    on = x.assign(
        b=scaler.mean_[1]
        - scaler.scale_[1]
        * (final.intercept_ + final.coef_[0, 0] * scaler.transform(x)[:, 0])
        / final.coef_[0, 1]
    )
    answer = compiled_of(model, machine_code).predict(pa.Table.from_pandas(on), ["decision"])
    assert np.abs(answer["decision"]).max() < 1e-12
    assert np.array_equal(answer["prediction"].ravel(), model.predict(on))


def test_what_has_no_compiled_form_says_why(machine_code: Path) -> None:
    frame = make_rows(np.random.default_rng(0), 50, 2)
    x = frame[["n0", "n1"]].fillna(0.0)
    bare = LinearRegression().fit(x, x["n1"])
    with pytest.raises(UnsupportedError, match="a product of matrices"):
        compiled_of(bare, machine_code)
    few = make_pipeline(
        make_column_transformer((OneHotEncoder(min_frequency=5), STRINGS), remainder="passthrough"),
        SimpleImputer(),
        LinearRegression(),
    ).fit(frame, x["n1"])
    with pytest.raises(UnsupportedError, match="ColumnTransformer"):
        compiled_of(few, machine_code)


def test_more_columns_than_a_call_takes_are_added_in_their_order(machine_code: Path) -> None:
    rng = np.random.default_rng(0)
    n_columns = 2 * COLUMNS_A_CALL + 3
    numbers = rng.normal(size=(700, n_columns)) * 10.0 ** rng.integers(-3, 4, n_columns)
    model = make_pipeline(StandardScaler(), Ridge()).fit(numbers, numbers @ np.ones(n_columns))
    table = pa.table({f"n{i}": numbers[:, i] for i in range(n_columns)})

    expected = np.zeros(700)
    for i in range(n_columns):
        scaled = (numbers[:, i] - model[0].mean_[i]) / model[0].scale_[i]
        expected += model[1].coef_[i] * scaled
    expected += model[1].intercept_

    compiled = compiled_of(model, machine_code)
    for shape in (plain, sliced, chunked):
        answer = compiled.predict(shape(table), [])["prediction"]
        assert np.array_equal(np.ravel(answer), expected)


def test_ordinal_codes_in_front_of_a_linear_model(machine_code: Path) -> None:
    rng = np.random.default_rng(0)
    frame = make_rows(rng, 300, 2).fillna({"n0": 0.0, "n1": 0.0})
    encoder = OrdinalEncoder(
        handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2
    )
    front = make_column_transformer((encoder, STRINGS), remainder="passthrough")
    model = make_pipeline(front, Ridge()).fit(frame, rng.normal(size=300))
    frame.loc[3, "color"] = "unseen"
    check(model, pa.Table.from_pandas(frame), machine_code, is_exact=False)
