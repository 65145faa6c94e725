"""`warm` leaves what a first run would have made, and publishes nothing."""

from dataclasses import replace
from pathlib import Path

import pytest

from nightscore.engine.model_facts import learn_facts
from nightscore.models.cache import ModelCache
from nightscore.models.compiled.checked import CHECK_ROWS
from nightscore.models.compiled.form_cache import CachedForm
from nightscore.models.pinned import PinnedModel
from nightscore.native.machine_code import CODE_FOLDER
from nightscore.operations.warm import warm_job, warm_kernels, warm_version
from tests.support.lake import Lake
from tests.support.models import make_frame
from tests.support.shared import with_machine_code

DAYS = ("2024-02-28", "2024-02-29")


@pytest.fixture
def cold_lake(lake: Lake, tmp_path: Path, machine_code: Path) -> Lake:
    """A lake with two partitions, whose host has seen no model yet."""
    for i, day in enumerate(DAYS):
        lake.write(day, make_frame(1_500, seed=i), row_group_size=700)
    return replace(lake, cache=ModelCache(with_machine_code(tmp_path / "cache", machine_code)))


def test_what_a_first_run_would_make_is_there(cold_lake: Lake) -> None:
    job = cold_lake.job()
    warmed = warm_job(job, cold_lake.pool, cold_lake.cache)

    assert (warmed.predictor.engine, warmed.unread) == ("compiled", "")
    assert (warmed.partition, warmed.predictor.checked_rows) == (DAYS[-1], CHECK_ROWS)
    assert warmed.predictor.difference == 0
    assert not Path(f"{cold_lake.root}/predictions").exists()
    assert not Path(f"{cold_lake.root}/predictions.nightscore").exists()

    model = PinnedModel.resolve(job, cold_lake.cache)
    facts = learn_facts(model, cold_lake.cache, cold_lake.pool)
    form = CachedForm.for_model(model.cached.path, facts)
    assert form.n_bytes > 0
    assert form.checked is not None, "the first run would compare again"
    assert form.checked.checked_earlier


def test_without_rows_the_comparison_is_left_to_the_first_run(
    cold_lake: Lake, tmp_path: Path
) -> None:
    empty = replace(cold_lake, root=str(tmp_path / "elsewhere"))
    warmed = warm_job(empty.job(), empty.pool, empty.cache)
    assert (warmed.predictor.engine, warmed.predictor.checked_rows) == ("compiled", 0)
    assert warmed.unread
    assert not warmed.partition

    version = warm_version("models:/hgb_binary/1", empty.registry, empty.pool, empty.cache)
    assert (version.predictor.engine, version.predictor.checked_rows) == ("compiled", 0)


def test_kernels_are_compiled_before_there_is_a_model(cold_lake: Lake) -> None:
    kinds = warm_kernels(cold_lake.pool, cold_lake.cache)
    assert {"HistGradientBoostingClassifier", "LogisticRegression"} <= set(kinds)
    assert list(cold_lake.cache.root.glob(f"{CODE_FOLDER}/*/*.o"))


def test_a_model_without_a_compiled_form_says_why(cold_lake: Lake) -> None:
    warmed = warm_job(cold_lake.job("svc"), cold_lake.pool, cold_lake.cache)
    assert warmed.predictor.engine == "library"
    assert warmed.predictor.why
    assert not warmed.partition

    job = cold_lake.job(engine="library")
    assert "engine: library" in warm_job(job, cold_lake.pool, cold_lake.cache).predictor.why
