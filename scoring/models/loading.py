"""Loads a model version for the workers of a process, and describes it, whatever its flavor."""

import contextlib
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nightscore.errors import ModelLoadError, ScoringError
from nightscore.models.flavor import Flavor
from nightscore.models.flavor_catalog import flavor_named, flavor_of
from nightscore.models.mlmodel import MlModel, read_mlmodel
from nightscore.models.protocol import CompiledPredictor, Predictor
from nightscore.models.repeated_rows import RepeatFindings
from nightscore.process import peak_resident_bytes, unlimited_address_space
from nightscore.schemas.manifest import PredictorRecord
from nightscore.schemas.model import ModelFacts

if TYPE_CHECKING:
    from nightscore.models.compiled.flat import CompiledForm
    from nightscore.models.compiled.form_cache import CachedForm


class LoadedModel:
    """One copy of a model for all threads of a process.

    It holds the compiled form, if there is one. It loads the model's library only for those who
    need it.
    """

    def __init__(
        self, folder: Path, facts: ModelFacts, fallback_reason: str = "", is_fresh: bool = False
    ) -> None:
        """Load what will predict. This can run the model's code: call it in a worker only.

        Args:
            folder: The verified artifacts, in the cache of models.
            facts: What the model is.
            fallback_reason: Why the library must predict. Empty: the compiled form may.
            is_fresh: Compile the model again, whatever the cache has, and do not cache the result.

        Raises:
            ModelLoadError, ModelStructureError: The model cannot be loaded.
        """
        self._folder, self._facts = folder, facts
        self._lock = threading.Lock()
        self._make_library: Callable[[], Predictor] | None = None

        self.form: CompiledForm | None = None
        self.checked: PredictorRecord | None = None
        """How the compiled form compared with the library. None: nobody has compared them yet."""
        self.fallback_reason = fallback_reason or facts.fallback_reason
        """Why the library predicts. Empty: the compiled form does."""
        self.repeats: RepeatFindings | None = None
        """Of equal rows; None: code of the model's own may look at more than one row."""

        if not flavor_named(facts.flavor).runs_own_code:
            self.repeats = RepeatFindings()
        if not self.fallback_reason:
            self._open_form(is_fresh=is_fresh)
        if self.form is None or self.checked is None:
            self.library_predictor()

    def library_predictor(self) -> Predictor:
        """The library's predictor, with buffers of its own."""
        with self._lock:
            if self._make_library is None:
                with unlimited_address_space():
                    self._make_library = _load_library(self._folder, self._facts)
        return self._make_library()

    def compiled_predictor(self, library: Predictor) -> CompiledPredictor:
        """The compiled predictor, with buffers of its own.

        Args:
            library: The library's predictor, for batches that the compiled one leaves to it.
        """
        from nightscore.models.compiled.predictor import open_form

        assert self.form is not None  # noqa: S101
        return open_form(self.form, self._facts, library, self._folder.parent)

    def note(self, record: PredictorRecord) -> None:
        """Tell later processes how the compiled form compared with the library."""
        from nightscore.models.compiled.form_cache import CachedForm

        CachedForm.for_model(self._folder, self._facts).note(record)

    def _open_form(self, *, is_fresh: bool) -> None:
        from nightscore.models.compiled.form_cache import CachedForm

        cached = CachedForm.for_model(self._folder, self._facts)
        self.fallback_reason = cached.differs

        if self.fallback_reason:
            return

        if not is_fresh:
            self.form, self.checked = cached.read(), cached.checked

        if self.form is None:
            model = _load(self._folder, self._facts)
            self.form, self.fallback_reason = _make_form(
                model, self._facts, None if is_fresh else cached
            )


def inspect_model(folder: Path, *, is_vouched: bool = False) -> ModelFacts:
    """Load a model once and describe it; cache its compiled form.

    This can run the model's code: call it in a worker only.

    Args:
        folder: The verified artifacts, in the cache of models.
        is_vouched: Somebody has pinned the version, or allowed pickles.

    Raises:
        ModelLoadError: The model cannot be loaded, or says too little about itself.
    """
    from nightscore.models.compiled.form_cache import CachedForm

    mlmodel = replace(read_mlmodel(folder), is_vouched=is_vouched)
    flavor = flavor_of(mlmodel)
    unlisted = tuple(flavor.unlisted_types(mlmodel)) if is_vouched else ()

    before_bytes = peak_resident_bytes()
    model = flavor.load(mlmodel)
    model_bytes = max(peak_resident_bytes() - before_bytes, 0)

    facts = describe(flavor, mlmodel, model)
    facts = facts.model_copy(update={"model_bytes": model_bytes, "unlisted_types": unlisted})
    if facts.fallback_reason:
        return facts

    _, reason = _make_form(model, facts, CachedForm.for_model(folder, facts))
    return facts.model_copy(update={"fallback_reason": reason})


def describe(flavor: Flavor, mlmodel: MlModel, model: Any) -> ModelFacts:
    """What a loaded model says about itself, and what its flavor declares.

    Raises:
        ModelLoadError: The model says too little, or its parts contradict each other.
    """
    try:
        facts = flavor.inspect(mlmodel, model)
    except (ScoringError, MemoryError):
        raise
    except Exception as error:
        raise ModelLoadError(
            "The model's parts contradict each other.",
            str(mlmodel.folder),
            found=f"{type(error).__name__}: {str(error)[:500]}",
            next_step="log it again with the versions of the libraries that are installed here",
        ) from error

    return facts.model_copy(
        update={
            "pads_batches": flavor.pads_batches,
            "releases_gil": flavor.releases_gil(facts),
            "takes_frames": flavor.takes_frames,
            "enforces_signature": flavor.enforces_signature,
        }
    )


def unlisted_types(folder: Path) -> list[str]:
    """Types in a model's file that load only if somebody vouches for it, each with its holder.

    Call it in a worker.
    """
    mlmodel = read_mlmodel(folder)
    return flavor_of(mlmodel).unlisted_types(mlmodel)


def compile_model(model: Any, facts: ModelFacts) -> "CompiledForm":
    """The compiled form of a loaded model.

    Raises:
        UnsupportedError: There is none; the error says why.
        ModelStructureError: The model's trees are broken. The library must not follow them either.
    """
    from nightscore.models.compiled.predictor import compiled_form
    from nightscore.models.compiled.unsupported import UnsupportedError

    make = flavor_named(facts.flavor).compile
    if make is None:
        raise UnsupportedError(f"there is no compiled form of {facts.flavor} models")

    return compiled_form(make, model, facts)


def _make_form(
    model: Any, facts: ModelFacts, cached: "CachedForm | None"
) -> "tuple[CompiledForm | None, str]":
    """The compiled form, and an empty text; or None, and why there is no form."""
    from nightscore.models.compiled.unsupported import UnsupportedError

    try:
        form = compile_model(model, facts)
    except UnsupportedError as error:
        return None, str(error)

    if cached is None:
        return form, ""

    with contextlib.suppress(OSError):  # the next process will compile it again
        cached.write(form)

    return cached.read() or form, ""


def _load_library(folder: Path, facts: ModelFacts) -> Callable[[], Predictor]:
    model = _load(folder, facts)
    make = flavor_named(facts.flavor).predictor
    return lambda: make(model, facts)


def _load(folder: Path, facts: ModelFacts) -> Any:
    # Whoever learned these facts made sure that somebody vouches for such a file.
    mlmodel = replace(read_mlmodel(folder), is_vouched=bool(facts.unlisted_types))
    return flavor_named(facts.flavor).load(mlmodel)
