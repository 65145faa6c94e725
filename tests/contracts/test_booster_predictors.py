"""What predictors of LightGBM, XGBoost and ONNX models do with the shapes that Arrow data comes in."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from nightscore.models.flavors.python_function import PyfuncPredictor, load_pyfunc
from nightscore.models.loading import LoadedModel, inspect_model
from nightscore.models.mlmodel import read_mlmodel
from nightscore.models.protocol import Predictor
from nightscore.schemas.model import ModelFacts
from tests.contracts.test_predictors import chunked, plain, sliced
from tests.support.boosters import KnownBooster
from tests.support.models import NUMBERS, STRINGS, make_frame, with_nulls

WITH_CATEGORIES = ["lgb_binary", "lgb_classifier", "xgb_binary", "xgb_classifier"]
OF_NUMBERS = [
    "lgb_multi", "lgb_poisson", "lgb_regressor", "lgb_classifier_binary",
    "xgb_multi", "xgb_dart", "xgb_regressor", "xgb_classifier_multi",
]  # fmt: skip
ONNX = ["onnx_forest", "onnx_logistic", "onnx_linear", "onnx_mixed"]
EVERY = [*WITH_CATEGORIES, *OF_NUMBERS, *ONNX]
N = 333


@pytest.fixture(scope="session")
def loaded(
    boosters: dict[str, KnownBooster], registry_root: Path, machine_code: Path
) -> Callable[[str, str], tuple[Predictor, ModelFacts]]:
    """A predictor of each implementation, each model loaded once."""
    predictors: dict[tuple[str, str], tuple[Predictor, ModelFacts]] = {}

    def load(name: str, which: str) -> tuple[Predictor, ModelFacts]:
        if (name, which) not in predictors:
            folder = registry_root / "models" / name
            facts = inspect_model(folder)
            if which == "pyfunc":
                predictors[name, which] = (
                    PyfuncPredictor(load_pyfunc(read_mlmodel(folder)), facts),
                    facts,
                )
            else:
                linked = machine_code / name
                if not linked.exists():
                    linked.symlink_to(folder)
                model = LoadedModel(linked, facts)
                predictors[name, "library"] = model.library_predictor(), facts
                if model.form is not None:
                    predictors[name, "compiled"] = (
                        model.compiled_predictor(model.library_predictor()),
                        facts,
                    )
        return predictors[name, which]

    return load


Load = Callable[[str, str], tuple[Predictor, ModelFacts]]


def implementations(names: list[str]) -> Any:
    """Each of a list of models with what it can be predicted by."""
    pairs = []
    for name in names:
        pairs.append((name, "library"))
        if name not in ONNX:
            pairs.append((name, "compiled"))
        if (
            name in OF_NUMBERS
        ):  # MLflow does not map categories, and needs ONNX outputs of one length
            pairs.append((name, "pyfunc"))
    return pytest.mark.parametrize(("name", "which"), pairs)


def rows_for(known: KnownBooster, n_rows: int, seed: int = 3) -> pd.DataFrame:
    frame = (
        make_frame(n_rows, seed=seed)
        if known.flavor == "onnx"
        else with_nulls(make_frame(n_rows, seed=seed))
    )
    if known.flavor == "onnx":
        kind = known.sample["a"].dtype
        frame = frame.astype(dict.fromkeys(NUMBERS, kind))
    return frame[known.columns]


def to_table(frame: pd.DataFrame) -> pa.Table:
    return pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)


def dictionaries(table: pa.Table) -> pa.Table:
    """Strings and integers as dictionaries whose order is none of the training's."""
    for i, name in enumerate(table.column_names):
        if name in (*STRINGS, "count"):
            table = table.set_column(
                i, name, table[name].combine_chunks()[::-1].dictionary_encode()[::-1]
            )
    return table


def kinds_of(which: str, facts: ModelFacts) -> list[str]:
    if which == "pyfunc":
        return []
    return [
        kind
        for kind in ("probability", "raw")
        if {"probability": "predict_proba"}.get(kind, kind) in facts.methods
    ]


def assert_same(answer: Any, own: dict[str, Any]) -> None:
    for kind, values in own.items():
        assert np.asarray(answer[kind]).shape == values.shape, kind
        assert np.array_equal(answer[kind], values), kind


def assert_compiled(predictor: Predictor, which: str) -> None:
    if which == "compiled":
        compiled: Any = predictor
        assert (compiled.rows_by_library, compiled.trouble) == (0, "")


@pytest.mark.parametrize("shape", [plain, sliced, chunked, dictionaries])
@implementations(EVERY)
def test_the_shape_of_the_data_does_not_matter(
    loaded: Load,
    boosters: dict[str, KnownBooster],
    name: str,
    which: str,
    shape: Callable[[pa.Table], pa.Table],
) -> None:
    known = boosters[name]
    predictor, facts = loaded(name, which)
    if shape is dictionaries and known.flavor == "onnx":
        pytest.skip("the worker decodes them: ONNX knows no dictionaries")
    frame, kinds = rows_for(known, N), kinds_of(which, facts)
    assert_same(predictor.predict(shape(to_table(frame)), kinds), known.own_answers(frame, kinds))
    assert_compiled(predictor, which)


@pytest.mark.parametrize("n_rows", [1, 2, 63, 64, 65])
@implementations(
    ["lgb_binary", "lgb_multi", "xgb_classifier", "xgb_multi", "onnx_forest", "onnx_linear"]
)
def test_any_number_of_rows(
    loaded: Load, boosters: dict[str, KnownBooster], name: str, which: str, n_rows: int
) -> None:
    known = boosters[name]
    predictor, facts = loaded(name, which)
    frame, kinds = rows_for(known, n_rows), kinds_of(which, facts)
    for _ in range(2):  # the second time in buffers that the first has left
        assert_same(predictor.predict(to_table(frame), kinds), known.own_answers(frame, kinds))


@implementations(EVERY)
def test_no_rows_have_no_answers_of_the_same_types(
    loaded: Load, boosters: dict[str, KnownBooster], name: str, which: str
) -> None:
    predictor, facts = loaded(name, which)
    table, kinds = to_table(rows_for(boosters[name], 2)), kinds_of(which, facts)
    some, none = predictor.predict(table, kinds), predictor.predict(table.slice(0, 0), kinds)
    assert {*some} == {*none}
    for kind, values in some.items():
        assert none[kind].shape == (0, values.shape[1])
        assert none[kind].dtype == values.dtype or {none[kind].dtype.kind, values.dtype.kind} <= {
            *"OU"
        }


@implementations(["lgb_multi", "lgb_classifier_binary", "xgb_multi", "xgb_regressor"])
def test_narrow_floats_nulls_and_nan(
    loaded: Load, boosters: dict[str, KnownBooster], name: str, which: str
) -> None:
    if which == "pyfunc":
        pytest.skip("MLflow's signature refuses other types; the worker casts before")
    known = boosters[name]
    predictor, facts = loaded(name, which)
    frame, kinds = rows_for(known, N).astype("float16").astype("float64"), kinds_of(which, facts)
    own = known.own_answers(frame, kinds)
    with_nan = {column: pa.array(frame[column].to_numpy(), from_pandas=False) for column in frame}
    with_null = {column: pa.array(frame[column].to_numpy(), from_pandas=True) for column in frame}
    assert with_null["a"].null_count
    for columns in (with_nan, with_null):
        for kind in (pa.float64(), pa.float32()):
            table = pa.table({column: values.cast(kind) for column, values in columns.items()})
            assert_same(predictor.predict(sliced(table), kinds), own)
    assert_compiled(predictor, which)


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e39, 1e-40, -1e-40, 5e-324])
@implementations(["lgb_multi", "lgb_classifier_binary", "xgb_regressor", "xgb_classifier_multi"])
def test_extreme_values(
    loaded: Load, boosters: dict[str, KnownBooster], name: str, which: str, value: float
) -> None:
    known = boosters[name]
    predictor, facts = loaded(name, which)
    frame, kinds = rows_for(known, N), kinds_of(which, facts)
    frame.loc[::3, "a"] = value
    assert_same(predictor.predict(to_table(frame), kinds), known.own_answers(frame, kinds))
    assert_compiled(predictor, which)


@pytest.mark.parametrize("which", ["library", "compiled", "pyfunc"])
@pytest.mark.parametrize("value", [np.inf, 1e39])
def test_a_booster_of_xgboost_refuses_infinite_values_in_its_words(
    loaded: Load, boosters: dict[str, KnownBooster], which: str, value: float
) -> None:
    frame = rows_for(boosters["xgb_multi"], N)
    frame.loc[7, "e"] = value
    with pytest.raises(Exception, match="Input data contains `inf` or a value too large"):
        loaded("xgb_multi", which)[0].predict(to_table(frame), [])


@pytest.mark.parametrize("which", ["library", "compiled"])
@pytest.mark.parametrize("name", ["lgb_binary", "lgb_classifier"])
@pytest.mark.parametrize("shape", [plain, dictionaries])
def test_to_lightgbm_an_unknown_category_is_missing(
    loaded: Load,
    boosters: dict[str, KnownBooster],
    name: str,
    which: str,
    shape: Callable[[pa.Table], pa.Table],
) -> None:
    known = boosters[name]
    predictor, facts = loaded(name, which)
    frame, kinds = rows_for(known, N), kinds_of(which, facts)
    frame.loc[::3, "color"] = "mauve"
    frame.loc[::5, "count"] = 4_711
    own = known.own_answers(frame, kinds)
    assert_same(predictor.predict(shape(to_table(frame)), kinds), own)
    missing = frame.assign(color=frame["color"].where(frame["color"] != "mauve"))
    assert_same(predictor.predict(shape(to_table(missing)), kinds), own)
    assert_compiled(predictor, which)


@pytest.mark.parametrize("which", ["library", "compiled"])
@pytest.mark.parametrize("name", ["xgb_binary", "xgb_classifier"])
@pytest.mark.parametrize("shape", [plain, dictionaries])
def test_xgboost_refuses_an_unknown_category(
    loaded: Load,
    boosters: dict[str, KnownBooster],
    name: str,
    which: str,
    shape: Callable[[pa.Table], pa.Table],
) -> None:
    predictor, _ = loaded(name, which)
    frame = rows_for(boosters[name], N)
    frame.loc[7, "color"] = "mauve"
    with pytest.raises(
        ValueError, match="color: 'mauve' is a category that was not in the training data"
    ):
        predictor.predict(shape(to_table(frame)), [])


@pytest.mark.parametrize("name", WITH_CATEGORIES)
@pytest.mark.parametrize("which", ["library", "compiled"])
def test_whole_numbers_are_the_same_category_in_any_type(
    loaded: Load, boosters: dict[str, KnownBooster], name: str, which: str
) -> None:
    known = boosters[name]
    predictor, _ = loaded(name, which)
    frame = rows_for(known, N)
    own = known.own_answers(frame, [])
    table = to_table(frame)
    i = table.column_names.index("count")
    for kind in (pa.int8(), pa.int32(), pa.uint64(), pa.float64(), pa.float32()):
        assert_same(
            predictor.predict(table.set_column(i, "count", table["count"].cast(kind)), []), own
        )
    with pytest.raises(
        ValueError, match="a column of string where the model was trained with categories such as"
    ):
        predictor.predict(table.set_column(i, "count", table["count"].cast(pa.string())), [])


@pytest.mark.parametrize("name", ["lgb_multi", "xgb_multi"])
def test_a_string_is_no_number(loaded: Load, boosters: dict[str, KnownBooster], name: str) -> None:
    table = to_table(rows_for(boosters[name], N))
    table = table.set_column(0, "a", table["a"].cast(pa.string()))
    for which in ("library", "compiled"):
        with pytest.raises(
            ValueError, match="a is string, and the model knows no categories of it"
        ):
            loaded(name, which)[0].predict(table, [])


def test_onnx_has_no_missing_strings(loaded: Load, boosters: dict[str, KnownBooster]) -> None:
    table = to_table(rows_for(boosters["onnx_mixed"], 5))
    table = table.set_column(0, "color", pa.array(["red", None, "red", "red", "red"]))
    with pytest.raises(ValueError, match="color: a string is missing"):
        loaded("onnx_mixed", "library")[0].predict(table, [])


def test_missing_numbers_are_nan_to_onnx(loaded: Load, boosters: dict[str, KnownBooster]) -> None:
    frame = rows_for(boosters["onnx_linear"], 5)
    frame.loc[2, "a"] = None
    answer = loaded("onnx_linear", "library")[0].predict(to_table(frame), [])
    assert np.isnan(answer["prediction"][:, 0]).tolist() == [False, False, True, False, False]
