"""Models get columns as MLflow or the library would give them; what that would change is refused."""

import datetime as dt
import decimal
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightgbm
import mlflow
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import xgboost
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, Schema
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from nightscore.models.libraries.category_columns import category_columns
from nightscore.schemas.model import Feature
from tests.models.test_odd_models import add_model
from tests.support.lake import Lake
from tests.support.models import NUMBERS, KnownModel, make_frame, register

DAY = "2024-02-29"
LOOSE = {"max_quarantined_rows": 1_000}


def add_pyfunc(
    lake: Lake, folder: Path, columns: list[ColSpec], function: Callable[[Any], Any]
) -> str:
    """Register a pyfunc whose signature has these columns; its name."""

    class Model(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
            return function(model_input)

    signature = ModelSignature(Schema(columns), Schema([ColSpec("double")]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlflow.pyfunc.save_model(
            folder / "m", python_model=Model(), signature=signature, pip_requirements=[]
        )
        register(mlflow.MlflowClient(tracking_uri=lake.registry), folder.name, folder / "m")
    return folder.name


def column_of(lake: Lake, job: Any, name: str = "prediction") -> list[Any]:
    values: list[Any] = lake.read(job).sort_values("id")[name].tolist()
    return values


def test_decimals_are_scored_and_those_that_lose_digits_are_named(
    lake: Lake, models: dict[str, KnownModel]
) -> None:
    frame = make_frame(300).round(4)
    table = pa.Table.from_pandas(frame, preserve_index=False)
    with decimal.localcontext(prec=60):
        values = [decimal.Decimal(str(value)) for value in frame["b"]]
        values[7] = decimal.Decimal("0.100000000000000001")
        wide = pa.array(values, pa.decimal128(38, 18))
    table = table.set_column(
        table.column_names.index("a"), "a", pa.array(frame["a"]).cast(pa.decimal128(12, 4))
    )
    lake.write(DAY, table.set_column(table.column_names.index("b"), "b", wide))
    job = lake.job("hgb_binary", limits=LOOSE)

    manifest = lake.run(job)

    assert manifest.error is None
    assert manifest.quarantine.by_column == {"b: cast": 1}
    own = models["hgb_binary"].estimator.predict_proba(frame.drop(index=7)[NUMBERS])[:, 1]
    assert column_of(lake, job, "probability") == own.tolist()


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", None])
def test_times_reach_the_library_with_the_zone_of_the_file(
    lake: Lake, tmp_path: Path, zone: str | None
) -> None:
    hours = pd.Timestamp("2024-03-31", tz=zone) + pd.to_timedelta(np.arange(60), "h")
    frame = pd.DataFrame({"id": np.arange(60), "t": hours})
    moments = pa.array(hours.as_unit("us").asi8, pa.timestamp("us", zone))
    steps = FunctionTransformer(lambda x: np.column_stack([x["t"].dt.hour])), LinearRegression()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn looks at the values of a frame with a zone
        model = make_pipeline(*steps).fit(frame[["t"]], np.arange(60) % 24)
        own = model.predict(frame[["t"]])
    add_model(lake, tmp_path, tmp_path.name, model, frame[["t"]])
    lake.write(DAY, pa.table({"id": range(60), "t": moments}))
    job = lake.job(tmp_path.name)

    assert lake.run(job).error is None

    assert np.allclose(column_of(lake, job), own)


def test_a_pyfunc_gets_times_without_a_zone_only_as_mlflow_has_it(
    lake: Lake, tmp_path: Path
) -> None:
    name = add_pyfunc(
        lake, tmp_path, [ColSpec("datetime", "t")], lambda x: x["t"].dt.hour.astype(float)
    )
    moments = pa.array([dt.datetime(2024, 2, 29, 7)], pa.timestamp("us"))
    lake.write(DAY, pa.table({"id": [0], "t": moments}))
    lake.write("2024-03-01", pa.table({"id": [0], "t": moments.cast(pa.timestamp("us", "UTC"))}))
    assert lake.run(lake.job(name)).error is None
    refused = lake.run(lake.job(name), "2024-03-01")
    assert refused.error
    assert (
        "t: has the time zone UTC, and MLflow gives a pyfunc no times with one"
        in refused.error.message
    )


@pytest.mark.parametrize("kind", [pa.int64(), pa.int16(), pa.float64()], ids=str)
def test_a_missing_integer_costs_a_pyfunc_its_row_only(
    lake: Lake, tmp_path: Path, kind: pa.DataType
) -> None:
    name = add_pyfunc(lake, tmp_path, [ColSpec("long", "n")], lambda x: x["n"] * 2.0)
    values = [*range(200), None, *range(200)]
    lake.write(DAY, pa.table({"id": range(401), "n": pa.array(values, kind)}))
    job = lake.job(name, limits=LOOSE)

    manifest = lake.run(job)

    assert manifest.error is None
    assert manifest.quarantine.by_column == {"n: null": 1}
    assert column_of(lake, job) == [value * 2.0 for value in values if value is not None]


def test_a_broken_number_costs_a_pyfunc_its_row_only(lake: Lake, tmp_path: Path) -> None:
    name = add_pyfunc(lake, tmp_path, [ColSpec("integer", "n")], lambda x: x["n"] * 2.0)
    lake.write(DAY, pa.table({"id": range(4), "n": [1.0, 2.5, 2.0**31, 4.0]}))
    job = lake.job(name, limits=LOOSE)
    assert lake.run(job).quarantine.by_column == {"n: cast": 2}
    assert column_of(lake, job) == [2.0, 8.0]


def test_a_signature_without_names_takes_columns_by_their_place(lake: Lake, tmp_path: Path) -> None:
    columns = [ColSpec("double"), ColSpec("string"), ColSpec("long")]
    name = add_pyfunc(
        lake, tmp_path, columns, lambda x: x.iloc[:, 0] + x.iloc[:, 1].str.len() + x.iloc[:, 2]
    )
    frame = make_frame(50)[["id", "b", "color", "count"]]
    lake.write(DAY, frame)
    own = (frame["b"] + frame["color"].str.len() + frame["count"]).tolist()

    job = lake.job(name)
    assert lake.run(job).error is None
    assert column_of(lake, job) == own

    wide = frame.assign(more=0.0)[["id", "more", "count", "color", "b"]]
    lake.write("2024-03-01", wide)
    refused = lake.run(lake.job(name), "2024-03-01")
    assert refused.error
    assert (
        "the model was trained on 3 columns without names, the job leaves 4"
        in refused.error.message
    )
    named = lake.job(name, features=["b", "color", "count"], output={"uri": f"{lake.root}/named"})
    assert lake.run(named, "2024-03-01").error is None
    assert column_of(lake, named) == own


def categorical(n_rows: int = 400) -> tuple[pd.DataFrame, pd.DataFrame, Any]:
    """Rows as files have them, the training frame with categories, and labels."""
    frame = make_frame(n_rows)[["id", "a", "color", "count", "flag"]]
    frame["count"] %= 5
    frame.loc[3, "color"] = None
    x = frame[["a", "color", "count", "flag"]].astype({"color": "category", "count": "category"})
    return frame, x, ((frame["a"] + frame["count"] > 2) ^ (frame["color"] == "red")).astype("int64")


def passing() -> Any:
    return make_column_transformer((StandardScaler(), ["a"]), remainder="passthrough").set_output(
        transform="pandas"
    )


LIGHTGBM = {"n_estimators": 5, "verbose": -1, "n_jobs": 1}
XGBOOST = {"n_estimators": 5, "enable_categorical": True, "n_jobs": 1}
MODELS: dict[str, Callable[[], Any]] = {
    "lightgbm": lambda: lightgbm.LGBMClassifier(**LIGHTGBM),
    "xgboost": lambda: xgboost.XGBClassifier(**XGBOOST),
    "lightgbm behind passing": lambda: make_pipeline(
        passing(), lightgbm.LGBMClassifier(**LIGHTGBM)
    ),
    "xgboost behind passing": lambda: make_pipeline(
        "passthrough", passing(), xgboost.XGBClassifier(**XGBOOST)
    ),
    "calibrated": lambda: CalibratedClassifierCV(lightgbm.LGBMClassifier(**LIGHTGBM), cv=2),
}


@pytest.mark.parametrize("is_coded", [False, True], ids=["texts", "dictionary"])
@pytest.mark.parametrize("kind", MODELS)
def test_boosters_behind_scikit_learn_get_their_categories(
    lake: Lake, tmp_path: Path, kind: str, is_coded: bool
) -> None:
    frame, x, y = categorical()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = MODELS[kind]().fit(x, y)
        add_model(lake, tmp_path, tmp_path.name, model, x)
    # The second half does not have all categories, and what a file holds has another order than
    # training's.
    half = frame.iloc[200:].assign(color="green").astype({"color": "category"} if is_coded else {})
    lake.write(DAY, frame.iloc[:200][::-1], "a")
    lake.write(DAY, pa.Table.from_pandas(half, preserve_index=False), "b")
    job = lake.job(tmp_path.name)

    manifest = lake.run(job)

    assert manifest.error is None
    whole = x.assign(color=x["color"].where(x.index < 200, "green"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        own = model.predict_proba(whole)[:, 1].tolist()
    assert column_of(lake, job, "probability") == own


def test_a_category_that_is_not_known_is_missing_to_lightgbm_and_costs_a_row_of_xgboost(
    lake: Lake, tmp_path: Path
) -> None:
    frame, x, y = categorical()
    add_model(lake, tmp_path, "cat_lgb", lightgbm.LGBMClassifier(**LIGHTGBM).fit(x, y), x)
    add_model(lake, tmp_path, "cat_xgb", xgboost.XGBClassifier(**XGBOOST).fit(x, y), x)
    frame.loc[9, "color"] = "purple"
    lake.write(DAY, frame)

    taken = lake.run(lake.job("cat_lgb"))
    refused = lake.run(lake.job("cat_xgb", limits=LOOSE, output={"uri": f"{lake.root}/xgb"}))
    policy = {"unseen_category": "quarantine"}
    apart = lake.run(
        lake.job("cat_lgb", limits=LOOSE, policy=policy, output={"uri": f"{lake.root}/apart"})
    )

    assert (taken.error, taken.counts.rows_quarantined) == (None, 0)
    assert refused.quarantine.by_column == {"color: unseen_category": 1}
    assert apart.quarantine.by_column == {"color: unseen_category": 1}


def test_nothing_is_made_a_category_behind_a_step_that_may_do_it_itself() -> None:
    frame, x, y = categorical()
    texts = frame[["a", "color", "count"]]
    own = FunctionTransformer(
        lambda x: x.assign(color=x["color"].fillna("none").astype("category"))
    )
    model = make_pipeline(own, lightgbm.LGBMClassifier(**LIGHTGBM)).fit(texts, y)
    features = [Feature(name=name) for name in texts]
    assert category_columns(model, features) == ({}, False)
    direct = lightgbm.LGBMClassifier(**LIGHTGBM).fit(x, y)
    categories = category_columns(direct, [Feature(name=name) for name in x])
    assert categories == ({"color": ("blue", "green", "red"), "count": (0, 1, 2, 3, 4)}, False)
    assert category_columns(LinearRegression().fit(texts[["a"]], y), features[:1]) == ({}, False)
