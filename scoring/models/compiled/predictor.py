"""A compiled predictor: the library's own answers, faster."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from nightscore.errors import ModelError
from nightscore.models.compiled.fallback import WithLibrary
from nightscore.models.compiled.flat import CompiledForm, frozen
from nightscore.models.compiled.form_structure import form_problems
from nightscore.models.compiled.linear import CompiledLinear, LinearForm
from nightscore.models.compiled.trees import CompiledTrees
from nightscore.models.compiled.unsupported import UnsupportedError
from nightscore.models.protocol import CompiledPredictor, Predictor
from nightscore.native.machine_code import CODE_FOLDER, load_kernels
from nightscore.schemas.model import ModelFacts


def compiled_form(
    make: Callable[[Any, ModelFacts], CompiledForm], estimator: Any, facts: ModelFacts
) -> CompiledForm:
    """The compiled form of a fitted estimator or pipeline, or of a booster.

    Args:
        make: Makes it, as the model's flavor says.
        estimator: As it was loaded.
        facts: What it is.

    Raises:
        UnsupportedError: There is none; it says why.
        ModelStructureError: Its trees are none, or point outside: the library must not have them either.
    """
    try:
        form = frozen(make(estimator, facts))
    except (UnsupportedError, ModelError, MemoryError):
        raise
    except Exception as error:
        # Fitted attributes differ between the library's versions: then it predicts by itself. That is no way around
        # the checks of a model: what fails them is a ModelError, and has not been loaded.
        raise UnsupportedError(
            f"the model cannot be compiled ({type(error).__name__}: {error})"
        ) from error
    problems = form_problems(form, facts.n_columns)
    if problems:
        raise UnsupportedError(f"the model cannot be compiled ({problems[0]})")
    return form


def open_form(
    form: CompiledForm, facts: ModelFacts, own: Predictor, cache: Path
) -> CompiledPredictor:
    """A predictor with buffers of its own, for one thread.

    Args:
        form: Of `compiled_form`, or read from its file.
        facts: What the model is.
        own: The library's own predictor, for what the compiled one does not take.
        cache: Folder of cached models, where the machine code is kept too.
    """
    kernels = load_kernels(cache / CODE_FOLDER)
    if isinstance(form, LinearForm):
        return WithLibrary(CompiledLinear(form, own, kernels), own)
    return WithLibrary(CompiledTrees(form, facts, kernels), own)
