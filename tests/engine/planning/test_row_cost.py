"""What a model takes for a row is known, or measured once, and decides how small shards may be."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nightscore.engine.planning import row_cost
from nightscore.engine.planning.predictor_choice import PredictorChoice
from nightscore.engine.planning.row_cost import ModelAtWork, RowNote, find_row_s
from nightscore.engine.planning.shards import least_shard_rows
from nightscore.inputs.footers import read_footers
from nightscore.inputs.jobfile import parse_job
from nightscore.models.compiled.form_cache import CachedForm
from nightscore.models.flavor_catalog import registered
from nightscore.models.loading import inspect_model
from nightscore.schemas.contract import Contract, InputColumn, OutputColumn
from nightscore.schemas.manifest import PredictorRecord
from nightscore.schemas.partition import MIN_SHARD_ROWS, InputFile
from nightscore.storage.store import Store
from tests.fakes import tiny_flavor
from tests.fakes.pool import InProcessPool

N_ROWS = 300
LIBRARY, COMPILED = PredictorChoice("none", 0, 0), PredictorChoice("", 4, 0)


@pytest.mark.parametrize(
    ("row_s", "in_threads", "rows"),
    [
        (None, False, MIN_SHARD_ROWS),
        (1e-6, False, MIN_SHARD_ROWS),
        (250e-6, False, 4_096),
        (260e-6, False, 4_096),
        (1.0, False, 1_024),
        (20e-6, True, 16_384),
    ],
)
def test_a_shard_of_a_slow_model_is_worth_a_second_of_a_process(
    row_s: float | None, in_threads: bool, rows: int
) -> None:
    assert least_shard_rows(row_s, 100.0, in_threads=in_threads) == rows


def test_rows_that_take_longer_to_decode_than_to_predict_are_not_decoded_twice() -> None:
    assert least_shard_rows(40e-6, 48_000.0, in_threads=True) == MIN_SHARD_ROWS


def model_at_work(folder: Path, predictor: PredictorChoice, **options: Any) -> ModelAtWork:
    """The tiny model, and a partition of one file."""
    tiny_flavor.save(folder / "cache" / "model")
    raw = {
        "name": "test",
        "model": "models:/m/1",
        "input": {"uri": str(folder / "features")},
        "output": {"uri": str(folder / "predictions"), "format": "parquet"},
        "keys": ["id"],
    }
    columns = InputColumn("a", pa.float64(), "double"), InputColumn("b", pa.float64(), "double")
    return ModelAtWork(
        parse_job(raw | options),
        folder / "cache" / "model",
        inspect_model(folder / "cache" / "model"),
        Contract(
            features=columns,
            passthrough=(),
            predictions=(OutputColumn("prediction", pa.float64(), "prediction"),),
            has_position=True,
        ),
        predictor,
    )


def footers_of(folder: Path, n_rows: int = N_ROWS) -> list[Any]:
    (folder / "features").mkdir(exist_ok=True)
    columns = {name: [0.5] * n_rows for name in ("a", "b")}
    table = pa.table(columns, schema=pa.schema([(name, pa.float64()) for name in columns]))
    pq.write_table(table, folder / "features" / "x.parquet")

    store = Store(str(folder / "features"))
    entry = store.describe("x.parquet")
    return read_footers(store, [InputFile("x.parquet", entry.size_bytes, entry.version)])


class CountingPool(InProcessPool):
    """Counts its calls."""

    n_calls = 0

    def call(self, *arguments: Any, **options: Any) -> Any:
        self.n_calls += 1
        return super().call(*arguments, **options)


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(row_cost, "MEASURED_ROWS", (1, 1_000))
    with registered(tiny_flavor.FLAVOR):
        yield


def test_the_library_is_timed_once_for_a_model(tmp_path: Path) -> None:
    model, footers, pool = model_at_work(tmp_path, LIBRARY), footers_of(tmp_path), CountingPool()
    assert find_row_s(model, footers, None) is None, "nobody may measure"

    row_s = find_row_s(model, footers, pool)
    assert row_s is not None
    assert 0.0 <= row_s < 1.0
    assert find_row_s(model, footers, pool) == row_s
    assert find_row_s(model, footers, None) == row_s
    assert pool.n_calls == 1

    RowNote.for_model(model.folder, model.facts).path.write_text("{")
    assert find_row_s(model, footers, pool) is not None
    assert pool.n_calls == 2, "a damaged note is as good as none"


@pytest.mark.parametrize("n_rows", [0, 2_000], ids=["none", "more than matters"])
def test_the_library_is_not_timed_where_it_makes_no_difference(n_rows: int, tmp_path: Path) -> None:
    model, footers, pool = (
        model_at_work(tmp_path, LIBRARY),
        footers_of(tmp_path, n_rows),
        CountingPool(),
    )
    assert find_row_s(model, footers, pool) is None
    assert pool.n_calls == 0


def test_a_model_that_refuses_the_first_rows_has_no_known_cost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> Any:
        raise ValueError("no such rows")

    monkeypatch.setattr(tiny_flavor.TinyPredictor, "predict", refuse)
    model, footers = model_at_work(tmp_path, LIBRARY), footers_of(tmp_path)
    assert find_row_s(model, footers, InProcessPool()) is None
    assert not RowNote.for_model(model.folder, model.facts).path.exists()


def test_a_slow_model_is_not_tried_on_more_rows_than_are_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []
    clock = iter(range(1_000))
    predict = tiny_flavor.TinyPredictor.predict

    def count(predictor: Any, features: pa.Table, kinds: Any) -> Any:
        tried.append(features.num_rows)
        return predict(predictor, features, kinds)

    monkeypatch.setattr(tiny_flavor.TinyPredictor, "predict", count)
    monkeypatch.setattr("nightscore.engine.worker.row_cost.time.perf_counter", lambda: next(clock))
    model, footers = model_at_work(tmp_path, LIBRARY), footers_of(tmp_path)
    assert find_row_s(model, footers, InProcessPool()) == 1 / 64
    assert max(tried) == 64


def test_a_compiled_predictor_was_timed_when_it_was_checked(tmp_path: Path) -> None:
    model, footers = model_at_work(tmp_path, COMPILED), footers_of(tmp_path)
    assert find_row_s(model, footers, None) is None

    record = PredictorRecord(engine="compiled", checked_rows=1_024, compiled_s=1.0002)
    CachedForm.for_model(model.folder, model.facts).note(record)
    row_s = find_row_s(model, footers, None)
    assert row_s == pytest.approx(1.0 / 1_024), "a call takes a while for each of two columns"
