"""Trees over rank codes, and the answers that follow from their sums."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from nightscore.models.compiled.booster_values import BoosterEncoder, FeatureRules
from nightscore.models.compiled.encode import Branch, Encoder
from nightscore.models.compiled.forest import FlatForest
from nightscore.models.compiled.from_sklearn import tree_model
from nightscore.models.compiled.layout import lay_out
from nightscore.models.compiled.links import Link, answer
from nightscore.models.compiled.sums import ForestSum
from nightscore.models.compiled.transformers import tree_branches
from nightscore.models.compiled.unsupported import UnsupportedError
from nightscore.models.protocol import Answer
from nightscore.native.constants import INFINITE_SEEN, NAN_SEEN
from nightscore.native.machine_code import Kernels
from nightscore.schemas.model import ModelFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class TreesForm:
    """Trees as data, with what is in front of them and what follows from their sums."""

    forest: FlatForest
    link: Link
    refuses_nan: bool
    refuses_infinite: bool
    branches: tuple[Branch, ...] | None
    """None: columns are features."""
    rules: FeatureRules | None = None
    """What LightGBM or XGBoost makes of columns, in place of branches."""

    @property
    def tolerance(self) -> float:
        """Greatest relative difference from the library."""
        return 0.0


class CompiledTrees:
    """See `CompiledModel`."""

    tolerance = 0.0

    def __init__(self, form: TreesForm, facts: ModelFacts, kernels: Kernels) -> None:
        """Open a form with buffers of its own, and call all that it needs once.

        It is then compiled, before the address space is limited.
        """
        self._form, self._kernels = form, kernels
        self._encoder: Encoder | BoosterEncoder

        if form.rules is None:
            self._encoder = Encoder(facts, form.branches, kernels)
        else:
            self._encoder = BoosterEncoder(form.rules, facts.categories, kernels)

        self._sum = ForestSum(form.forest, kernels)

        kernels.expit(np.zeros(1), np.zeros(1))
        sums = np.zeros((len(form.forest.base), 1), form.forest.sums)
        answer(form.link, sums, ("probability",), kernels)

    def attempt(self, features: pa.Table, kinds: Collection[str]) -> Answer | None:
        """See `CompiledModel`."""
        sums, seen = self._sum.add_up(self._encoder.encode(features), features.num_rows)

        form = self._form
        has_refused_nan = form.refuses_nan and seen & NAN_SEEN
        has_refused_infinite = form.refuses_infinite and seen & INFINITE_SEEN
        if has_refused_nan or has_refused_infinite:
            return None
        return answer(form.link, sums, kinds, self._kernels)


def trees_form(steps: Sequence[Any], final: Any, facts: ModelFacts) -> TreesForm:
    """The data of a tree ensemble with its preprocessing.

    Args:
        steps: Fitted transformers in front of the model.
        final: The fitted model.
        facts: What the model is.

    Raises:
        UnsupportedError: The model, or a step, is left to the library.
    """
    model = tree_model(final)
    branches = tree_branches(facts, steps, final, model.forest.n_features)

    forest = lay_out(model.forest)
    if forest is None:
        raise UnsupportedError("its trees have too many leaves or thresholds")

    return TreesForm(
        forest=forest,
        link=model.link,
        refuses_nan=model.refuses_nan,
        refuses_infinite=model.refuses_infinite,
        branches=branches,
    )
