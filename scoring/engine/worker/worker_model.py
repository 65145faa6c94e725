"""The models that stay loaded in a worker process."""

import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from nightscore.engine.shard import ShardTask
from nightscore.models.compiled.checked import CheckedPredictor, Decoded
from nightscore.models.compiled.form_cache import CachedForm
from nightscore.models.loading import LoadedModel
from nightscore.models.protocol import Predictor
from nightscore.native.machine_code import has_machine_code
from nightscore.schemas.model import ModelFacts


@dataclass(frozen=True, slots=True)
class _Opening:
    """Which model is opened, and how; the folder's name is the digest of its content."""

    folder: Path
    facts: ModelFacts
    fallback_reason: str
    is_fresh: bool = False

    @classmethod
    def of_task(cls, task: ShardTask) -> "_Opening":
        return cls(task.model_folder, task.facts, task.fallback_reason, task.is_fresh)

    def open(self) -> LoadedModel:
        return LoadedModel(self.folder, self.facts, self.fallback_reason, self.is_fresh)


class _WorkerModels:
    """The models of this process: that of its shards, and those of the challengers beside it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._models: list[tuple[_Opening, LoadedModel]] = []

    def load(self, opening: _Opening, beside: Collection[_Opening] = ()) -> LoadedModel:
        """A model, which is loaded if it was not. Others go, but for those beside it.

        They go first: more models at once may be more than the memory holds.
        """
        with self._lock:
            wanted = [opening, *beside]
            self._models = [loaded for loaded in self._models if loaded[0] in wanted]

            for loaded, model in self._models:
                if loaded == opening:
                    return model

            model = opening.open()
            self._models.append((opening, model))
            return model


_worker_models = _WorkerModels()


def predictor_of(task: ShardTask, beside: Sequence[ShardTask] = ()) -> CheckedPredictor:
    """The predictor of a task's model, which is loaded if it was not.

    Args:
        task: The task.
        beside: Tasks whose models stay loaded if they are.
    """
    openings = [_Opening.of_task(other) for other in beside]
    return CheckedPredictor(
        _worker_models.load(_Opening.of_task(task), openings),
        task.contract.feature_types(),
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
    model = _worker_models.load(_Opening(folder, facts, fallback_reason))
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
        CheckedPredictor(_worker_models.load(_Opening(folder, facts, "")), {})


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
