"""One loaded model version, whatever its flavor."""

import contextlib
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from nightscore.errors import ModelLoadError, ScoringError
from nightscore.models.mlmodel import LIGHTGBM_BOOSTER, MlModel, own_flavor, read_mlmodel
from nightscore.models.protocol import Answer, CompiledPredictor, Predictor
from nightscore.process import peak_resident_bytes, unlimited_address_space
from nightscore.schemas.manifest import PredictorRecord
from nightscore.schemas.model import ModelFacts

if TYPE_CHECKING:
    from nightscore.models.compiled.flat import CompiledForm
    from nightscore.models.compiled.kept import KeptForm


class LoadedModel:
    """One copy of a model for all threads of a process: its compiled form, and the library's own for who needs it.

    Raises:
        ModelLoadError: See `load`.
    """

    def __init__(
        self, folder: Path, facts: ModelFacts, library_because: str = "", is_fresh: bool = False
    ) -> None:
        """Load what will predict. Executes the model's code where that is its library: call it in a worker only.

        Args:
            folder: Of verified artifacts, in the cache of models.
            facts: What the model is.
            library_because: Why no compiled form is wanted; empty: it is.
            is_fresh: Make the compiled form from the model, whatever the cache has; it is not kept.
        """
        self._folder, self._facts = folder, facts
        self._lock = threading.Lock()
        self._make_own: Callable[[], Predictor] | None = None
        self.form: CompiledForm | None = None
        self.checked: PredictorRecord | None = None
        """How the compiled form has compared with the library's own; None: nobody has looked yet."""
        self.why = library_because or facts.library_because
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
        from nightscore.models.compiled.kept import KeptForm

        KeptForm.of(self._folder, self._facts).note(record)

    def _open_form(self, *, is_fresh: bool) -> None:
        from nightscore.models.compiled.kept import KeptForm

        kept = KeptForm.of(self._folder, self._facts)
        self.why = kept.differs
        if self.why:
            return
        if not is_fresh:
            self.form, self.checked = kept.read(), kept.checked
        if self.form is None:
            model = _load(self._folder, self._facts)
            self.form, self.why = _make_form(model, self._facts, None if is_fresh else kept)


class LibraryOnDemand:
    """The library's own predictor, loaded when it is first needed: most workers never need it."""

    def __init__(self, model: LoadedModel) -> None:
        self._model = model
        self._own: Predictor | None = None

    def predict(self, features: pa.Table, kinds: Collection[str]) -> Answer:
        """See `Predictor`."""
        if self._own is None:
            self._own = self._model.own()
        return self._own.predict(features, kinds)


@dataclass(frozen=True, slots=True)
class _Library:
    """How one flavor's models are read without MLflow."""

    load: Callable[[MlModel], Any]
    inspect: Callable[[MlModel, Any], ModelFacts]
    predictor: Callable[[Any, ModelFacts], Predictor]


def _library_of(flavor: str) -> _Library:
    if flavor == "lightgbm":
        from nightscore.models.flavors.lightgbm import (
            LightgbmPredictor,
            inspect_lightgbm,
            load_lightgbm,
        )

        return _Library(load_lightgbm, inspect_lightgbm, LightgbmPredictor)
    if flavor == "xgboost":
        from nightscore.models.flavors.xgboost import (
            XgboostPredictor,
            inspect_xgboost,
            load_xgboost,
        )

        return _Library(load_xgboost, inspect_xgboost, XgboostPredictor)
    if flavor == "onnx":
        from nightscore.models.flavors.onnx import OnnxPredictor, inspect_onnx, load_onnx

        return _Library(load_onnx, inspect_onnx, OnnxPredictor)
    if flavor == "sklearn":
        from nightscore.models.flavors.sklearn import (
            SklearnPredictor,
            inspect_estimator,
            load_estimator,
        )

        return _Library(load_estimator, inspect_estimator, SklearnPredictor)
    from nightscore.models.flavors.python_function import (
        PyfuncPredictor,
        inspect_pyfunc,
        load_pyfunc,
    )

    return _Library(load_pyfunc, inspect_pyfunc, PyfuncPredictor)


def _make_form(
    model: Any, facts: ModelFacts, kept: "KeptForm | None"
) -> "tuple[CompiledForm | None, str]":
    """Compile what a library has loaded and keep the form, if it is to be kept; None, and why: there is none."""
    from nightscore.models.compiled.predictor import compiled_form
    from nightscore.models.compiled.unsupported import UnsupportedError

    try:
        form = compiled_form(model, facts)
    except UnsupportedError as error:
        return None, str(error)
    if kept is None:
        return form, ""
    with contextlib.suppress(OSError):  # then the next process makes it again
        kept.write(form)
    return kept.read() or form, ""


def _load_own(folder: Path, facts: ModelFacts) -> Callable[[], Predictor]:
    model = _load(folder, facts)
    return lambda: _library_of(facts.flavor).predictor(model, facts)


def _load(folder: Path, facts: ModelFacts) -> Any:
    # Who learnt the facts has made sure that somebody vouches for such a file.
    mlmodel = replace(read_mlmodel(folder), is_vouched=bool(facts.unlisted_types))
    return _library_of(facts.flavor).load(mlmodel)


def unlisted_types(folder: Path) -> list[str]:
    """Types and functions in a skops file that load only where somebody vouches for it, each with the estimator
    that holds it. Call it in a worker."""
    mlmodel = read_mlmodel(folder)
    name = own_flavor(mlmodel)
    flavor = mlmodel.flavors.get(name, {})
    if name not in ("sklearn", "lightgbm") or flavor.get("serialization_format") != "skops":
        return []
    if name == "lightgbm" and flavor.get("model_class", LIGHTGBM_BOOSTER) == LIGHTGBM_BOOSTER:
        return []
    from nightscore.models.structure.skops_types import refused_skops_types, refused_with_holders

    path = mlmodel.file(str(flavor.get("pickled_model" if name == "sklearn" else "data")))
    return refused_with_holders(path, refused_skops_types(path)[0])


def describe(library: _Library, mlmodel: MlModel, model: Any) -> ModelFacts:
    """What a loaded model says about itself.

    Raises:
        ModelLoadError: It says too little, or its parts contradict each other.
    """
    try:
        return library.inspect(mlmodel, model)
    except (ScoringError, MemoryError):
        raise
    except Exception as error:
        raise ModelLoadError(
            "The model's parts contradict each other.",
            str(mlmodel.folder),
            found=f"{type(error).__name__}: {str(error)[:500]}",
            next_step="log it again with the versions of the libraries that are installed here",
        ) from error


def inspect_model(folder: Path, *, is_vouched: bool = False) -> ModelFacts:
    """What one load of the model shows; its compiled form is kept. Executes the model's code: in a worker only.

    Args:
        folder: Of verified artifacts, in the cache of models.
        is_vouched: Somebody has pinned the version, or allowed pickles.

    Raises:
        ModelLoadError: It cannot be loaded, or says too little about itself.
    """
    from nightscore.models.compiled.kept import KeptForm

    mlmodel = replace(read_mlmodel(folder), is_vouched=is_vouched)
    unlisted = tuple(unlisted_types(folder)) if is_vouched else ()
    library = _library_of(own_flavor(mlmodel))
    before = peak_resident_bytes()
    model = library.load(mlmodel)
    model_bytes = max(peak_resident_bytes() - before, 0)
    facts = describe(library, mlmodel, model).model_copy(
        update={"model_bytes": model_bytes, "unlisted_types": unlisted}
    )
    if not facts.library_because:
        _, why = _make_form(model, facts, KeptForm.of(folder, facts))
        facts = facts.model_copy(update={"library_because": why})
    return facts
