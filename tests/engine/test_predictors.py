"""Predictions are the model's own, bit for bit, on the same rows."""

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tests.support.lake import Lake
from tests.support.models import MODELS, NUMBERS, STRINGS, KnownModel, make_frame, with_nulls

DAY = "2024-02-29"
N = 3_001


def own_input(known: KnownModel, frame: pd.DataFrame) -> Any:
    x = frame[known.columns]
    return x if known.is_named else x.to_numpy()


SUMMED = ("pipeline_onehot", "pipeline_strict")
"""Linear models on a dense matrix: compiled, their sums are rounded otherwise than BLAS rounds
them."""


def same(is_summed: bool, answers: Any, own: Any) -> bool:
    """To the bit, but for sums: within 1e-12."""
    return bool(
        np.allclose(answers, own, rtol=1e-12, atol=1e-12)
        if is_summed
        else np.array_equal(answers, own)
    )


def take_nulls(name: str) -> bool:
    return name in ("hgb_binary", "hgb_regressor", "pipeline_onehot", "pipeline_ordinal")


@pytest.mark.parametrize("engine", ["library", "auto"])
@pytest.mark.parametrize("name", MODELS)
def test_predictions_are_the_models_own(
    lake: Lake, models: dict[str, KnownModel], name: str, engine: str
) -> None:
    known = models[name]
    frame = with_nulls(make_frame(N)) if take_nulls(name) else make_frame(N)
    if name == "hgb_categories":
        frame = frame.astype(dict.fromkeys(STRINGS, "category"))
    lake.write(DAY, frame.iloc[:1_500], "a", row_group_size=400)
    lake.write(DAY, frame.iloc[1_500:], "b")
    job = lake.job(name, engine=engine)

    manifest = lake.run(job)

    assert manifest.error is None
    assert manifest.predictor is not None
    assert manifest.predictor.rows_by_library == 0
    published = lake.read(job)
    is_summed = manifest.predictor.engine == "compiled" and name in SUMMED
    estimator, x = known.estimator, own_input(known, frame)
    own = np.asarray(estimator.predict(x))
    if own.ndim == 2:
        for i in range(own.shape[1]):
            assert np.array_equal(published[f"prediction_{i}"], own[:, i])
        return
    assert np.array_equal(published["prediction"].to_numpy(), own)
    assert published["prediction"].dtype.kind == pd.Series(own).dtype.kind
    if hasattr(estimator, "predict_proba"):
        probability = estimator.predict_proba(x)
        if probability.shape[1] == 2:
            assert same(is_summed, published["probability"], probability[:, 1])
        else:
            for i, label in enumerate(estimator.classes_):
                assert same(is_summed, published[f"probability_{label}"], probability[:, i])


@pytest.mark.parametrize("method", ["decision_function", "raw", "predict"])
@pytest.mark.parametrize("name", ["hgb_binary", "logistic_multi", "svc", "hgb_poisson"])
def test_other_outputs_on_demand(
    lake: Lake, models: dict[str, KnownModel], name: str, method: str
) -> None:
    known, frame = models[name], make_frame(N)
    lake.write(DAY, frame)
    job = lake.job(name, predict=method)
    x = own_input(known, frame)

    manifest = lake.run(job)

    if name == "hgb_poisson" and method == "decision_function":
        assert manifest.error
        assert "has no decision_function; it has predict, raw" in manifest.error.message
        return
    assert manifest.error is None
    published = lake.read(job)
    assert np.array_equal(published["prediction"], known.estimator.predict(x))
    assert not [column for column in published if column.startswith("probability")]
    if method == "predict":
        return
    column = {"decision_function": "decision", "raw": "raw"}[method]
    own = (
        known.estimator._raw_predict(x).ravel()
        if name == "hgb_poisson"
        else known.estimator.decision_function(x)
    )
    if own.ndim == 1:
        assert np.array_equal(published[column], own)
    else:
        for i, label in enumerate(known.estimator.classes_):
            assert np.array_equal(published[f"{column}_{label}"], own[:, i])


def test_types_that_hold_the_same_values_give_the_same_predictions(
    lake: Lake, models: dict[str, KnownModel]
) -> None:
    frame = make_frame(N)
    frame[NUMBERS] = frame[NUMBERS].astype("float32").astype("float64")
    table = pa.Table.from_pandas(frame, preserve_index=False)
    for name, kind in (("a", pa.float32()), ("color", pa.large_string()), ("id", pa.int32())):
        i = table.column_names.index(name)
        table = table.set_column(i, name, table[name].cast(kind))
    i = table.column_names.index("size")
    table = table.set_column(i, "size", table["size"].dictionary_encode())
    lake.write(DAY, table.select(table.column_names[::-1]))
    job = lake.job("pipeline_onehot")

    assert lake.run(job).error is None

    known = models["pipeline_onehot"]
    assert np.array_equal(
        lake.read(job)["prediction"], known.estimator.predict(frame[known.columns])
    )


def test_probabilities_near_a_tie_are_decided_by_the_model_itself() -> None:
    from sklearn.ensemble import HistGradientBoostingClassifier

    from nightscore.models.flavors.sklearn import SklearnPredictor
    from nightscore.schemas.model import ModelFacts

    rng = np.random.default_rng(0)
    x = rng.integers(0, 2, size=(400, 2)).astype(float)
    model = HistGradientBoostingClassifier(max_iter=1, learning_rate=1e-12, min_samples_leaf=1).fit(
        x, np.tile([0, 1], 200)
    )
    answer = SklearnPredictor(model, ModelFacts(flavor="sklearn", estimator="")).predict(
        pa.table({"a": x[:, 0], "b": x[:, 1]}), ["probability"]
    )
    assert np.array_equal(answer["prediction"].ravel(), model.predict(x))
    assert np.array_equal(answer["probability"], model.predict_proba(x))


def test_a_custom_pyfunc_model_scores(lake: Lake, tmp_path: Any) -> None:
    import warnings

    import mlflow
    from mlflow.models import infer_signature

    from tests.support.models import register

    class Doubler(mlflow.pyfunc.PythonModel):
        def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
            return model_input["a"].to_numpy() * 2

    frame = make_frame(100)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlflow.pyfunc.save_model(
            tmp_path / "doubler",
            python_model=Doubler(),
            signature=infer_signature(frame[["a", "color"]], np.array([0.5])),
            pip_requirements=[],
        )
        client = mlflow.MlflowClient(tracking_uri=lake.registry, registry_uri=lake.registry)
        register(client, "doubler", tmp_path / "doubler")
    frame = pd.concat([frame] * 20, ignore_index=True)
    lake.write(DAY, frame)
    job = lake.job("doubler")

    manifest = lake.run(job)

    assert manifest.error is None
    assert manifest.model.flavor == "python_function"
    assert manifest.predictor is not None
    assert manifest.predictor.rows_repeated == 0, "its code may look at more than one row"
    assert manifest.predictor.why_each_row == ""
    assert np.array_equal(lake.read(job)["prediction"], frame["a"] * 2)
