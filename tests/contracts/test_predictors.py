"""What every predictor does with the shapes that Arrow data comes in: same values, same answers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from nightscore.models.flavors.python_function import PyfuncPredictor, load_pyfunc
from nightscore.models.flavors.sklearn import SklearnPredictor
from nightscore.models.loading import inspect_model
from nightscore.models.mlmodel import read_mlmodel
from nightscore.models.protocol import Predictor
from nightscore.models.structure.sklearn_pipelines import split_pipeline
from nightscore.schemas.model import ModelFacts
from tests.support.models import NUMBERS, STRINGS, KnownModel, make_frame, with_nulls
from tests.support.tree_data import compile_predictor, kinds_of

COMPILED = [
    "hgb_binary",
    "hgb_multi",
    "hgb_regressor",
    "hgb_poisson",
    "hgb_categories",
    "hgb_ints",
    "forest_numpy",
    "extra_multi_output",
    "pipeline_ordinal",
]
TAKE_NULLS = ["hgb_binary", "hgb_regressor", "pipeline_ordinal"]
N = 333

Make = Callable[[KnownModel, ModelFacts], Predictor]


def facts_of(registry_root: Path, known: KnownModel) -> ModelFacts:
    return inspect_model(registry_root / "models" / known.name)


@pytest.fixture(params=["library", "compiled", "pyfunc"])
def make(request: pytest.FixtureRequest, registry_root: Path, machine_code: Path) -> Make:
    """A predictor of each implementation."""

    def build(known: KnownModel, facts: ModelFacts) -> Predictor:
        if request.param == "pyfunc":
            return PyfuncPredictor(
                load_pyfunc(read_mlmodel(registry_root / "models" / known.name)), facts
            )
        own = SklearnPredictor(known.estimator, facts)
        if request.param == "library":
            return own
        return compile_predictor(known.estimator, facts, own, machine_code)

    return build


def wanted(make: Make, known: KnownModel, predictor: Predictor) -> list[str]:
    return (
        []
        if isinstance(predictor, PyfuncPredictor)
        else kinds_of(split_pipeline(known.estimator)[1])
    )


def own_answers(known: KnownModel, frame: pd.DataFrame, kinds: list[str]) -> dict[str, Any]:
    """Of the estimator itself, as its users would call it."""
    x = frame[known.columns] if known.is_named else frame[known.columns].to_numpy()
    methods = {
        "probability": "predict_proba",
        "decision": "decision_function",
        "raw": "_raw_predict",
    }
    answers = {"prediction": known.estimator.predict(x)}
    for kind in kinds:
        final = split_pipeline(known.estimator)[1]
        if kind == "raw" and hasattr(final, "decision_function"):
            answers[kind] = known.estimator.decision_function(x)
        else:
            answers[kind] = getattr(known.estimator, methods[kind])(x)
    return {kind: values.reshape(len(frame), -1) for kind, values in answers.items()}


def table_of(known: KnownModel, frame: pd.DataFrame) -> pa.Table:
    table = pa.Table.from_pandas(
        frame[known.columns], preserve_index=False
    ).replace_schema_metadata(None)
    return encoded(table) if known.name == "hgb_categories" else table


def encoded(table: pa.Table) -> pa.Table:
    """Strings as dictionaries."""
    for i, name in enumerate(table.column_names):
        if name in STRINGS:
            table = table.set_column(i, name, table[name].dictionary_encode())
    return table


def plain(table: pa.Table) -> pa.Table:
    return table


def sliced(table: pa.Table) -> pa.Table:
    """The same rows within a longer buffer, off every byte's edge."""
    return (
        pa.concat_tables([table.slice(0, 13), table, table.slice(0, 3)])
        .combine_chunks()
        .slice(13, len(table))
    )


def chunked(table: pa.Table) -> pa.Table:
    """Columns in pieces, an empty one among them."""
    return pa.concat_tables(
        [table.slice(0, 5), table.slice(5, 0), table.slice(5, 100), table.slice(105)]
    )


def assert_same(answer: Any, own: dict[str, Any]) -> None:
    for kind, values in own.items():
        assert np.asarray(answer[kind]).shape == values.shape
        assert np.array_equal(answer[kind], values), kind


@pytest.mark.parametrize(
    "shape",
    [lambda table: table, sliced, chunked, encoded],
    ids=["plain", "sliced", "chunked", "dictionary"],
)
@pytest.mark.parametrize("name", COMPILED)
def test_the_shape_of_the_data_does_not_matter(
    make: Make,
    models: dict[str, KnownModel],
    registry_root: Path,
    name: str,
    shape: Callable[[pa.Table], pa.Table],
) -> None:
    known = models[name]
    frame = with_nulls(make_frame(N)) if name in TAKE_NULLS else make_frame(N)
    if name == "hgb_categories":
        frame = frame.astype(dict.fromkeys(STRINGS, "category"))
    predictor = make(known, facts_of(registry_root, known))
    if isinstance(predictor, PyfuncPredictor) and (name == "hgb_categories" or shape is encoded):
        pytest.skip("MLflow's signature refuses dictionaries; the worker decodes them before")
    kinds = wanted(make, known, predictor)
    assert_same(
        predictor.predict(shape(table_of(known, frame)), kinds), own_answers(known, frame, kinds)
    )


@pytest.mark.parametrize("n_rows", [1, 2, 63, 64, 65])
@pytest.mark.parametrize("name", ["hgb_multi", "extra_multi_output", "pipeline_ordinal"])
def test_any_number_of_rows(
    make: Make, models: dict[str, KnownModel], registry_root: Path, name: str, n_rows: int
) -> None:
    known, frame = models[name], make_frame(n_rows)
    predictor = make(known, facts_of(registry_root, known))
    kinds = wanted(make, known, predictor)
    for _ in range(2):  # the second time in buffers that the first has left
        assert_same(
            predictor.predict(table_of(known, frame), kinds), own_answers(known, frame, kinds)
        )


@pytest.mark.parametrize("name", ["hgb_multi", "hgb_poisson", "extra_multi_output", "forest_numpy"])
def test_no_rows_have_no_answers_of_the_same_types(
    make: Make, models: dict[str, KnownModel], registry_root: Path, name: str
) -> None:
    known = models[name]
    predictor = make(known, facts_of(registry_root, known))
    kinds, table = wanted(make, known, predictor), table_of(known, make_frame(2))
    some, none = predictor.predict(table, kinds), predictor.predict(table.slice(0, 0), kinds)
    assert {*some} == {*none}
    for kind, values in some.items():
        assert none[kind].shape == (0, values.shape[1])
        assert none[kind].dtype == values.dtype or {none[kind].dtype.kind, values.dtype.kind} <= {
            *"OU"
        }


@pytest.mark.parametrize("kind", [pa.float32(), pa.float16()])
@pytest.mark.parametrize("name", ["hgb_binary", "forest_numpy", "extra_multi_output"])
def test_narrow_floats(
    make: Make, models: dict[str, KnownModel], registry_root: Path, name: str, kind: pa.DataType
) -> None:
    known, frame = models[name], make_frame(N)
    frame[NUMBERS] = frame[NUMBERS].astype("float16").astype("float64")
    table = table_of(known, frame)
    table = pa.table(
        {column: table[column].combine_chunks().cast(pa.float32()).cast(kind) for column in NUMBERS}
    )
    predictor = make(known, facts_of(registry_root, known))
    if isinstance(predictor, PyfuncPredictor):
        pytest.skip("MLflow's signature refuses other types; the worker casts before")
    assert_same(predictor.predict(table, []), own_answers(known, frame, []))


def test_nulls_are_missing_values(
    make: Make, models: dict[str, KnownModel], registry_root: Path
) -> None:
    known, frame = models["hgb_binary"], with_nulls(make_frame(N))
    table = pa.table({name: pa.array(frame[name], from_pandas=True) for name in known.columns})
    assert table["a"].null_count
    predictor = make(known, facts_of(registry_root, known))
    assert_same(predictor.predict(sliced(table), []), own_answers(known, frame, []))


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e39])
def test_what_the_library_refuses_is_refused_in_its_words(
    make: Make, models: dict[str, KnownModel], registry_root: Path, value: float
) -> None:
    known, frame = models["extra_multi_output"], make_frame(N)
    frame.loc[7, "b"] = value
    predictor = make(known, facts_of(registry_root, known))
    # A warning of NumPy's is an error in these tests, and MLflow lets it through.
    words = "contains infinity or a value too large|overflow encountered in cast"
    with pytest.raises(Exception, match=words):
        predictor.predict(table_of(known, frame), [])


@pytest.mark.slow
def test_an_unknown_category_is_refused_in_the_librarys_words(machine_code: Path) -> None:
    from sklearn.compose import make_column_transformer
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    frame = make_frame(N)
    model = make_pipeline(
        make_column_transformer(
            (OneHotEncoder(sparse_output=False), STRINGS),
            ("passthrough", NUMBERS),
            sparse_threshold=0,
        ),
        HistGradientBoostingRegressor(max_iter=5),
    ).fit(frame[[*STRINGS, *NUMBERS]], frame["a"] + (frame["color"] == "red"))
    facts = ModelFacts(flavor="sklearn", estimator="", is_named=True)
    compiled = compile_predictor(model, facts, SklearnPredictor(model, facts), machine_code)
    good = frame[[*STRINGS, *NUMBERS]]
    answer = compiled.predict(pa.Table.from_pandas(good), [])
    assert np.array_equal(answer["prediction"].ravel(), model.predict(good))
    assert compiled.rows_by_library == 0
    bad = good.copy()
    bad.loc[5, "color"] = "mauve"
    with pytest.raises(ValueError, match="Found unknown categories"):
        compiled.predict(pa.Table.from_pandas(bad), [])
    assert not compiled.trouble  # the library itself refused it
