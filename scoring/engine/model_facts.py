"""What a model is, learned by loading it once in a worker."""

from pathlib import Path

from nightscore.engine.pool import Pool
from nightscore.engine.remote.calls import ModelSource
from nightscore.engine.worker.model_inspection import inspect
from nightscore.engine.worker.worker_model import load_compiled
from nightscore.errors import (
    MemoryLimitError,
    ModelLoadError,
    WorkerHungError,
)
from nightscore.models.cache import ModelCache
from nightscore.models.installed_libraries import library_version
from nightscore.models.pinned import PinnedModel
from nightscore.models.registries.uris import shared_uri
from nightscore.models.trust import naming_model
from nightscore.schemas.model import ModelFacts

FACTS = "facts-8"
"""Name of the note in the cache; the number grows when a model must be looked at again."""


def not_loaded(error: MemoryLimitError | WorkerHungError, folder: Path) -> ModelLoadError:
    """The error for a model that takes more time or memory than there is."""
    if isinstance(error, WorkerHungError):
        return ModelLoadError(
            "The model does not load in time; its worker was ended.",
            str(folder),
            expected=error.expected,
            found="no end",
            next_step="log the model again from the training job; or raise limits.shard_minutes, "
            "if it needs longer",
        )

    return ModelLoadError(
        "The model takes more memory than this machine has to load.",
        str(folder),
        found=error.found,
        next_step="look at its files: few bytes can decode to very many; "
        "or give the machine more memory",
    )


def learn_facts(model: PinnedModel, cache: ModelCache, pool: Pool) -> ModelFacts:
    """What the model is, from the cache or by loading it once in a worker.

    The pool then knows where its workers get the model.

    Raises:
        ModelRefusedError: It holds more than data, and nobody vouches for it.
        ModelLoadError: It cannot be loaded, or says too little about itself.
    """
    digest, folder = model.cached.digest, model.cached.path
    pool.add_model(ModelSource(model.version, shared_uri(model.registry), digest), folder)

    with naming_model(model.version, model.registry):
        facts = _read_facts(cache, digest)
        if facts is None:
            facts = _inspect(model, pool)
            cache.write_note(digest, FACTS, facts.model_dump_json())
        elif facts.unlisted_types and not model.is_vouched:
            from nightscore.models.structure.skops_types import refused_model

            raise refused_model(facts.unlisted_types, str(folder))

    return facts


def load_ahead(model: PinnedModel, cache: ModelCache, pool: Pool) -> None:
    """Have a worker that was started early load the compiled model, while the run is planned.

    Nothing happens if this host has not learned yet what the model is.
    """
    facts = _read_facts(cache, model.cached.digest)
    if facts is not None and not facts.fallback_reason:
        pool.call_ahead(load_compiled, model.cached.path, facts)


def _inspect(model: PinnedModel, pool: Pool) -> ModelFacts:
    folder = model.cached.path
    try:
        return pool.call(inspect, folder, model.is_vouched, timeout_s=model.load_s)
    except (MemoryLimitError, WorkerHungError) as error:
        raise not_loaded(error, folder) from error


def _read_facts(cache: ModelCache, digest: str) -> ModelFacts | None:
    """The facts in the cache; None if there are none that hold for the installed libraries."""
    try:
        facts = ModelFacts.model_validate_json(cache.note(digest, FACTS).read_text())
    except (FileNotFoundError, ValueError):
        return None

    is_current = all(
        library_version(name) == version for name, version in facts.loaded_with.items()
    )
    return facts if is_current else None
