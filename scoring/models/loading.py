"""One loaded model version, whatever its flavor."""

import contextlib
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nightscore.errors import ModelLoadError, ScoringError
from nightscore.models.flavor import Flavor
from nightscore.models.flavors import flavor_named, flavor_of
from nightscore.models.mlmodel import MlModel, read_mlmodel
from nightscore.models.protocol import CompiledPredictor, Predictor
from nightscore.process import peak_resident_bytes, unlimited_address_space
from nightscore.schemas.manifest import PredictorRecord
from nightscore.schemas.model import ModelFacts

if TYPE_CHECKING:
    from nightscore.models.compiled.flat import CompiledForm
    from nightscore.models.compiled.form_cache import CachedForm


class LoadedModel:
    """One copy of a model for all threads of a process: its compiled form, and the library's own for who needs it.

    Raises:
        ModelLoadError: See `load`.
    """

    def __init__(
        self, folder: Path, facts: ModelFacts, fallback_reason: str = "", is_fresh: bool = False
    ) -> None:
        """Load what will predict. Executes the model's code where that is its library: call it in a worker only.

        Args:
            folder: Of verified artifacts, in the cache of models.
            facts: What the model is.
            fallback_reason: Why no compiled form is wanted; empty: it is.
            is_fresh: Make the compiled form from the model, whatever the cache has; it is not kept.
        """
        self._folder, self._facts = folder, facts
        self._lock = threading.Lock()
        self._make_own: Callable[[], Predictor] | None = None
        self.form: CompiledForm | None = None
        self.checked: PredictorRecord | None = None
        """How the compiled form has compared with the library's own; None: nobody has looked yet."""
        self.why = fallback_reason or facts.fallback_reason
        """Why the library's own predicts; empty: the compiled form does."""
        if not self.why:
            self._open_form(is_fresh=is_fresh)
        if self.form is None or self.checked is None:
            self.own()

    def own(self) -> Predictor:
        """The library's own predictor, with buffers of its own."""
        with self._lock:
            if self._make_own is None:
                with unlimited_address_space():
                    self._make_own = _load_own(self._folder, self._facts)
        return self._make_own()

    def compiled(self, own: Predictor) -> CompiledPredictor:
        """The compiled predictor, with buffers of its own.

        Args:
            own: The library's own, for what the compiled one does not take.
        """
        from nightscore.models.compiled.predictor import open_form

        assert self.form is not None  # noqa: S101
        return open_form(self.form, self._facts, own, self._folder.parent)

    def note(self, record: PredictorRecord) -> None:
        """Keep, for the processes to come, how the compiled form has compared."""
        from nightscore.models.compiled.form_cache import CachedForm

        CachedForm.for_model(self._folder, self._facts).note(record)

    def _open_form(self, *, is_fresh: bool) -> None:
        from nightscore.models.compiled.form_cache import CachedForm

        kept = CachedForm.for_model(self._folder, self._facts)
        self.why = kept.differs
        if self.why:
            return
        if not is_fresh:
            self.form, self.checked = kept.read(), kept.checked
        if self.form is None:
            model = _load(self._folder, self._facts)
            self.form, self.why = _make_form(model, self._facts, None if is_fresh else kept)


def compile_model(model: Any, facts: ModelFacts) -> "CompiledForm":
    """The compiled form of a loaded model.

    Raises:
        UnsupportedError: There is none; it says why.
        ModelStructureError: Its trees are none, or point outside: the library must not have them either.
    """
    from nightscore.models.compiled.predictor import compiled_form
    from nightscore.models.compiled.unsupported import UnsupportedError

    make = flavor_named(facts.flavor).compile
    if make is None:
        raise UnsupportedError(f"there is no compiled form of {facts.flavor} models")
    return compiled_form(make, model, facts)


def _make_form(
    model: Any, facts: ModelFacts, kept: "CachedForm | None"
) -> "tuple[CompiledForm | None, str]":
    """Compile what a library has loaded and keep the form, if it is to be kept; None, and why: there is none."""
    from nightscore.models.compiled.unsupported import UnsupportedError

    try:
        form = compile_model(model, facts)
    except UnsupportedError as error:
        return None, str(error)
    if kept is None:
        return form, ""
    with contextlib.suppress(OSError):  # then the next process makes it again
        kept.write(form)
    return kept.read() or form, ""


def _load_own(folder: Path, facts: ModelFacts) -> Callable[[], Predictor]:
    model = _load(folder, facts)
    return lambda: flavor_named(facts.flavor).predictor(model, facts)


def _load(folder: Path, facts: ModelFacts) -> Any:
    # Who learnt the facts has made sure that somebody vouches for such a file.
    mlmodel = replace(read_mlmodel(folder), is_vouched=bool(facts.unlisted_types))
    return flavor_named(facts.flavor).load(mlmodel)


def unlisted_types(folder: Path) -> list[str]:
    """Types and functions in a model's file that load only where somebody vouches for it, each with the estimator
    that holds it. Call it in a worker."""
    mlmodel = read_mlmodel(folder)
    return flavor_of(mlmodel).unlisted_types(mlmodel)


def describe(flavor: Flavor, mlmodel: MlModel, model: Any) -> ModelFacts:
    """What a loaded model says about itself.

    Raises:
        ModelLoadError: It says too little, or its parts contradict each other.
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


def inspect_model(folder: Path, *, is_vouched: bool = False) -> ModelFacts:
    """What one load of the model shows; its compiled form is kept. Executes the model's code: in a worker only.

    Args:
        folder: Of verified artifacts, in the cache of models.
        is_vouched: Somebody has pinned the version, or allowed pickles.

    Raises:
        ModelLoadError: It cannot be loaded, or says too little about itself.
    """
    from nightscore.models.compiled.form_cache import CachedForm

    mlmodel = replace(read_mlmodel(folder), is_vouched=is_vouched)
    unlisted = tuple(unlisted_types(folder)) if is_vouched else ()
    flavor = flavor_of(mlmodel)
    before = peak_resident_bytes()
    model = flavor.load(mlmodel)
    model_bytes = max(peak_resident_bytes() - before, 0)
    facts = describe(flavor, mlmodel, model).model_copy(
        update={"model_bytes": model_bytes, "unlisted_types": unlisted}
    )
    if not facts.fallback_reason:
        _, why = _make_form(model, facts, CachedForm.for_model(folder, facts))
        facts = facts.model_copy(update={"fallback_reason": why})
    return facts
