"""Shapes of a model's answers."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nightscore.errors import ModelAnswerError
from nightscore.models.protocol import Answer
from nightscore.schemas.model import ModelFacts

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


def column_array(found: Any) -> npt.NDArray[Any]:
    """(n_rows, n_columns); a sparse matrix as a full one, and further dimensions as columns."""
    array = np.asarray(found.toarray() if hasattr(found, "toarray") else found)
    if array.ndim == 2:
        return array
    n_columns = math.prod(array.shape[1:])
    return array.reshape(-1 if array.ndim == 0 else len(array), n_columns)


def labelled_columns(found: Any, names: Sequence[str]) -> npt.NDArray[Any]:
    """What a Python function may answer, as (n_rows, n_columns).

    Columns that have names are taken by name, in the order of the signature. Columns of several types, or with
    missing values that NumPy has no place for, are one array of objects, with None for what is missing.

    Args:
        found: An array, a sparse matrix, a list, a dictionary of columns, or a frame or series of pandas,
            Polars or Arrow.
        names: Of the outputs in the signature; empty where it states none.

    Raises:
        ModelAnswerError: Its columns have other names than the signature states, or its rows another order.
    """
    frame = _as_frame(found, names)
    if frame is None:
        return column_array(found)
    check_order(frame)

    types = set(frame.dtypes)
    is_plain = len(types) == 1 and all(
        isinstance(dtype, np.dtype) and dtype.kind in "biufM" for dtype in types
    )
    if is_plain:
        return np.asarray(frame.to_numpy())
    columns = [_objects(frame.iloc[:, place]) for place in range(frame.shape[1])]
    return np.stack(columns, axis=1) if columns else np.empty((len(frame), 0), object)


def check_order(found: Any) -> None:
    """Refuse a frame or series of pandas whose index has the places of the input's rows in another order.

    Rows are taken as they stand; who sorts them within a model means them to be put back by the index.

    Raises:
        ModelAnswerError: It has.
    """
    if (
        not hasattr(found, "iloc")
        or getattr(found.index.dtype, "kind", "O") not in "iu"
        or not len(found)
    ):
        return
    places = np.asarray(found.index)
    in_order = np.arange(len(places))
    if np.array_equal(places, in_order) or not np.array_equal(np.sort(places), in_order):
        return
    raise ModelAnswerError(
        "The model answers with the rows in another order than it was given them.",
        expected="the index 0, 1, 2, ...",
        found=f"the index {', '.join(map(str, places[:3]))}, ...",
        next_step="let the model answer in the order of its input, such as with answer.sort_index(), and log that",
    )


def _as_frame(found: Any, names: Sequence[str]) -> Any:
    """A pandas frame with the columns in order; None: an array without names."""
    import pandas as pd

    if hasattr(found, "to_arrow"):  # of Polars
        found = found.to_arrow()
    if hasattr(
        found, "to_pandas"
    ):  # of Arrow, whose integers would become floats where one is missing
        found = found.to_pandas(integer_object_nulls=True)
    if isinstance(found, list | tuple):
        is_table = bool(found) and isinstance(found[0], Mapping | list | tuple | np.ndarray)
        found = pd.DataFrame(found) if is_table else pd.Series(found)

    if isinstance(
        found, np.ma.MaskedArray
    ):  # whose masked values NumPy would give as they lie in the buffer
        values = found.data.astype(object)
        values[np.ma.getmaskarray(found)] = None
        found = pd.DataFrame(column_array(values))
    if isinstance(found, np.ndarray) and found.dtype.names:
        found = {name: found[name] for name in found.dtype.names}
    if isinstance(found, Mapping):
        labels = list(found)
        columns: list[Any] = []
        for place in _order([str(label) for label in labels], names):
            values = found[labels[place]]
            is_matrix = getattr(values, "ndim", 1) == 2
            columns += list(column_array(values).T) if is_matrix else [values]
        return pd.DataFrame(dict(enumerate(columns)))
    if isinstance(found, pd.Series):
        return found.to_frame()  # the name of the only column says nothing about its place
    if isinstance(found, pd.DataFrame):
        return found.iloc[:, _order([str(label) for label in found.columns], names)]
    return None


def _order(labels: Sequence[str], names: Sequence[str]) -> list[int]:
    """Places of the answer's columns in the order of the signature."""
    as_answered = list(range(len(labels)))
    is_same_set = sorted(labels) == sorted(names) and len(set(labels)) == len(labels)
    is_numbered = not is_same_set and list(labels) == [str(place) for place in as_answered]
    if not names or is_numbered or len(labels) == len(names) == 1:
        return as_answered
    if not is_same_set:
        raise ModelAnswerError(
            "The model's answer has other columns than its signature states.",
            expected=", ".join(names),
            found=", ".join(labels),
            next_step="log the model with the signature of what it answers: infer_signature(X, predictions)",
        )
    return [labels.index(name) for name in names]


def _objects(column: Any) -> npt.NDArray[Any]:
    values = column.to_numpy(dtype=object, copy=True)
    values[column.isna().to_numpy()] = None
    return np.asarray(values)
