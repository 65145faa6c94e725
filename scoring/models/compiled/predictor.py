"""Compiled predictors: the library's own answers, faster."""

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
    make: Callable[[Any, ModelFacts], CompiledForm], model: Any, facts: ModelFacts
) -> CompiledForm:
    """The compiled form of a loaded model.

    Args:
        make: Makes it, as the model's flavor declares.
        model: What the library has loaded.
        facts: What the model is.

    Raises:
        UnsupportedError: There is none; it says why.
        ModelStructureError: Its trees are damaged. The library must not get them either.
    """
    try:
        form = frozen(make(model, facts))
    except (UnsupportedError, ModelError, MemoryError):
        raise
    except Exception as error:
        # Fitted attributes differ between versions of the library: then the library predicts. This
        # does not bypass the checks of a model, which raise a ModelError.
        raise UnsupportedError(
            f"the model cannot be compiled ({type(error).__name__}: {error})"
        ) from error

    problems = form_problems(form, facts.n_columns)
    if problems:
        raise UnsupportedError(f"the model cannot be compiled ({problems[0]})")

    return form


def open_form(
    form: CompiledForm, facts: ModelFacts, library: Predictor, cache: Path
) -> CompiledPredictor:
    """A predictor with buffers of its own, for one thread.

    Args:
        form: The result of `compiled_form`, or of reading its file.
        facts: What the model is.
        library: The library's own predictor, for what the compiled one does not take.
        cache: Folder of cached models. Machine code is cached there too.
    """
    kernels = load_kernels(cache / CODE_FOLDER)

    if isinstance(form, LinearForm):
        return WithLibrary(CompiledLinear(form, library, kernels), library)

    return WithLibrary(CompiledTrees(form, facts, kernels), library)
