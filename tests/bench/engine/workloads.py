"""The workloads: a model each, and Parquet files as a data team would have them, made once and kept."""

import logging
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

KEY, PARTITION_KEY = "id", "ds"
FIRST_DAY = date(2023, 1, 1)
N_TRAINING = 20_000
FILE_ROWS, ROW_GROUP_ROWS = 1_048_576, 131_072
"""At most; a smaller partition has several files all the same."""
LEAST_FILES = 8
DATA_VERSION = 1
"""Part of the folders' names: raised when the generator makes other data."""
SEED = {"training": 1, "data": 2}


@dataclass(frozen=True)
class Workload:
    """A model, and the shape of its input."""

    name: str
    title: str
    n_floats: int
    n_strings: int
    fit: Callable[[Any, Any], Any]
    """Takes a pandas frame and a binary target."""
    n_rows: int
    """Of one partition, or of each."""
    n_partitions: int = 1
    missing: float = 0.03
    """Share of missing values in each feature."""
    needs: tuple[str, ...] = ()
    """Packages beyond the project's own."""
    n_training: int = 0
    """Rows that the model is trained on; 0: `N_TRAINING`."""

    @property
    def floats(self) -> list[str]:
        return [f"f{i}" for i in range(self.n_floats)]

    @property
    def strings(self) -> list[str]:
        return [f"s{i}" for i in range(self.n_strings)]

    @property
    def features(self) -> list[str]:
        return [*self.floats, *self.strings]

    @property
    def total_rows(self) -> int:
        return self.n_rows * self.n_partitions

    @property
    def days(self) -> list[str]:
        """Its partitions."""
        return [str(FIRST_DAY + timedelta(days=i)) for i in range(self.n_partitions)]

    @property
    def id(self) -> str:
        """Name and size."""
        shape = f"{self.n_partitions}x{self.n_rows}" if self.n_partitions > 1 else str(self.n_rows)
        return f"{self.name}-{shape}"

    def sized(self, n_rows: int, n_partitions: int = 1) -> "Workload":
        return replace(self, n_rows=n_rows, n_partitions=n_partitions)


def hist_boosting(x: Any, y: Any) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(
        max_iter=200, max_leaf_nodes=31, early_stopping=False, random_state=0
    ).fit(x, y)


def random_forest(x: Any, y: Any) -> Any:
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(100, max_depth=12, random_state=0).fit(x, y)


def mixed_linear(x: Any, y: Any) -> Any:
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    strings = [name for name in x if name.startswith("s")]
    numbers = [name for name in x if name not in strings]
    front = make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), numbers),
        (
            make_pipeline(
                SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore")
            ),
            strings,
        ),
    )
    return make_pipeline(front, LogisticRegression(max_iter=300)).fit(x, y)


def scaled_linear(x: Any, y: Any) -> Any:
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression()).fit(x, y)


def lightgbm_booster(x: Any, y: Any) -> Any:
    import lightgbm

    settings = {"objective": "binary", "num_leaves": 31, "verbosity": -1, "seed": 0}
    return lightgbm.train(settings, lightgbm.Dataset(x, y), num_boost_round=200)


def xgboost_booster(x: Any, y: Any) -> Any:
    import xgboost

    settings = {
        "objective": "binary:logistic",
        "max_leaves": 31,
        "grow_policy": "lossguide",
        "max_depth": 0,
    }
    return xgboost.train(settings | {"seed": 0}, xgboost.DMatrix(x, y), num_boost_round=200)


W1, W2, W3, W4, W5L, W5X = WORKLOADS = (
    Workload("W1", "HistGradientBoosting 200 x 31, 30 floats", 30, 0, hist_boosting, 1_000_000),
    Workload(
        "W2", "RandomForest 100 x depth 12, 30 floats", 30, 0, random_forest, 500_000, missing=0.0
    ),
    Workload("W3", "20 floats, 8 strings, one-hot, logistic", 20, 8, mixed_linear, 1_000_000),
    Workload("W4", "imputed, scaled, logistic, 20 floats", 20, 0, scaled_linear, 20_000, 365),
    Workload(
        "W5-lightgbm",
        "LightGBM 200 x 31, 30 floats",
        30,
        0,
        lightgbm_booster,
        1_000_000,
        needs=("lightgbm",),
    ),
    Workload(
        "W5-xgboost",
        "XGBoost 200 x 31, 30 floats",
        30,
        0,
        xgboost_booster,
        1_000_000,
        needs=("xgboost",),
    ),
)


def features_folder(workload: Workload, folder: Path) -> Path:
    """Partitions of Parquet files, made if they are not there: `<partition>/part-<n>.parquet`.

    Never more than a row group is in memory. The same rows every time; several partitions hold the
    same rows as one partition of their total.
    """
    columns = f"{workload.n_floats}f-{workload.n_strings}s-{workload.missing:g}"
    target = folder / f"{columns}-{workload.n_partitions}x{workload.n_rows}-v{DATA_VERSION}"
    if target.is_dir():
        return target
    print(f"Writing {workload.total_rows:,} rows of {workload.id} to {target}", flush=True)
    spool = target.with_name(f".{target.name}")
    shutil.rmtree(spool, ignore_errors=True)
    file_rows = (
        min(FILE_ROWS, -(-workload.n_rows // LEAST_FILES))
        if workload.n_partitions == 1
        else workload.n_rows
    )
    for index, day in enumerate(workload.days):
        place = spool / f"{PARTITION_KEY}={day}"
        place.mkdir(parents=True)
        begin = index * workload.n_rows
        for part, first in enumerate(range(begin, begin + workload.n_rows, file_rows)):
            end = min(first + file_rows, begin + workload.n_rows)
            with pq.ParquetWriter(
                place / f"part-{part}.parquet", _schema(workload), compression="zstd"
            ) as writer:
                for start in range(first, end, ROW_GROUP_ROWS):
                    writer.write_table(_rows(workload, start, min(start + ROW_GROUP_ROWS, end)))
    spool.rename(target)
    return target


CHUNK_ROWS = 10_000
"""Rows that one seed makes, so that data does not depend on how it is cut."""


def _rows(workload: Workload, start: int, end: int, seed: int = SEED["data"]) -> pa.Table:
    first = start // CHUNK_ROWS
    chunks = [_chunk(workload, index, seed) for index in range(first, -(-end // CHUNK_ROWS))]
    return pa.concat_tables(chunks).slice(start - first * CHUNK_ROWS, end - start).combine_chunks()


def _chunk(workload: Workload, index: int, seed: int) -> pa.Table:
    rng = np.random.default_rng([seed, index])
    numbers = np.arange(index * CHUNK_ROWS, (index + 1) * CHUNK_ROWS)
    key = pc.binary_join_element_wise(
        "customer-", pc.utf8_lpad(pa.array(numbers).cast("string"), 9, "0"), ""
    )
    columns: dict[str, pa.Array] = {KEY: key}
    for name in workload.floats:
        values = rng.normal(size=CHUNK_ROWS)
        columns[name] = pa.array(values, mask=rng.random(CHUNK_ROWS) < workload.missing)
    for i, name in enumerate(workload.strings):
        known = pa.array([f"value {k}" for k in range(5 * (i + 1))])
        codes = rng.integers(0, len(known), CHUNK_ROWS)
        columns[name] = pc.if_else(
            pa.array(rng.random(CHUNK_ROWS) < workload.missing), None, known.take(pa.array(codes))
        )
    return pa.table(columns, schema=_schema(workload))


def training_rows(workload: Workload) -> pa.Table:
    """What the model is trained on, with keys."""
    return _rows(workload, 0, workload.n_training or N_TRAINING, SEED["training"])


def _schema(workload: Workload) -> pa.Schema:
    return pa.schema(
        [
            (KEY, pa.string()),
            *((name, pa.float64()) for name in workload.floats),
            *((name, pa.string()) for name in workload.strings),
        ]
    )


def model_folder(workload: Workload, folder: Path) -> Path:
    """The model as MLflow logs it, made if it is not there."""
    target = folder / f"{workload.name}-v{DATA_VERSION}"
    if target.is_dir():
        return target
    import mlflow

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    print(f"Training the model of {workload.name}", flush=True)
    x = training_rows(workload).drop_columns([KEY]).to_pandas()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = workload.fit(x, _target(workload, x))
        save = {"lightgbm": mlflow.lightgbm, "xgboost": mlflow.xgboost}.get(
            type(model).__module__.split(".")[0]
        )
        spool = target.with_name(f".{target.name}")
        shutil.rmtree(spool, ignore_errors=True)
        options: dict[str, Any] = {"pip_requirements": []}
        if save is None:
            # Boosters give probabilities by themselves; scikit-learn's classifiers are asked for
            # them.
            options |= {"serialization_format": "cloudpickle", "pyfunc_predict_fn": "predict_proba"}
            outputs = model.predict_proba(x.head())
        else:
            outputs = np.full(5, 0.5)
        signature = mlflow.models.infer_signature(x.head(), outputs)
        (save or mlflow.sklearn).save_model(model, spool, signature=signature, **options)
    spool.rename(target)
    return target


def _target(workload: Workload, x: Any) -> npt.NDArray[np.int64]:
    """What half the rows are: a sum of the numbers, a product, two of the strings, and noise."""
    rng = np.random.default_rng(3)
    filled = x[workload.floats].fillna(0.0).to_numpy()
    total = (
        filled @ rng.normal(size=workload.n_floats)
        + filled[:, 0] * filled[:, 1]
        + rng.normal(size=len(x))
    )
    for name in workload.strings[:2]:
        total += x[name].isin(["value 0", "value 1"]).to_numpy()
    return (total > np.median(total)).astype(np.int64)
