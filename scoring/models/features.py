"""From Arrow columns to what a model takes: a numeric matrix in a reused buffer, or a pandas frame."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nightscore.arrow.numeric import NUMPY_NAMES, is_numeric, numeric_values
from nightscore.schemas.model import ModelFacts

NULLABLE_FLAGS = b"nightscore.nullable"
"""Key in a table's metadata: names of columns of truth values that have nulls somewhere in the partition."""


def mark_nullable(table: pa.Table, names: Sequence[str]) -> pa.Table:
    """Say of which truth values some are null, be it in other batches: see `to_frame`."""
    return table.replace_schema_metadata({NULLABLE_FLAGS: json.dumps(names)}) if names else table


class UnknownCategoryError(ValueError):
    """A value that the model was not trained with, where the library refuses such."""


def to_frame(table: pa.Table, facts: ModelFacts) -> Any:
    """A pandas frame, with the types that the whole partition would have: not those of what these rows hold.

    Integers with nulls are floating numbers already. Truth values with nulls are objects, and texts are texts where
    they are codes: a dictionary differs from batch to batch, and so would the categories.
    What a model was trained on as categories has those of training; what is none of them is missing.

    Raises:
        UnknownCategoryError: It is none of them, and the model refuses such.
    """
    for i, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            table = table.set_column(i, field.name, table.column(i).cast(field.type.value_type))
    frame = table.to_pandas()
    for name in json.loads((table.schema.metadata or {}).get(NULLABLE_FLAGS, b"[]")):
        frame[name] = frame[name].astype(object)
    for name in facts.category_columns:
        known = facts.categories[name]
        frame[name] = _categorical(frame[name], known, refuses_unknown=facts.refuses_unknown)
    return frame


def _categorical(values: Any, known: Sequence[Any], *, refuses_unknown: bool) -> Any:
    import pandas as pd

    if refuses_unknown:
        is_known = set(known)
        others = [value for value in values.dropna().unique().tolist() if value not in is_known]
        if others:
            raise UnknownCategoryError(
                f"{values.name}: {others[0]!r} is a category that was not in the training data"
            )
    return pd.Categorical(values, categories=list(known))


class FeatureBuilder:
    """Builds X as the model's own users would, so that predictions are theirs to the bit.

    A model that was trained on a frame gets a frame. Where all columns are of one floating type (or the estimator
    would make one matrix of them anyway), it wraps one Fortran-ordered buffer, as a frame read by pandas does: a
    linear model's sums differ in the last bit between the layouts. All else goes through Arrow's own conversion.
    A model trained without names gets the matrix itself, as `to_numpy` of such a frame gives it.
    """

    def __init__(self, facts: ModelFacts) -> None:
        self._facts = facts
        self._buffer: npt.NDArray[np.float64] | npt.NDArray[np.float32] = np.empty(0, np.float64)

    def build(self, table: pa.Table) -> Any:
        """X of shape (n_rows, n_features); null becomes NaN. A matrix is overwritten by the next call.

        Args:
            table: The features in the model's order.
        """
        dtype = matrix_dtype(self._facts, table.schema)
        if dtype is None:
            return to_frame(table, self._facts)
        if not self._facts.is_named:
            return self._matrix(table, dtype)
        import pandas as pd

        return pd.DataFrame(self._matrix(table, dtype), columns=table.column_names, copy=False)

    def _matrix(self, table: pa.Table, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
        n_rows, n_columns = table.num_rows, table.num_columns
        size = n_rows * n_columns
        if self._buffer.size < size or self._buffer.dtype != dtype:
            self._buffer = np.empty(size, dtype)
        flat = self._buffer[:size]
        matrix = flat.reshape(n_columns, n_rows).T
        for j, column in enumerate(table.columns):
            start = 0
            for chunk in column.chunks:
                matrix[start : start + len(chunk), j] = numeric_values(chunk)
                start += len(chunk)
        return matrix


def matrix_dtype(facts: ModelFacts, schema: pa.Schema) -> np.dtype[Any] | None:
    """The type that all columns take on their way to the model; None: each keeps its own."""
    if not facts.is_named:
        return np.dtype(facts.matrix_dtype)
    if facts.category_columns:
        return None
    types = set(schema.types)
    floating = all(pa.types.is_floating(t) for t in types)
    if not ((len(types) == 1 and floating) or (facts.takes_matrix and all(map(is_numeric, types)))):
        return None
    dtype = np.result_type(*(NUMPY_NAMES.get(str(t), str(t)) for t in types))
    return dtype if dtype.kind == "f" and dtype.itemsize > 2 else np.dtype(np.float64)
