"""The model that stays loaded in a worker process."""

import threading
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

from nightscore.engine.shard import ShardTask
from nightscore.models.compiled.checked import CheckedPredictor, Decoded
from nightscore.models.compiled.form_cache import CachedForm
from nightscore.models.loading import LoadedModel
from nightscore.models.protocol import Predictor
from nightscore.native.machine_code import has_machine_code
from nightscore.schemas.model import ModelFacts


class _WorkerModel:
    """The one model of this process; the folder's name is the digest of its content."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._key: tuple[Path, ModelFacts, str, bool] | None = None
        self._model: LoadedModel | None = None

    def load(
        self, folder: Path, facts: ModelFacts, fallback_reason: str, *, is_fresh: bool = False
    ) -> LoadedModel:
        key = (folder, facts, fallback_reason, is_fresh)
        with self._lock:
            if self._model is None or self._key != key:
                self._model = None  # two models at once may be more than the memory holds
                self._model, self._key = LoadedModel(*key), key
            return self._model


_worker_model = _WorkerModel()


def predictor_of(task: ShardTask) -> CheckedPredictor:
    """The predictor of a task's model, which is loaded if another one was."""
    model = _worker_model.load(
        task.model_folder, task.facts, task.fallback_reason, is_fresh=task.is_fresh
    )
    types = task.contract.feature_types()
    return CheckedPredictor(
        model,
        types,
        is_unchecked=task.is_unchecked,
        predicts_each_row=task.job.repeated_rows == "each",
    )


def library_predictor(
    folder: Path, facts: ModelFacts, fallback_reason: str, types: Mapping[str, pa.DataType]
) -> Predictor:
    """The predictor of a model's own library, which stays loaded for the shards.

    Args:
        folder: The model's artifacts.
        facts: What the model is.
        fallback_reason: Why the library predicts.
        types: The type of each feature as the library gets it.
    """
    model = _worker_model.load(folder, facts, fallback_reason)
    return Decoded(model.library_predictor(), types)


def load_compiled(folder: Path, facts: ModelFacts) -> None:
    """Load a model's compiled form and its kernels before the first shard comes.

    Only if an earlier run has made and compared them, and they agreed, so that it takes neither the
    library nor a compiler.

    Args:
        folder: The model's artifacts.
        facts: What the model is.
    """
    cached = CachedForm.for_model(folder, facts)
    is_trusted = cached.checked is not None and not cached.differs
    if is_trusted and cached.n_bytes and has_machine_code(folder.parent):
        CheckedPredictor(_worker_model.load(folder, facts, ""), {})


def make_machine_code(task: ShardTask) -> None:
    """Compile the model's code, once a host.

    Else each worker would, at the same time and beside what it is meant to take of memory.
    """
    predictor_of(task)


def compile_model_code(folder: Path, facts: ModelFacts) -> str:
    """Compile a model and its machine code for later processes of this host.

    Args:
        folder: The verified artifacts, in the cache of models.
        facts: What the model is.

    Returns:
        Why its library will predict all the same; empty: its compiled form will.
    """
    model = LoadedModel(folder, facts)
    CheckedPredictor(model, {})
    return model.fallback_reason
