"""Trees over rank codes, and what becomes of their sums."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from nightscore.models.compiled.booster_values import BoosterEncoder, FeatureRules
from nightscore.models.compiled.encode import Branch, Encoder, tree_branches
from nightscore.models.compiled.forest import FlatForest
from nightscore.models.compiled.from_sklearn import tree_model
from nightscore.models.compiled.layout import lay_out
from nightscore.models.compiled.links import Link, answer
from nightscore.models.compiled.sums import ForestSum
from nightscore.models.compiled.unsupported import UnsupportedError
from nightscore.models.protocol import Answer
from nightscore.native.constants import INFINITE_SEEN, NAN_SEEN
from nightscore.native.machine_code import Kernels
from nightscore.schemas.model import ModelFacts


@dataclass(frozen=True, slots=True)
class TreesForm:
    """Trees, with what is in front of them and what becomes of their sums, as data."""

    forest: FlatForest
    link: Link
    refuses_nan: bool
    refuses_infinite: bool
    branches: tuple[Branch, ...] | None
    """None: columns are features."""
    rules: FeatureRules | None = None
    """Of LightGBM and XGBoost: what becomes of columns instead."""

    @property
    def tolerance(self) -> float:
        """How far its answers may be from the library's, relative."""
        return 0.0


class CompiledTrees:
    """See `CompiledModel`."""

    tolerance = 0.0

    def __init__(self, form: TreesForm, facts: ModelFacts, kernels: Kernels) -> None:
        self._form, self._kernels = form, kernels
        self._encoder: Encoder | BoosterEncoder
        if form.rules is None:
            self._encoder = Encoder(facts, form.branches, kernels)
        else:
            self._encoder = BoosterEncoder(form.rules, facts.categories, kernels)
        self._total = ForestSum(form.forest, kernels)
        # See `ForestSum._compile`.
        kernels.expit(np.zeros(1), np.zeros(1))
        answer(
            form.link,
            np.zeros((len(form.forest.base), 1), form.forest.sums),
            ("probability",),
            kernels,
        )

    def attempt(self, features: pa.Table, kinds: Collection[str]) -> Answer | None:
        """See `CompiledModel`."""
        sums, seen = self._total.add_up(self._encoder.encode(features), features.num_rows)
        form = self._form
        if (form.refuses_nan and seen & NAN_SEEN) or (
            form.refuses_infinite and seen & INFINITE_SEEN
        ):
            return None
        return answer(form.link, sums, kinds, self._kernels)


def trees_form(steps: Sequence[Any], final: Any, facts: ModelFacts) -> TreesForm:
    """The data of a tree ensemble with its preprocessing.

    Args:
        steps: Fitted transformers in front of the model.
        final: The fitted model.
        facts: What the model is.

    Raises:
        UnsupportedError: It, or a step, is left to the library.
    """
    model = tree_model(final)
    branches = tree_branches(facts, steps, final, model.forest.n_features)
    forest = lay_out(model.forest)
    if forest is None:
        raise UnsupportedError("its trees have too many leaves or thresholds")
    return TreesForm(forest, model.link, model.refuses_nan, model.refuses_infinite, branches)
