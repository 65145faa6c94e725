"""A compiled predictor: the library's own answers, faster."""

from collections.abc import Collection
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa

from schemas.contract import ModelFacts
from scoring.models.compiled.encode import Encoder, make_encoder
from scoring.models.compiled.fallback import WithLibrary
from scoring.models.compiled.from_sklearn import TreeModel, UnsupportedError, tree_model
from scoring.models.compiled.layout import INFINITE_SEEN, NAN_SEEN
from scoring.models.compiled.linear import CLASSIFIERS, REGRESSORS, compile_linear
from scoring.models.compiled.links import answer
from scoring.models.compiled.machine_code import CODE_FOLDER, load_kernels
from scoring.models.compiled.sums import ForestSum
from scoring.models.predictor import Answer, CompiledPredictor, Predictor
from scoring.models.sklearn import split_pipeline


class CompiledTrees:
    """Trees over rank codes, and what the library makes of their sums."""

    tolerance = 0.0

    def __init__(self, model: TreeModel, encoder: Encoder, total: ForestSum, kernels: ModuleType) -> None:
        self._model, self._encoder, self._total, self._kernels = model, encoder, total, kernels

    def attempt(self, features: pa.Table, kinds: Collection[str]) -> Answer | None:
        """See `CompiledModel`."""
        sums, seen = self._total.add_up(self._encoder.encode(features), features.num_rows)
        model = self._model
        if (model.refuses_nan and seen & NAN_SEEN) or (model.refuses_infinite and seen & INFINITE_SEEN):
            return None
        return answer(model.link, sums, kinds, self._kernels)


def compile_predictor(estimator: Any, facts: ModelFacts, own: Predictor, cache: Path) -> CompiledPredictor:
    """The compiled form of a fitted estimator or pipeline.

    Args:
        estimator: As it was loaded.
        facts: What it is.
        own: The library's own predictor.
        cache: Folder of cached models, where the machine code is kept too.

    Raises:
        UnsupportedError: There is none; it says why.
    """
    steps, final = split_pipeline(estimator)
    try:
        if type(final).__name__ in (*CLASSIFIERS, *REGRESSORS) and type(final).__module__.startswith("sklearn."):
            linear = compile_linear(steps, final, facts, load_kernels(cache / CODE_FOLDER), own)
            return WithLibrary(linear, own)
        model = tree_model(final)
        kernels = load_kernels(cache / CODE_FOLDER)
        encoder = make_encoder(facts, steps, final, model.forest.n_features, kernels)
        total = ForestSum.of(model.forest, kernels)
    except (UnsupportedError, MemoryError):
        raise
    except Exception as error:
        # Fitted attributes differ between the library's versions: then it predicts by itself.
        raise UnsupportedError(f"the model cannot be compiled ({type(error).__name__}: {error})") from error
    if total is None:
        raise UnsupportedError("its trees have too many leaves or thresholds")
    return WithLibrary(CompiledTrees(model, encoder, total, kernels), own)
