"""A column has one type in all batches of a partition: whether there are nulls is known before the first."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.base import BaseEstimator, RegressorMixin

from nightscore.inputs.footers import read_footers
from nightscore.inputs.nulls import find_nulls
from nightscore.inputs.partitions import find_partition
from nightscore.ledger.workspace import Workspace
from nightscore.models.features import mark_nullable, to_frame
from nightscore.schemas.model import ModelFacts
from tests.models.test_odd_models import add_model
from tests.operations.test_replay import again
from tests.support.lake import Lake
from tests.support.models import make_frame, register

DAY = "2024-02-29"
N_ROWS = 140_000
"""More than two batches."""
FACTS = ModelFacts(flavor="sklearn", estimator="Own", is_named=True)
SILENT: dict[str, Any] = {"write_statistics": False}


class Spelling(RegressorMixin, BaseEstimator):
    """Predicts how long the value is as text: 3, 3.0 and True are told apart."""

    def fit(self, x: Any, y: Any = None) -> Any:
        self.fitted_ = True
        return self

    def predict(self, x: Any) -> Any:
        return x["n"].map(str).str.len().to_numpy().astype(float)


def lengths(values: pa.Array) -> list[float]:
    """What pandas makes of the whole column."""
    own: list[float] = Spelling().predict(pa.table({"n": values}).to_pandas()).tolist()
    return own


def spelled(lake: Lake, folder: Path, sample: pd.Series) -> Any:
    add_model(lake, folder, folder.name, Spelling().fit(None), pd.DataFrame({"n": sample}))
    return lake.job(folder.name)


def write(
    lake: Lake, values: pa.Array, name: str = "part-0", first: int = 0, **options: Any
) -> None:
    ids = pa.array(np.arange(first, first + len(values)))
    lake.write(DAY, pa.table({"id": ids, "n": values}), name, **options)


@pytest.mark.parametrize("options", [SILENT, {}], ids=["no statistics", "statistics"])
@pytest.mark.parametrize("has_null", [True, False])
@pytest.mark.parametrize("values", [[1, 22, 333], [True, False]], ids=["integers", "truth values"])
def test_all_batches_are_as_pandas_reads_the_file(
    lake: Lake, tmp_path: Path, values: list[Any], has_null: bool, options: dict[str, Any]
) -> None:
    column = [values[i % len(values)] for i in range(N_ROWS)]
    if has_null:
        column[N_ROWS - 1] = None
    array = pa.array(column)
    job = spelled(lake, tmp_path, pd.Series(values))
    write(lake, array, row_group_size=50_000, **options)

    manifest = lake.run(job)

    assert manifest.error is None
    assert lake.read(job).sort_values("id")["prediction"].tolist() == lengths(array)


@pytest.mark.parametrize(
    "second", [pa.array([None, 5]), pa.nulls(2), None], ids=["integers", "nulls", "no column"]
)
def test_one_file_with_nulls_decides_for_all(
    lake: Lake, tmp_path: Path, second: pa.Array | None
) -> None:
    import mlflow
    from mlflow.types import ColSpec, Schema

    class Spelled(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
            return Spelling().predict(model_input)

    inputs, outputs = Schema([ColSpec("double", "n", required=False)]), Schema([ColSpec("double")])
    signature = mlflow.models.ModelSignature(inputs, outputs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlflow.pyfunc.save_model(
            tmp_path / "m", python_model=Spelled(), signature=signature, pip_requirements=[]
        )
        register(mlflow.MlflowClient(tracking_uri=lake.registry), tmp_path.name, tmp_path / "m")
    write(lake, pa.array([1, 22]), "a")
    rest = {"n": second} if second is not None else {}
    lake.write(DAY, pa.table({"id": [2, 3], **rest}), "b", **SILENT)
    job = lake.job(tmp_path.name)

    manifest = lake.run(job)

    assert manifest.error is None
    both = pa.chunked_array(
        [pa.array([1.0, 22.0]), (second if second is not None else pa.nulls(2)).cast(pa.float64())]
    )
    assert lake.read(job).sort_values("id")["prediction"].tolist() == lengths(both)


def test_a_replay_has_the_types_of_the_whole_partition(lake: Lake, tmp_path: Path) -> None:
    """The quarantined row has no null, the partition has."""

    class Choosy(Spelling):
        def predict(self, x: Any) -> Any:
            return Spelling.predict(self, x) + x["m"].to_numpy()

    table = pa.table(
        {"id": [0, 1, 2], "n": pa.array([7, None, 8]), "m": pa.array([0.0, 0.0, float("inf")])}
    )
    add_model(
        lake,
        tmp_path,
        tmp_path.name,
        Choosy().fit(None),
        pd.DataFrame({"n": [7, 8], "m": [0.0, 1.0]}),
    )
    lake.write(DAY, table)
    strict = {"limits": {"max_quarantined_rows": 1}}
    assert (
        lake.run(
            lake.job(tmp_path.name, policy={"infinite": "quarantine"}, **strict)
        ).counts.rows_quarantined
        == 1
    )

    manifest = again(lake, lake.job(tmp_path.name, **strict))

    assert manifest.error is None
    assert lake.read(lake.job(tmp_path.name)).sort_values("id")["prediction"].tolist() == [
        3.0,
        3.0,
        float("inf"),
    ]


def test_nulls_are_looked_for_where_files_do_not_count_them(lake: Lake) -> None:
    counted = pa.table(
        {"n": pa.array([1, None, 3]), "f": pa.array([True, None, False]), "t": ["a", "b", "c"]}
    )
    uncounted = pa.table(
        {"n": pa.array([1, 2, None]), "f": pa.array([True, True, False]), "t": ["a", "b", "c"]}
    )
    required = pa.schema(
        [pa.field("n", pa.int64(), False), pa.field("f", pa.bool_(), False), ("t", pa.string())]
    )
    lake.write(DAY, counted, "a")
    lake.write(DAY, uncounted, "b", row_group_size=1, **SILENT)
    lake.write(DAY, uncounted.slice(0, 2).cast(required), "c", **SILENT)
    lake.write(DAY, uncounted.slice(0, 2), "d")
    job = lake.job()
    files = find_partition(Workspace(job), DAY)[0].files

    a, b, c, d = read_footers(lake.features, files)

    assert [footer.with_nulls for footer in (a, b, c, d)] == [{"n", "f"}, set(), set(), set()]
    assert [footer.uncounted for footer in (a, b, c, d)] == [set(), {"n", "f"}, set(), set()]
    assert find_nulls(job.input, {files[1]: ("f", "n")}) == {files[1]: {"n"}}
    assert find_nulls(job.input, {files[1]: ("n",), files[2]: ("n",)}) == {
        files[1]: {"n"},
        files[2]: set(),
    }


def test_a_frame_depends_on_no_batch() -> None:
    flags = pa.table({"f": pa.array([True, False]), "c": pa.array(["x", "y"]).dictionary_encode()})
    frame = to_frame(mark_nullable(flags, ["f"]), FACTS)
    assert frame["f"].dtype == object
    assert to_frame(flags, FACTS)["f"].dtype == bool
    assert frame["c"].dtype == pa.table({"c": ["x"]}).to_pandas()["c"].dtype
    assert (
        to_frame(mark_nullable(flags, ["f"]).filter(pa.array([True, False])), FACTS)["f"].dtype
        == object
    )


def test_with_values_that_may_pass_as_missing_integers_are_floating(
    lake: Lake, tmp_path: Path
) -> None:
    array = pa.array([5] * (N_ROWS - 1) + [2**63], pa.uint64())
    spelled(lake, tmp_path, pd.Series([5, 6]))
    write(lake, array)
    job = lake.job(tmp_path.name, policy={"cast": "pass"})
    assert lake.run(job).error is None
    assert set(lake.read(job)["prediction"]) == {3.0}


@pytest.mark.parametrize("kind", [pa.string(), pa.null(), pa.float64()], ids=str)
def test_a_file_without_rows_says_nothing_about_types(lake: Lake, kind: pa.DataType) -> None:
    frame = make_frame(100)
    full = pa.Table.from_pandas(frame, preserve_index=False)
    lake.write(DAY, pa.table({name: pa.array([], kind) for name in full.column_names}), "a")
    lake.write(DAY, full, "b")
    lake.write(DAY, pa.table({"other": pa.array([], kind)}), "c")
    lake.write("2024-03-01", pa.table({name: pa.array([], kind) for name in full.column_names}))
    job = lake.job("hgb_ints")

    assert lake.run(job).error is None
    assert lake.run(job, "2024-03-01").error is None

    assert sorted(lake.read(job)["id"]) == frame["id"].tolist()
