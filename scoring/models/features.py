"""From Arrow columns to what a model takes: a matrix in a reused buffer, or a pandas frame."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nightscore.arrow.numeric import NUMPY_NAMES, is_numeric, numeric_values
from nightscore.schemas.model import ModelFacts

NULLABLE_FLAGS = b"nightscore.nullable"
"""Key of a table's metadata: names of boolean columns with nulls somewhere in the partition."""


def mark_nullable(table: pa.Table, names: Sequence[str]) -> pa.Table:
    """Note which boolean columns have nulls, perhaps in other batches: see `to_frame`."""
    return table.replace_schema_metadata({NULLABLE_FLAGS: json.dumps(names)}) if names else table


class UnknownCategoryError(ValueError):
    """A value that the model was not trained with, of a library that refuses such values."""


def to_frame(table: pa.Table, facts: ModelFacts) -> Any:
    """A pandas frame with the types of the whole partition, not those of these rows alone.

    Integers with nulls are floats already. Booleans with nulls are objects. Dictionaries become
    plain strings: they differ from batch to batch, and so would pandas' categories. A column that
    the model was trained on as categories has those of training; any other value is missing.

    Raises:
        UnknownCategoryError: A value is none of the categories, and the model refuses such values.
    """
    for i, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            table = table.set_column(i, field.name, table.column(i).cast(field.type.value_type))

    frame = table.to_pandas()
    for name in json.loads((table.schema.metadata or {}).get(NULLABLE_FLAGS, b"[]")):
        frame[name] = frame[name].astype(object)

    for name in facts.category_columns:
        categories = facts.categories[name]
        frame[name] = _categorical(frame[name], categories, refuses_unknown=facts.refuses_unknown)

    return frame


def _categorical(values: Any, categories: Sequence[Any], *, refuses_unknown: bool) -> Any:
    import pandas as pd

    if refuses_unknown:
        known = set(categories)
        unknown = [value for value in values.dropna().unique().tolist() if value not in known]
        if unknown:
            raise UnknownCategoryError(
                f"{values.name}: {unknown[0]!r} is a category that was not in the training data"
            )
    return pd.Categorical(values, categories=list(categories))


class FeatureBuilder:
    """Builds X as the model's own users would, so that predictions equal theirs to the bit.

    A model that was trained on a frame gets a frame. It wraps one Fortran-ordered buffer if all
    columns have one floating type, or if the estimator would make one matrix of them anyway. Frames
    that pandas reads have that layout too, and a linear model's sums depend on it in the last bit.
    All other frames go through Arrow's own conversion.

    A model that was trained without names gets the matrix itself, as `to_numpy` of the frame gives
    it.
    """

    def __init__(self, facts: ModelFacts) -> None:
        """Make a builder for one thread."""
        self._facts = facts
        self._buffer: npt.NDArray[np.float64] | npt.NDArray[np.float32] = np.empty(0, np.float64)

    def build(self, table: pa.Table) -> Any:
        """X of shape (n_rows, n_features); null becomes NaN. The next call overwrites a matrix.

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

        matrix = self._buffer[:size].reshape(n_columns, n_rows).T

        for j, column in enumerate(table.columns):
            start = 0
            for chunk in column.chunks:
                matrix[start : start + len(chunk), j] = numeric_values(chunk)
                start += len(chunk)

        return matrix


def matrix_dtype(facts: ModelFacts, schema: pa.Schema) -> np.dtype[Any] | None:
    """The type that all columns take on their way to the model, or None if each keeps its own."""
    if not facts.is_named:
        return np.dtype(facts.matrix_dtype)
    if facts.category_columns:
        return None

    types = set(schema.types)
    is_one_float = len(types) == 1 and all(map(pa.types.is_floating, types))
    is_mixed = facts.takes_matrix and all(map(is_numeric, types))

    if not (is_one_float or is_mixed):
        return None

    names = [str(arrow_type) for arrow_type in types]
    dtype = np.result_type(*(NUMPY_NAMES.get(name, name) for name in names))
    is_wide_float = dtype.kind == "f" and dtype.itemsize > 2

    return dtype if is_wide_float else np.dtype(np.float64)
