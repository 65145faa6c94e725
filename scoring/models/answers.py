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
"""NumPy's types by MLflow's names; strings are objects."""


def empty_answer(facts: ModelFacts, kinds: Collection[str]) -> Answer:
    """The answer to no rows: arrays of the types and widths that rows would have."""
    types = dict(facts.outputs)  # the columns of a kind have one type
    answer = {}
    for kind in {*kinds, "prediction"}:
        dtype = _DTYPES.get(types.get(kind, "double"), object)
        answer[kind] = np.empty((0, answer_width(facts, kind)), dtype)
    return answer


def answer_width(facts: ModelFacts, kind: str) -> int:
    """Columns of a kind of output."""
    n_classes = len(facts.classes or ())
    if kind == "probability":
        return n_classes
    if kind == "prediction":
        return facts.n_outputs
    return n_classes if n_classes > 2 else facts.n_outputs


def column_array(values: Any) -> npt.NDArray[Any]:
    """An array of shape (n_rows, n_columns).

    A sparse matrix becomes a dense one, and further dimensions become columns.
    """
    array = np.asarray(values.toarray() if hasattr(values, "toarray") else values)
    if array.ndim == 2:
        return array

    n_columns = math.prod(array.shape[1:])
    return array.reshape(-1 if array.ndim == 0 else len(array), n_columns)


def labelled_columns(answer: Any, names: Sequence[str]) -> npt.NDArray[Any]:
    """Whatever a Python function may answer, as an array of shape (n_rows, n_columns).

    Named columns are taken by name, in the order of the signature. Columns of several types, or
    with missing values that NumPy cannot hold, become one array of objects, with None for missing
    values.

    Args:
        answer: An array, a sparse matrix, a list, a dictionary of columns, or a frame or series of
            pandas, Polars or Arrow.
        names: The outputs of the signature; empty if it states none.

    Raises:
        ModelAnswerError: The columns have other names than the signature states, or the rows
            another
            order than the input.
    """
    frame = _as_frame(answer, names)
    if frame is None:
        return column_array(answer)

    check_order(frame)

    if _is_plain(frame):
        return np.asarray(frame.to_numpy())

    columns = [_objects(frame.iloc[:, place]) for place in range(frame.shape[1])]
    return np.stack(columns, axis=1) if columns else np.empty((len(frame), 0), object)


def check_order(answer: Any) -> None:
    """Refuse a pandas frame or series whose index says that its rows are in another order.

    Rows are taken as they come. A model that sorts them expects its users to restore the order by
    the index.

    Raises:
        ModelAnswerError: The index holds the positions of the input's rows in another order.
    """
    if not hasattr(answer, "iloc") or not len(answer):
        return
    if getattr(answer.index.dtype, "kind", "O") not in "iu":
        return

    positions = np.asarray(answer.index)
    in_order = np.arange(len(positions))
    is_permutation = np.array_equal(np.sort(positions), in_order)

    if np.array_equal(positions, in_order) or not is_permutation:
        return

    raise ModelAnswerError(
        "The model answers with the rows in another order than it was given them.",
        expected="the index 0, 1, 2, ...",
        found=f"the index {', '.join(map(str, positions[:3]))}, ...",
        next_step="let the model answer in the order of its input, such as with "
        "answer.sort_index(), and log that",
    )


def _is_plain(frame: Any) -> bool:
    """Whether all columns have one type that NumPy has too."""
    types = set(frame.dtypes)
    if len(types) != 1:
        return False
    (dtype,) = types
    return isinstance(dtype, np.dtype) and dtype.kind in "biufM"


def _as_frame(answer: Any, names: Sequence[str]) -> Any:
    """A pandas frame with its columns in order, or None for an array without names."""
    import pandas as pd

    answer = _as_known_type(answer)
    if isinstance(answer, Mapping):
        return _mapping_frame(answer, names)
    if isinstance(answer, pd.Series):
        return answer.to_frame()  # the name of the only column says nothing about its place
    if isinstance(answer, pd.DataFrame):
        return answer.iloc[:, _order([str(label) for label in answer.columns], names)]

    return None


def _as_known_type(answer: Any) -> Any:
    """The answer as a mapping of columns, a frame or a series of pandas, or an array."""
    import pandas as pd

    if hasattr(answer, "to_arrow"):  # Polars
        answer = answer.to_arrow()

    if hasattr(answer, "to_pandas"):
        # Integers would become floats where one is missing.
        return answer.to_pandas(integer_object_nulls=True)

    if isinstance(answer, list | tuple):
        is_table = bool(answer) and isinstance(answer[0], Mapping | list | tuple | np.ndarray)
        return pd.DataFrame(answer) if is_table else pd.Series(answer)

    if isinstance(answer, np.ma.MaskedArray):
        # NumPy would give masked values as they lie in the buffer.
        values = answer.data.astype(object)
        values[np.ma.getmaskarray(answer)] = None
        return pd.DataFrame(column_array(values))

    if isinstance(answer, np.ndarray) and answer.dtype.names:
        return {name: answer[name] for name in answer.dtype.names}

    return answer


def _mapping_frame(answer: Mapping[Any, Any], names: Sequence[str]) -> Any:
    import pandas as pd

    labels = list(answer)
    columns: list[Any] = []
    for place in _order([str(label) for label in labels], names):
        values = answer[labels[place]]
        is_matrix = getattr(values, "ndim", 1) == 2
        columns += list(column_array(values).T) if is_matrix else [values]
    return pd.DataFrame(dict(enumerate(columns)))


def _order(labels: Sequence[str], names: Sequence[str]) -> list[int]:
    """Positions of the answer's columns, in the order of the signature."""
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
            next_step="log the model with the signature of what it answers: "
            "infer_signature(X, predictions)",
        )

    return [labels.index(name) for name in names]


def _objects(column: Any) -> npt.NDArray[Any]:
    values = column.to_numpy(dtype=object, copy=True)
    values[column.isna().to_numpy()] = None
    return np.asarray(values)
