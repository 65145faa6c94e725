"""Models and inputs that are legal and unusual: right or refused, never silently wrong."""

import gzip
import os
import signal
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.base import BaseEstimator, RegressorMixin, TransformerMixin
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestClassifier
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import Pipeline, make_pipeline

from tests.support.lake import Lake
from tests.support.models import NUMBERS, KnownModel, make_frame, register

DAY = "2024-02-29"


def add_model(lake: Lake, folder: Path, name: str, estimator: Any, sample: Any) -> None:
    import mlflow

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlflow.sklearn.save_model(
            estimator,
            folder / name,
            signature=mlflow.models.infer_signature(sample, estimator.predict(sample)),
            serialization_format="cloudpickle",
            pip_requirements=[],
        )
        register(mlflow.MlflowClient(tracking_uri=lake.registry), name, folder / name)


def test_an_answer_that_is_a_view_of_its_input_is_kept(lake: Lake, tmp_path: Path) -> None:
    class Persistence(RegressorMixin, BaseEstimator):
        def fit(self, x: Any, y: Any = None) -> Any:
            self.fitted_ = True
            return self

        def predict(self, x: Any) -> Any:
            return np.asarray(x)[:, 0]

    frame = make_frame(200_000)
    add_model(lake, tmp_path, "persistence", Persistence().fit(frame[["a"]]), frame[["a"]].head())
    lake.write(DAY, frame)
    job = lake.job("persistence")
    assert lake.run(job).error is None
    assert np.array_equal(lake.read(job)["prediction"], frame["a"])


def test_a_model_that_drops_rows_is_refused(lake: Lake, tmp_path: Path) -> None:
    class Dropping(TransformerMixin, BaseEstimator):
        def fit(self, x: Any, y: Any = None) -> Any:
            self.fitted_ = True
            return self

        def transform(self, x: Any) -> Any:
            return x.dropna()

    clean = make_frame(100)
    model = make_pipeline(Dropping(), LinearRegression()).fit(clean[NUMBERS], clean["a"])
    add_model(lake, tmp_path, "dropping", model, clean[NUMBERS].head())
    frame = make_frame(140_010)
    frame.loc[[5, 70_001], "b"] = None
    lake.write(DAY, frame, row_group_size=70_003)
    manifest = lake.run(lake.job("dropping", limits={"max_quarantined_rows": 10}))
    assert manifest.error
    assert manifest.error.type == "ModelAnswerError"
    assert "one prediction a row" in manifest.error.message


def test_a_first_step_of_ones_own_gets_its_frame(lake: Lake, tmp_path: Path) -> None:
    class Ratio(TransformerMixin, BaseEstimator):
        def fit(self, x: Any, y: Any = None) -> Any:
            self.fitted_ = True
            return self

        def transform(self, x: Any) -> Any:
            return pd.DataFrame({"r": x["a"] - x["b"], "c": x["c"]})

    frame = make_frame(500)
    model = make_pipeline(Ratio(), HistGradientBoostingRegressor(max_iter=5)).fit(
        frame[NUMBERS], frame["a"]
    )
    add_model(lake, tmp_path, "ratio", model, frame[NUMBERS].head())
    lake.write(DAY, frame)
    job = lake.job("ratio")
    assert lake.run(job).error is None
    assert np.array_equal(lake.read(job)["prediction"], model.predict(frame[NUMBERS]))


def test_a_pipeline_with_a_prediction_of_its_own_is_asked_itself(
    lake: Lake, tmp_path: Path
) -> None:
    class Shifted(Pipeline):
        def predict(self, x: Any, **options: Any) -> Any:
            return super().predict(x, **options) + 100.0

    frame = make_frame(200)
    model = Shifted([("m", LinearRegression())]).fit(frame[NUMBERS], frame["a"])
    add_model(lake, tmp_path, "shifted", model, frame[NUMBERS].head())
    lake.write(DAY, frame)
    job = lake.job("shifted")
    assert lake.run(job).error is None
    assert np.array_equal(lake.read(job)["prediction"], model.predict(frame[NUMBERS]))


def test_every_output_of_an_unnamed_model_is_kept(lake: Lake, tmp_path: Path) -> None:
    frame = make_frame(300)
    x = frame[NUMBERS].to_numpy()
    model = KNeighborsRegressor(3).fit(x, np.column_stack([x[:, 0], x[:, 1], x[:, 2]]))
    add_model(lake, tmp_path, "three_numpy", model, x[:5])
    lake.write(DAY, frame)
    job = lake.job("three_numpy")
    assert lake.run(job).error is None
    published = lake.read(job)
    for i in range(3):
        assert np.array_equal(published[f"prediction_{i}"], model.predict(x)[:, i])


def test_jobs_within_a_search_run_on_one_thread(lake: Lake, tmp_path: Path) -> None:
    from nightscore.models.libraries.pickles import _use_one_thread

    frame = make_frame(60)
    search = GridSearchCV(RandomForestClassifier(3, n_jobs=-1), {"max_depth": [2]}, cv=2, n_jobs=-1)
    search.fit(frame[NUMBERS], frame["flag"])
    _use_one_thread(search)
    assert (search.n_jobs, search.best_estimator_.n_jobs, search.estimator.n_jobs) == (1, 1, 1)


def test_integers_in_one_file_and_floats_in_another_lose_nothing(
    lake: Lake, tmp_path: Path
) -> None:
    train = make_frame(400)
    columns = ["count", "a"]
    model = HistGradientBoostingRegressor(max_iter=20).fit(
        train[columns], train["count"] + train["a"]
    )
    add_model(lake, tmp_path, "mixed_files", model, train[columns].head())
    whole, gaps = make_frame(100, seed=1), make_frame(100, seed=2)
    gaps["count"] = gaps["count"].astype(float)
    gaps.loc[[3, 50], "count"] = None
    own = model.predict(pd.concat([whole, gaps])[columns])
    for day, names in (("2024-03-01", ("a", "b")), ("2024-03-02", ("b", "a"))):
        lake.write(day, whole, names[0])
        lake.write(day, gaps, names[1])
        job = lake.job("mixed_files", output={"uri": f"{lake.root}/{day}"})
        assert lake.run(job, day).error is None
        published = lake.read(job).set_index("id").loc[[*whole["id"], *gaps["id"]]]
        assert np.array_equal(published["prediction"], own)
    whole.loc[7, "count"] = 2**53 + 1
    lake.write("2024-03-02", whole, "b")
    lake.write("2024-03-02", gaps, "c")
    job = lake.job(
        "mixed_files", output={"uri": f"{lake.root}/limited"}, limits={"max_quarantined_rows": 5}
    )
    manifest = lake.run(job, "2024-03-02")
    assert manifest.quarantine.by_column == {"count: cast": 1}


def test_integers_with_nulls_look_the_same_in_every_batch(lake: Lake, tmp_path: Path) -> None:
    class Spelling(RegressorMixin, BaseEstimator):
        def fit(self, x: Any, y: Any = None) -> Any:
            self.fitted_ = True
            return self

        def predict(self, x: Any) -> Any:
            return x["n"].astype(str).str.len().to_numpy().astype(float)

    n_rows = 140_000
    sample = pd.DataFrame({"n": pd.array([1, 2, None], "Int64"), "a": [0.0, 1.0, 2.0]}).astype(
        {"n": "float64"}
    )
    add_model(lake, tmp_path, "spelling", Spelling().fit(sample), sample)
    numbers: list[int | None] = [None, *range(1, n_rows)]
    table = pa.table(
        {"id": range(n_rows), "n": pa.array(numbers, pa.int64()), "a": np.zeros(n_rows)}
    )
    lake.write(DAY, table)
    job = lake.job("spelling")
    assert lake.run(job).error is None
    own = table.select(["n", "a"]).to_pandas()["n"].astype(str).str.len().astype(float)
    assert np.array_equal(lake.read(job)["prediction"], own, equal_nan=True)


def test_a_worker_that_dies_between_two_partitions_costs_nothing(lake: Lake) -> None:
    lake.write(DAY, make_frame(50))
    lake.write("2024-03-01", make_frame(50))
    job = lake.job()
    assert lake.run(job).error is None
    for pid in list(lake.pool.cpu_s_by_pid):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    manifest = lake.run(job, "2024-03-01")
    assert manifest.error is None


def test_files_that_are_not_named_as_parquet_alone_are_no_empty_partition(lake: Lake) -> None:
    lake.write(DAY, make_frame(50))
    job = lake.job()
    before = lake.run(job)
    content = lake.features.read_bytes(f"ds={DAY}/part-0.parquet")
    lake.features.write_bytes(f"ds={DAY}/000000_0", gzip.compress(content))
    lake.features.delete([f"ds={DAY}/part-0.parquet"])
    manifest = lake.run(job)
    assert manifest.error
    assert "000000_0" in manifest.error.message
    assert "input.files" in manifest.error.message
    assert set(lake.read(job)["run_id"]) == {before.run_id}

    lake.features.write_bytes(f"ds={DAY}/000000_0", content)
    manifest = lake.run(job)
    assert manifest.error is None, "what its content says is Parquet"
    assert len(lake.read(job)) == 50


def with_twins(frame: pd.DataFrame, name: str) -> pa.Table:
    """Two more columns of one name, of integers and of texts."""
    table = pa.Table.from_pandas(frame, preserve_index=False)
    for values in (range(len(frame)), ["text"] * len(frame)):
        table = table.append_column(name, pa.array(values))
    return table


def test_columns_of_one_name_that_nobody_needs_cost_nothing(
    lake: Lake, models: dict[str, KnownModel]
) -> None:
    frame = make_frame(50)
    frame.loc[7, "a"] = None
    lake.write(DAY, with_twins(frame, "twin"), row_group_size=20)
    lake.write(DAY, make_frame(50, seed=1).assign(id=range(100, 150)), "part-1")
    job = lake.job(policy={"missing": "quarantine"}, limits={"max_quarantined_rows": 1})
    manifest = lake.run(job)
    assert manifest.error is None, manifest.error
    assert (manifest.counts.rows_scored, manifest.counts.rows_quarantined) == (99, 1)
    assert "twin" in manifest.inputs.extra_columns


@pytest.mark.parametrize("role", ["feature", "key", "passed through"])
def test_columns_of_one_name_that_somebody_needs_are_refused(lake: Lake, role: str) -> None:
    name = {"feature": "a", "key": "id", "passed through": "note"}[role]
    lake.write(DAY, with_twins(make_frame(50).drop(columns=name, errors="ignore"), name))
    manifest = lake.run(lake.job(pass_through=["note"] if role == "passed through" else []))
    assert manifest.error
    assert manifest.error.type == "ContractError"
    assert f"{name}: ds={DAY}/part-0.parquet has 2 columns of this name" in manifest.error.message
    assert "is missing" not in manifest.error.message


def test_a_registrys_password_is_never_shown(lake: Lake) -> None:
    lake.write(DAY, make_frame(5))
    for host in ("127.0.0.1:9", "localhost"):
        # A job file with such a URI is refused. A job may be made without a file.
        job = lake.job().model_copy(update={"registry": f"http://alice:hunter2@{host}"})
        manifest = lake.run(job)
        assert manifest.error
        assert manifest.error.type == "StorageUnavailableError"
        assert "hunter2" not in manifest.model_dump_json()


def test_an_empty_partition_needs_no_workers(lake: Lake) -> None:
    from dataclasses import replace

    from nightscore.engine.backends.local import WorkerPool

    lake.write(DAY, make_frame(0))
    with WorkerPool() as cold:
        manifest = replace(lake, pool=cold).run(lake.job())
    assert (manifest.error, manifest.status, manifest.counts.rows_in) == (None, "published", 0)


def test_a_network_of_three_classes_and_several_targets(lake: Lake, tmp_path: Path) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.multioutput import MultiOutputClassifier
    from sklearn.neural_network import MLPClassifier

    frame = make_frame(400)
    x = frame[NUMBERS]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = MLPClassifier((4,), max_iter=20, random_state=0).fit(x, frame["color"])
    targets = np.column_stack([(frame["a"] > 0).astype(int), frame["count"] % 3])
    several = MultiOutputClassifier(LogisticRegression(max_iter=500)).fit(x, targets)
    lake.write(DAY, frame)
    for name, model in (("network", network), ("several", several)):
        add_model(lake, tmp_path, name, model, x.head())
        job = lake.job(name, output={"uri": f"{lake.root}/{name}"})
        assert lake.run(job).error is None
        published, own = lake.read(job), model.predict(x)
        if own.ndim == 1:
            assert np.array_equal(published["prediction"], own)
            assert np.array_equal(published["probability_red"], network.predict_proba(x)[:, 2])
        else:
            assert np.array_equal(published[["prediction_0", "prediction_1"]], own)


def test_a_key_may_be_null_throughout_a_file(lake: Lake) -> None:
    frame = make_frame(20)
    lake.write(DAY, frame.assign(note=None), "a")
    lake.write(DAY, make_frame(20, seed=1).assign(note="x"), "b")
    job = lake.job(pass_through=["note"])
    assert lake.run(job).error is None
    assert sorted(lake.read(job)["note"].isna()) == [False] * 20 + [True] * 20


def test_what_readers_would_read_twice_is_refused(lake: Lake) -> None:
    import pytest

    from nightscore.errors import InvalidJobError

    with pytest.raises(InvalidJobError, match="must not contain each other"):
        lake.job(output={"uri": lake.features.uri})
    lake.write(DAY, make_frame(20).assign(ID=1))
    twins = lake.run(lake.job(keys=["id", "ID"]))
    assert twins.error
    assert "id and ID: differ only by case" in twins.error.message
    delta = lake.job()
    assert lake.run(delta).error is None
    other = lake.run(lake.job(output={"uri": delta.output.uri, "format": "parquet"}), force=True)
    assert other.error
    assert "is a Delta table" in other.error.message
    sealed = lake.job(output={"uri": f"{lake.root}/sealed", "format": "parquet"})
    assert lake.run(sealed).error is None
    back = lake.run(lake.job(output={"uri": sealed.output.uri}), force=True)
    assert back.error
    assert "holds one object a partition" in back.error.message


def test_a_folder_gives_the_number_that_the_signature_wants(
    lake: Lake, models: dict[str, KnownModel]
) -> None:
    frame = make_frame(60)
    frame["count"] = frame["id"] % 3
    for count, rows in frame.groupby("count"):
        lake.write(f"{DAY}/count={count:02d}", rows.drop(columns="count"))
    job = lake.job("hgb_ints")
    assert lake.run(job).error is None
    known = models["hgb_ints"]
    published = lake.read(job).sort_values("id")
    assert np.array_equal(published["prediction"], known.estimator.predict(frame[known.columns]))
    lake.write("2024-03-01/count=many", frame.drop(columns="count"))
    refused = lake.run(job, "2024-03-01")
    assert refused.error
    assert "count: the folder count=many is no int64" in refused.error.message


def test_boosting_on_categories_loads_from_skops(
    lake: Lake, tmp_path: Path, models: dict[str, KnownModel]
) -> None:
    import mlflow
    import skops.io

    known = models["hgb_categories"]
    frame = make_frame(200)
    x = frame[known.columns].astype({"color": "category", "size": "category"})
    trusted = skops.io.get_untrusted_types(data=skops.io.dumps(known.estimator))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlflow.sklearn.save_model(
            known.estimator,
            tmp_path / "model",
            signature=mlflow.models.infer_signature(x, np.array([1])),
            serialization_format="skops",
            skops_trusted_types=trusted,
            pip_requirements=[],
        )
        register(
            mlflow.MlflowClient(tracking_uri=lake.registry), "skops_categories", tmp_path / "model"
        )
    lake.write(DAY, frame)
    job = lake.job("skops_categories")
    assert lake.run(job).error is None
    assert np.array_equal(lake.read(job)["prediction"], known.estimator.predict(x))
