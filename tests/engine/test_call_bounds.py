"""What workers do besides shards has an end, in time and in memory."""

import signal
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nightscore.engine import model_facts
from nightscore.engine.backends.local import WorkerPool
from nightscore.engine.model_facts import learn_facts
from nightscore.errors import MemoryLimitError, ModelLoadError, WorkerHungError
from nightscore.models import pinned
from nightscore.models.cache import ModelCache
from nightscore.models.pinned import PinnedModel, model_seconds
from tests.support.lake import Lake

MLMODEL = """
flavors:
  python_function: {loader_module: mlflow.sklearn, model_path: model.skops}
  sklearn: {pickled_model: model.skops, serialization_format: skops, sklearn_version: 1.9.1}
"""


@pytest.fixture
def pool() -> Iterator[WorkerPool]:
    with WorkerPool() as pool:
        yield pool


def test_a_call_that_does_not_end_is_ended_and_not_repeated(
    pool: WorkerPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[object] = []
    call_once = pool._call

    def count(
        function: Callable[..., Any], arguments: tuple[object, ...], timeout_s: float | None
    ) -> Any:
        calls.append(function)
        return call_once(function, arguments, timeout_s)

    monkeypatch.setattr(pool, "_call", count)
    with pytest.raises(WorkerHungError) as caught:
        pool.call(signal.pause, timeout_s=0.3)
    assert "did not come back from pause; it was ended" in str(caught.value)
    assert caught.value.expected == "an end within 0.005 minutes"
    assert calls == [signal.pause]

    assert pool.call(len, b"abc") == 3
    assert pool.call(len, b"abc", timeout_s=600) == 3


def test_a_call_that_raises_timeouts_of_its_own_is_no_hang(pool: WorkerPool) -> None:
    def wait() -> None:
        raise TimeoutError("the store does not answer")

    with pytest.raises(TimeoutError, match="the store does not answer"):
        pool.call(wait, timeout_s=600)


def test_a_model_that_does_not_load_in_time_is_named(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(folder: Path, is_vouched: bool) -> None:
        import signal  # (of the worker)

        signal.pause()

    job, cache = lake.job(limits={"shard_minutes": 0.01}), ModelCache(tmp_path / "cache")
    model = PinnedModel.resolve(job, cache)  # nobody has looked at it yet in this cache
    assert model.load_s == model_seconds(job) == pinned.MODEL_S
    assert model_seconds(lake.job(limits={"shard_minutes": 90})) == 90 * 60
    monkeypatch.setattr(model_facts, "inspect", never)

    with WorkerPool() as pool, pytest.raises(ModelLoadError) as caught:
        learn_facts(replace(model, load_s=0.3), cache, pool)

    assert caught.value.where == str(model.cached.path)
    assert "raise limits.shard_minutes" in str(caught.value)


def list_types_within(n_bytes: int) -> Callable[[Path], list[str]]:
    def list_types(folder: Path) -> list[str]:
        import skops.io  # noqa: F401 (libraries are not counted)

        from nightscore.engine.worker import model_inspection

        model_inspection._model_bytes = lambda: n_bytes
        return model_inspection.list_types(folder)

    return list_types


def test_a_file_that_decodes_to_more_than_there_is(pool: WorkerPool, tmp_path: Path) -> None:
    (tmp_path / "MLmodel").write_text(MLMODEL)
    with zipfile.ZipFile(tmp_path / "model.skops", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("schema.json", b" " * (256 << 20))
    assert (tmp_path / "model.skops").stat().st_size < 1 << 20

    with pytest.raises(MemoryLimitError) as caught:
        pool.call(list_types_within(64 << 20), tmp_path)

    assert "has no memory for list_types" in str(caught.value)
    assert "takes more memory than this machine" in str(
        model_facts.not_loaded(caught.value, tmp_path)
    )
