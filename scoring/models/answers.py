"""Shapes of a model's answers."""

from collections.abc import Collection
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.contract import ModelFacts
from scoring.models.predictor import Answer

_DTYPES: dict[str, npt.DTypeLike] = {
    "double": np.float64,
    "float": np.float32,
    "long": np.int64,
    "integer": np.int32,
    "boolean": np.bool_,
}


def empty_answer(facts: ModelFacts, kinds: Collection[str]) -> Answer:
    """The answer to no rows: arrays of the types and widths that rows would have."""
    types = dict(facts.outputs)  # the columns of a kind have one type
    found = {}
    for kind in {*kinds, "prediction"}:
        dtype = _DTYPES.get(types.get(kind, "double"), object)
        found[kind] = np.empty((0, answer_width(facts, kind)), dtype)
    return found


def answer_width(facts: ModelFacts, kind: str) -> int:
    """Columns of a kind of output."""
    n_classes = len(facts.classes or ())
    if kind == "probability":
        return n_classes
    if kind == "prediction":
        return facts.n_outputs
    return n_classes if n_classes > 2 else facts.n_outputs


def column_array(found: npt.ArrayLike) -> npt.NDArray[Any]:
    """(n_rows, n_columns)."""
    array = np.asarray(found)
    return array.reshape(-1, 1) if array.ndim == 1 else array
