"""Categories as the numbers that a booster was trained with, exactly as from pandas."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nightscore.arrow.arrays import to_places
from nightscore.arrow.numeric import Scratch, is_numeric, numeric_values
from nightscore.models.features import UnknownCategoryError
from nightscore.schemas.model import ModelFacts

UNKNOWN = -1.0
"""Code of a value that is none of the categories."""


def look_up(
    chunk: pa.Array, categories: Sequence[Any]
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float64]]:
    """Where each row's code is in an array of codes, and that array.

    The codes end with `UNKNOWN`, for values that are none of the categories, and NaN, for missing
    ones.

    Args:
        chunk: Strings, numbers or booleans, or a dictionary of such.
        categories: In the order of their codes, 0 first.

    Raises:
        ValueError: The column holds another kind of values than the categories are.
    """
    if pa.types.is_dictionary(chunk.type):
        places, codes = look_up(chunk.dictionary, categories)
        known = np.append(codes[places], np.nan)
        return to_places(chunk.indices, len(known) - 1), known

    values, known_values = _comparable(chunk, categories)
    n = len(categories)
    places = to_places(pc.index_in(values, value_set=known_values), n)
    is_missing = pc.cast(pc.is_null(values, nan_is_null=True), pa.uint8())
    places[numeric_values(is_missing) == 1] = n + 1

    return places, np.append(np.arange(n, dtype=np.float64), [UNKNOWN, np.nan])


def _comparable(chunk: pa.Array, categories: Sequence[Any]) -> tuple[pa.Array, pa.Array]:
    """Values and categories as one Arrow type. Numbers are compared as numbers, as in pandas."""
    arrow_type = chunk.type
    if pa.types.is_null(arrow_type):
        names = [str(value) for value in categories]
        return pa.nulls(len(chunk), pa.string()), pa.array(names, pa.string())

    are_text = all(isinstance(value, str) for value in categories)

    is_text = pa.types.is_string(arrow_type) or pa.types.is_large_string(arrow_type)
    if is_text != are_text or not (is_text or is_numeric(arrow_type)):
        raise ValueError(
            f"a column of {arrow_type} where the model was trained with categories such as "
            f"{categories[0]!r}"
        )

    if is_text:
        return chunk, pa.array(categories, arrow_type)

    if pa.types.is_integer(arrow_type) and all(isinstance(value, int) for value in categories):
        whole = [int(value) for value in categories]
        return pc.cast(chunk, pa.int64()), pa.array(whole, pa.int64())

    if pa.types.is_boolean(arrow_type) or pa.types.is_float16(arrow_type):
        chunk = pc.cast(chunk, pa.float32())

    numbers = [float(value) for value in categories]
    return pc.cast(chunk, pa.float64()), pa.array(numbers, pa.float64())


class CodedMatrix:
    """A model's features as one matrix of numbers, categories as their codes."""

    def __init__(self, facts: ModelFacts, dtype: npt.DTypeLike, *, refuses_unknown: bool) -> None:
        """Make a builder for one thread.

        Args:
            facts: Has the categories.
            dtype: Type of the matrix.
            refuses_unknown: Whether an unknown category is an error. If not, it is missing.
        """
        self._categories = facts.categories
        self._dtype = np.dtype(dtype)
        self._refuses = refuses_unknown
        self._scratch = Scratch()

    def build(self, table: pa.Table) -> npt.NDArray[Any]:
        """A matrix of shape (n_rows, n_features), Fortran-ordered; the next call overwrites it.

        Missing values are NaN.

        Raises:
            UnknownCategoryError: A category is unknown, and such are refused.
            ValueError: A column is not numeric, and the model knows no categories of it.
        """
        n_rows, n_columns = table.num_rows, table.num_columns
        matrix = self._scratch.take(n_rows * n_columns, self._dtype).reshape(n_columns, n_rows).T

        for j, (name, column) in enumerate(zip(table.column_names, table.columns, strict=True)):
            start = 0
            for chunk in column.chunks:
                # As in the library, float64 beyond float32 becomes infinite.
                with np.errstate(over="ignore"):
                    matrix[start : start + len(chunk), j] = self._values(name, chunk)
                start += len(chunk)

        return matrix

    def _values(self, name: str, chunk: pa.Array) -> npt.NDArray[Any]:
        categories = self._categories.get(name)
        if categories is None:
            if not is_numeric(chunk.type):
                raise ValueError(f"{name} is {chunk.type}, and the model knows no categories of it")
            return numeric_values(chunk)

        indices, known = look_up(chunk, categories)
        return coded(name, chunk, indices, known, refuses_unknown=self._refuses)[indices]


def coded(
    name: str,
    chunk: pa.Array,
    indices: npt.NDArray[np.int32],
    known: npt.NDArray[np.float64],
    *,
    refuses_unknown: bool,
) -> npt.NDArray[np.float64]:
    """The codes that `look_up` gave, with NaN for unknown values.

    Raises:
        UnknownCategoryError: There are unknown values, and they are refused.
    """
    is_unknown = known == UNKNOWN
    if refuses_unknown and is_unknown.any() and (rows := is_unknown[indices]).any():
        first = chunk[int(np.flatnonzero(rows)[0])].as_py()
        raise UnknownCategoryError(
            f"{name}: {first!r} is a category that was not in the training data"
        )

    return np.where(is_unknown, np.nan, known)
