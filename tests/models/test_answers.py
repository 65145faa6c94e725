"""What models answer with: by name, in the type that was stated, with nulls as nulls, or refused."""

import warnings
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse
import yaml
from mlflow.models import ModelSignature, infer_signature
from mlflow.types import ColSpec, Schema, TensorSpec
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputRegressor, RegressorChain
from sklearn.neural_network import MLPClassifier

from nightscore.engine.worker.model_inspection import inspect
from nightscore.engine.worker.prediction_column import prediction_array
from nightscore.errors import ModelAnswerError, ModelLoadError
from nightscore.models.answers import labelled_columns
from nightscore.models.loading import LoadedModel
from nightscore.schemas.contract import OutputColumn
from tests.support.lake import Lake
from tests.support.models import NUMBERS, make_frame, register

DAY = "2024-02-29"
NAMES = ("low", "high")
SWAPPED = {"high": [3.0, 4.0], "low": [1.0, 2.0]}
EXPECTED = [[1.0, 3.0], [2.0, 4.0]]


@pytest.mark.parametrize(
    "answer",
    [
        pd.DataFrame(SWAPPED),
        pl.DataFrame(SWAPPED),
        pa.table(SWAPPED),
        SWAPPED,
        {name: np.array(values) for name, values in SWAPPED.items()},
        {name: np.array(values).reshape(-1, 1) for name, values in SWAPPED.items()},
        [{"high": 3.0, "low": 1.0}, {"high": 4.0, "low": 2.0}],
        np.array([(3.0, 1.0), (4.0, 2.0)], dtype=[("high", "f8"), ("low", "f8")]),
    ],
    ids=lambda answer: type(answer).__name__,
)
def test_columns_are_taken_by_the_names_of_the_signature(answer: Any) -> None:
    assert labelled_columns(answer, NAMES).tolist() == EXPECTED


@pytest.mark.parametrize(
    "answer",
    [
        np.array(EXPECTED),
        EXPECTED,
        pd.DataFrame(EXPECTED),
        scipy.sparse.csr_matrix(EXPECTED),
        {"both": np.array(EXPECTED)},
    ],
    ids=lambda answer: type(answer).__name__,
)
def test_columns_without_names_are_taken_as_they_stand(answer: Any) -> None:
    names = ("both",) if isinstance(answer, dict) else NAMES
    assert labelled_columns(answer, names).tolist() == EXPECTED


def test_the_name_of_the_only_column_says_nothing() -> None:
    for answer in (
        pd.Series([1, 2], name="x"),
        pd.DataFrame({"x": [1, 2]}),
        [1, 2],
        np.array([1, 2]),
    ):
        assert labelled_columns(answer, ("prediction",)).tolist() == [[1], [2]]


@pytest.mark.parametrize(
    "labels", [["low", "top"], ["low", "high", "more"], ["low"], ["low", "low"]]
)
def test_other_names_than_the_signature_states_are_refused(labels: list[str]) -> None:
    answer = pd.DataFrame(np.ones((2, len(labels))), columns=labels)
    with pytest.raises(ModelAnswerError) as raised:
        labelled_columns(answer, NAMES)
    assert raised.value.expected == "low, high"
    assert raised.value.found == ", ".join(labels)


def test_names_that_are_numbers_are_names_where_the_signature_has_them() -> None:
    answer = pd.DataFrame({0: [1.0], 1: [2.0]})
    assert labelled_columns(answer, ("1", "0")).tolist() == [[2.0, 1.0]]
    assert labelled_columns(answer, NAMES).tolist() == [[1.0, 2.0]]


def test_masked_values_are_missing() -> None:
    answer = np.ma.array([[1, 2], [3, 4]], mask=[[False, True], [False, False]])
    assert labelled_columns(answer, ()).tolist() == [[1, None], [3, 4]]


def test_further_dimensions_are_columns() -> None:
    assert labelled_columns(np.arange(4).reshape(2, 1, 2), ()).tolist() == [[0, 1], [2, 3]]
    assert labelled_columns(np.zeros((0, 1, 2)), ()).shape == (0, 2)
    assert labelled_columns(np.array(5.0), ()).tolist() == [[5.0]]


def test_a_list_of_several_types_stays_what_it_is() -> None:
    assert labelled_columns([1, "1", None], ()).tolist() == [[1], ["1"], [None]]


def test_columns_of_several_types_keep_theirs() -> None:
    answer = pd.DataFrame({"label": [1, 2**60 + 1], "score": [0.5, None], "text": ["a", None]})
    columns = labelled_columns(answer, ())
    assert columns.tolist() == [[1, 0.5, "a"], [2**60 + 1, None, None]]


@pytest.mark.parametrize(
    ("values", "arrow_type", "expected"),
    [
        (pd.array([1, None, 2**60 + 1], "Int64"), pa.int64(), [1, None, 2**60 + 1]),
        (pd.Series([1.0, None]), pa.int64(), [1, None]),
        (pd.Series([1.0, None]), pa.int32(), [1, None]),
        (pd.array([True, None], "boolean"), pa.bool_(), [True, None]),
        (pd.Series(["a", None, np.nan, pd.NA], dtype=object), pa.string(), ["a", None, None, None]),
        (pd.array(["a", None], "string"), pa.string(), ["a", None]),
        (pd.array([1.5, None], "Float64"), pa.float64(), [1.5, None]),
        (pd.Series([b"a", None], dtype=object), pa.binary(), [b"a", None]),
        (
            pd.to_datetime(["2024-01-01", None]).to_series(),
            pa.timestamp("us"),
            [pd.Timestamp("2024-01-01"), None],
        ),
        (pl.Series([1, None]), pa.int64(), [1, None]),
        (np.array([True, False]), pa.float64(), [1.0, 0.0]),
        (np.array([1, 2], np.int8), pa.int32(), [1, 2]),
    ],
)
def test_a_missing_value_is_null_in_the_stated_type(
    values: Any, arrow_type: Any, expected: list[Any]
) -> None:
    answered = pd.Series(values) if isinstance(values, pd.api.extensions.ExtensionArray) else values
    answer = {"prediction": labelled_columns(answered, ())}
    array = prediction_array(OutputColumn("prediction", arrow_type, "prediction"), answer)
    assert array.type == arrow_type
    assert array.to_pylist() == expected


@pytest.mark.parametrize(
    ("values", "arrow_type"),
    [
        (np.array([1.5]), pa.int64()),
        (np.array([np.inf]), pa.int64()),
        (np.array([2.0**60]), pa.int64()),
        (np.array([2.0**40]), pa.int32()),
        (np.array([1], np.int64), pa.int32()),
        (np.array([1.0]), pa.float32()),
        (np.array([1]), pa.string()),
        (np.array([1, "a"], object), pa.string()),
        (np.array([b"a"], object), pa.string()),
        (np.array(["1"], object), pa.float64()),
        (np.array([Decimal("1.5")], object), pa.int64()),
        (np.array([2**70], object), pa.int64()),
        (np.array([1.5], object), pa.int64()),
        (np.array([0.1], object), pa.float32()),
        (np.array([pd.Timestamp("2024-01-01T00:00:00.000000001")], object), pa.timestamp("us")),
        (np.array([2**63], np.uint64), pa.int64()),
        (np.array([2**53 + 1], np.int64), pa.float64()),
        (np.array(["2024-01-01T00:00:00.000000001"], "datetime64[ns]"), pa.timestamp("us")),
        (np.array([pd.Timestamp("2024-01-01", tz="UTC")], object), pa.timestamp("us")),
        (np.array(["2024-01-01"], "datetime64[ns]"), pa.int64()),
    ],
)
def test_a_value_that_would_change_is_refused(values: Any, arrow_type: Any) -> None:
    answer = {"prediction": values.reshape(-1, 1)}
    with pytest.raises(ModelAnswerError):
        prediction_array(OutputColumn("prediction", arrow_type, "prediction"), answer)


def test_a_missing_number_of_a_floating_column_stays_nan() -> None:
    answer = {"prediction": np.array([[np.nan], [1.0]])}
    array = prediction_array(OutputColumn("prediction", pa.float64(), "prediction"), answer)
    assert array.null_count == 0
    assert np.isnan(array[0].as_py())


def label_score_and_day(frame: pd.DataFrame) -> pd.DataFrame:
    """In another order than the signature's."""
    day = pd.Timestamp("2024-01-01") + pd.to_timedelta(frame["c"].round(), "D")
    label = (frame["a"] > 0).astype("Int64").mask(frame["b"] > 1)
    return pd.DataFrame({"day": day, "score": frame["a"] / 10, "label": label})


def test_a_function_answers_with_a_label_a_score_and_a_time(lake: Lake, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")

        class Answering(mlflow.pyfunc.PythonModel):
            def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
                return label_score_and_day(model_input)

        stated = Schema(
            [ColSpec("long", "label"), ColSpec("double", "score"), ColSpec("datetime", "day")]
        )
        signature = ModelSignature(Schema([ColSpec("double", name) for name in NUMBERS]), stated)
        mlflow.pyfunc.save_model(
            tmp_path / "m", python_model=Answering(), signature=signature, pip_requirements=[]
        )
    register(mlflow.MlflowClient(tracking_uri=lake.registry), "answering", tmp_path / "m")

    frame = make_frame(200)
    lake.write(DAY, frame)
    job = lake.job("answering", allow_pickle=True)
    assert lake.run(job).error is None

    own = label_score_and_day(frame)
    published = lake.read(job)
    assert own["label"].isna().any()
    assert published["prediction_0"].astype("Int64").tolist() == own["label"].tolist()
    assert published["prediction_1"].tolist() == own["score"].tolist()
    assert published["prediction_2"].dt.tz_localize(None).tolist() == own["day"].tolist()


@pytest.mark.parametrize(
    "model",
    [
        OneVsRestClassifier(LogisticRegression()),
        GridSearchCV(OneVsRestClassifier(LogisticRegression()), {"estimator__C": [1.0]}, cv=2),
        RidgeClassifier(),
        MLPClassifier(4, max_iter=5, random_state=0),
        ClassifierChain(LogisticRegression()),
        MultiOutputRegressor(LinearRegression()),
        RegressorChain(LinearRegression()),
    ],
    ids=lambda model: type(model).__name__,
)
def test_every_target_has_a_column(model: Any, tmp_path: Path) -> None:
    frame = make_frame(60)[list(NUMBERS)].fillna(0.0)
    targets = np.column_stack([frame["a"] > 0, frame["b"] > 0, frame["c"] > frame["a"]]).astype(int)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(frame, targets)
        mlflow.sklearn.save_model(
            model,
            tmp_path / "m",
            signature=infer_signature(frame, model.predict(frame)),
            serialization_format="cloudpickle",
            pip_requirements=[],
        )
    facts = inspect(tmp_path / "m", is_vouched=True)
    assert facts.n_outputs == 3
    answer = (
        LoadedModel(tmp_path / "m", facts, "the library's own")
        .library_predictor()
        .predict(pa.Table.from_pandas(frame), ())
    )
    own = model.predict(frame)
    for place, (_, kind) in enumerate(facts.outputs):
        arrow_type = {"long": pa.int64(), "double": pa.float64()}[kind]
        column = OutputColumn(f"prediction_{place}", arrow_type, "prediction", place)
        assert prediction_array(column, answer).to_pylist() == own[:, place].tolist()


def test_another_function_than_predict_is_named_and_not_passed_over(
    lake: Lake, tmp_path: Path
) -> None:
    frame = make_frame(50)
    model = LogisticRegression().fit(frame[["a"]], frame["flag"])
    mlflow.sklearn.save_model(
        model,
        tmp_path / "m",
        signature=infer_signature(frame[["a"]], model.predict_log_proba(frame[["a"]])),
        pyfunc_predict_fn="predict_log_proba",
        serialization_format="cloudpickle",
        pip_requirements=[],
    )
    register(mlflow.MlflowClient(tracking_uri=lake.registry), "log_proba", tmp_path / "m")
    lake.write(DAY, frame)

    manifest = lake.run(lake.job("log_proba", allow_pickle=True))
    assert manifest.error
    assert "pyfunc_predict_fn='predict_log_proba'" in manifest.error.message

    job = lake.job("log_proba", allow_pickle=True, predict="predict_proba")
    assert lake.run(job).error is None
    assert np.array_equal(lake.read(job)["probability"], model.predict_proba(frame[["a"]])[:, 1])


@pytest.mark.parametrize(
    "answer",
    [
        pd.Series([3.0, 1.0, 2.0]).sort_values(),
        pd.Series([3.0, 1.0, 2.0])[::-1],
        pd.DataFrame({"p": [3.0, 1.0, 2.0]}).sort_values("p"),
        {"p": pd.Series([3.0, 1.0, 2.0]).sort_values()},
    ],
)
def test_rows_in_another_order_than_the_input_are_refused(answer: Any) -> None:
    with pytest.raises(ModelAnswerError, match="another order than it was given") as caught:
        labelled_columns(answer, ())
    assert "sort_index" in str(caught.value)


@pytest.mark.parametrize(
    "index", [[10, 11, 12], [0, 0, 0], [2, 1, 7], list("abc"), [0.0, 2.0, 1.0]]
)
def test_an_index_that_is_not_the_inputs_says_nothing(index: list[Any]) -> None:
    assert labelled_columns(pd.Series([3.0, 1.0, 2.0], index), ()).ravel().tolist() == [
        3.0,
        1.0,
        2.0,
    ]


def save_function(function: Callable[[Any], Any], signature: ModelSignature, folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")

        class Model(mlflow.pyfunc.PythonModel):
            def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
                return function(model_input)

        mlflow.pyfunc.save_model(
            folder, python_model=Model(), signature=signature, pip_requirements=[]
        )


def upper(x: Any) -> Any:
    return np.array([text.upper() for text in x[:, 0]], object)


def double(x: Any) -> Any:
    return x[:, 0] * 2


@pytest.mark.parametrize(
    ("function", "dtype", "column", "expected"),
    [
        (upper, "object", "color", lambda values: values.str.upper()),
        (double, "int64", "count", lambda values: values * 2),
        (double, "int32", "count", lambda values: values * 2),
    ],
)
def test_a_tensor_of_another_type_than_floats(
    function: Any, dtype: str, column: str, expected: Any, lake: Lake, tmp_path: Path
) -> None:
    kind = np.dtype(dtype)
    signature = ModelSignature(
        Schema([TensorSpec(kind, (-1, 1))]), Schema([TensorSpec(kind, (-1,))])
    )
    save_function(function, signature, tmp_path / "m")
    register(mlflow.MlflowClient(tracking_uri=lake.registry), f"tensor_{dtype}", tmp_path / "m")
    frame = make_frame(200)
    lake.write(DAY, frame)
    job = lake.job(f"tensor_{dtype}", features=[column])

    assert lake.run(job).error is None
    predictions = lake.read(job).set_index("id").loc[frame["id"], "prediction"]
    assert predictions.tolist() == expected(frame[column]).tolist()


def test_a_model_that_takes_objects_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    save_function(
        double, ModelSignature(Schema([ColSpec("double")]), Schema([ColSpec("double")])), folder
    )
    edited = yaml.safe_load((folder / "MLmodel").read_text())
    edited["signature"]["inputs"] = (
        '[{"type": "object", "properties": {"a": {"type": "double", "required": true}}}]'
    )
    (folder / "MLmodel").write_text(yaml.safe_dump(edited))
    with pytest.raises(
        ModelLoadError, match="takes lists or objects, which are no columns of a table"
    ):
        inspect(folder, is_vouched=True)
