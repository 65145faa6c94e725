"""What a run does with a compiled predictor, and what its manifest says about it."""

import subprocess
import sys
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import RandomForestRegressor

from nightscore.engine.backends.local import WorkerPool
from nightscore.models.cache import ModelCache
from nightscore.models.compiled.checked import difference
from nightscore.native.private_files import is_private
from nightscore.runs.run import run
from tests.support.lake import Lake
from tests.support.models import NUMBERS, KnownModel, make_frame, register
from tests.support.shared import with_machine_code

DAY = "2024-02-29"


def test_the_manifest_says_what_predicted_and_how_it_compares(lake: Lake) -> None:
    lake.write(DAY, make_frame(3_000))
    manifest = lake.run(lake.job("hgb_multi", engine="auto"))
    assert manifest.error is None
    assert manifest.predictor is not None
    assert (manifest.predictor.engine, manifest.predictor.why) == ("compiled", "")
    assert manifest.predictor.checked_rows == 1_024
    assert manifest.predictor.difference == 0.0
    assert manifest.predictor.speed_up is not None
    assert manifest.predictor.rows_by_library == 0
    assert manifest.libraries["numba"]
    assert not [warning for warning in manifest.warnings if "compiled" in warning]


def test_the_librarys_own_on_demand_is_no_other_work(lake: Lake) -> None:
    lake.write(DAY, make_frame(1_000))
    job = lake.job("hgb_multi", engine="library")
    manifest = lake.run(job)
    assert manifest.predictor is not None
    assert (manifest.predictor.engine, manifest.predictor.checked_rows) == ("library", 0)
    assert "engine: library" in manifest.predictor.why
    assert lake.run(lake.job("hgb_multi")).status == "unchanged"


def test_a_form_is_checked_once_a_host_and_needs_no_library_then(
    lake: Lake, tmp_path: Path
) -> None:
    lake.write(DAY, make_frame(3_000))
    cache = ModelCache(tmp_path / "cache")
    records, loaded = [], []
    for _ in range(2):
        with WorkerPool() as pool:
            manifest = run(
                lake.job("hgb_multi"),
                DAY,
                pool=pool,
                cache=cache,
                now=datetime.now(UTC),
                force=True,
            )
            loaded.append(pool.call(eval, "{*__import__('sys').modules}"))
        assert manifest.error is None
        assert manifest.predictor
        records.append(manifest.predictor)
    assert records[0].checked_rows == 1_024
    assert not records[0].checked_earlier
    assert records[1] == records[0].model_copy(update={"checked_earlier": True})
    assert "sklearn" in loaded[0]
    assert not {"sklearn", "pandas", "mlflow"} & loaded[1]


def test_a_form_that_is_not_what_was_written_is_made_again(
    lake: Lake, tmp_path: Path, machine_code: Path
) -> None:
    lake.write(DAY, make_frame(3_000))
    cache = ModelCache(with_machine_code(tmp_path / "cache", machine_code))
    job = lake.job("hgb_multi")
    with WorkerPool() as pool:
        first = run(job, DAY, pool=pool, cache=cache, now=datetime.now(UTC))
    (form,) = (tmp_path / "cache" / "forms").glob("*.flat")
    good = form.read_bytes()
    form.write_bytes(good[:5_000] + bytes([good[5_000] ^ 1]) + good[5_001:])
    with WorkerPool() as pool:
        second = run(job, DAY, pool=pool, cache=cache, now=datetime.now(UTC), force=True)
    assert form.read_bytes() == good
    assert first.predictor
    assert second.predictor
    assert (first.predictor.engine, second.predictor.engine) == ("compiled", "compiled")


def test_without_a_compiled_form_the_manifest_says_why(lake: Lake) -> None:
    lake.write(DAY, make_frame(1_000))
    manifest = lake.run(lake.job("kmeans", engine="auto"))
    assert manifest.predictor is not None
    assert manifest.predictor.engine == "library"
    assert manifest.predictor.why == "there is no compiled form of KMeans"


def test_rows_that_the_model_refuses_are_quarantined_as_ever(lake: Lake) -> None:
    frame = make_frame(2_000)
    frame.loc[[7, 1_500], "b"] = np.inf
    lake.write(DAY, frame)
    published = {}
    for engine in ("auto", "library"):
        job = lake.job("extra_multi_output", engine=engine, limits={"max_quarantined_rows": 5})
        manifest = lake.run(job, force=True)
        assert manifest.error is None
        published[engine] = (
            manifest.quarantine.by_column,
            [e.message for e in manifest.quarantine.examples],
        )
    assert published["auto"] == published["library"]
    assert published["auto"][0] == {"b: infinite": 2}


@pytest.fixture
def liar(lake: Lake, tmp_path: Path) -> Any:
    """A forest that adds a little where `a` is great, which its trees do not know of."""
    import mlflow

    class Liar(RandomForestRegressor):
        def predict(self, x: Any) -> Any:
            return super().predict(x) + 1e-9 * (np.asarray(x)[:, 0] > 1e6)

    Liar.__module__, Liar.__name__, Liar.__qualname__ = (
        "sklearn.lies",
        "RandomForestRegressor",
        "Liar",
    )
    frame = make_frame(500)
    model = Liar(5, random_state=0).fit(frame[NUMBERS], frame["a"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlflow.sklearn.save_model(
            model,
            tmp_path / "liar",
            signature=mlflow.models.infer_signature(frame[NUMBERS], np.array([0.5])),
            serialization_format="cloudpickle",
            pip_requirements=["scikit-learn"],
        )
    register(
        mlflow.MlflowClient(tracking_uri=lake.registry, registry_uri=lake.registry),
        "liar",
        tmp_path / "liar",
    )
    return model


@pytest.mark.parametrize("format", ["delta", pytest.param("parquet", marks=pytest.mark.thorough)])
def test_on_a_difference_in_one_shard_all_are_scored_by_the_library(
    lake: Lake, liar: Any, format: str, tmp_path: Path, machine_code: Path
) -> None:
    cache = with_machine_code(tmp_path / "cache", machine_code)
    lake.formats, lake.cache = format, ModelCache(cache)
    frame = make_frame(140_000)
    frame.loc[70_000:, "a"] = 2e6
    lake.write(DAY, frame.iloc[:70_000], "a")
    lake.write(DAY, frame.iloc[70_000:], "b")
    job = lake.job("models:/liar/1", workers={"count": 2}, engine="auto")

    manifest = lake.run(job)

    assert manifest.error is None
    assert manifest.measures.n_shards > 1
    assert manifest.predictor is not None
    assert (manifest.predictor.engine, manifest.predictor.has_differed) == ("library", True)
    assert manifest.predictor.difference > 0
    assert any("the library's own has scored all rows" in warning for warning in manifest.warnings)
    published = lake.read(job).sort_values("id", ignore_index=True)
    assert len(published) == manifest.counts.rows_scored == len(frame)
    assert np.array_equal(published["prediction"], liar.predict(frame[NUMBERS]))
    again = lake.run(job, force=True).predictor
    assert again
    assert (again.engine, again.has_differed) == ("library", False)  # nobody tries it a second time
    assert "differ" in again.why


LOAD = """
import sys
from pathlib import Path
from nightscore.models.loading import LoadedModel, inspect_model

cache = Path(sys.argv[1])
folder = next(path for path in cache.iterdir() if (path / "MLmodel").exists())
model = LoadedModel(folder, inspect_model(folder))
model.compiled_predictor(model.library_predictor())
from nightscore.native import kernels

print(sum(sum(kernel.stats.cache_misses.values()) for kernel in vars(kernels).values() if hasattr(kernel, "stats")))
"""


@pytest.mark.slow
def test_compile_time_is_paid_once_a_host(
    models: dict[str, KnownModel], registry_root: Path, tmp_path: Path
) -> None:
    import shutil

    shutil.copytree(registry_root / "models" / "hgb_binary", tmp_path / "cache" / "model")
    n_compiled = [
        int(
            subprocess.run(
                [sys.executable, "-c", LOAD, str(tmp_path / "cache")],
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        )
        for _ in range(2)
    ]
    assert n_compiled[0] > 0
    assert n_compiled[1] == 0
    assert (tmp_path / "cache" / "machine-code").stat().st_mode & 0o077 == 0


def test_a_folder_that_others_can_write_to_is_not_used(tmp_path: Path) -> None:
    tmp_path.chmod(0o770)
    assert not is_private(tmp_path)
    tmp_path.chmod(0o700)
    assert is_private(tmp_path)


def test_differences() -> None:
    nan, one = float("nan"), np.array([1.0, np.nan])
    assert difference(one, np.array([1.0, nan])) == 0.0
    assert difference(one, np.array([1.0 + 2**-52, nan])) == pytest.approx(2**-52)
    assert difference(one, np.array([1.0, 2.0])) == float("inf")
    assert difference(one, np.array([1.0])) == float("inf")
    assert difference(np.array(["a"]), np.array(["b"])) == float("inf")
    assert difference(np.array([True]), np.array([True])) == 0.0
    assert difference(np.array([1]), np.array([1.0])) == float("inf")
