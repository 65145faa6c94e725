"""A column's categories as the numbers that a booster was trained with: exactly as from a pandas Categorical."""

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
    """For each row its place among codes, and the codes: NaN is missing, `UNKNOWN` none of the categories.

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
    found = to_places(pc.index_in(values, value_set=known_values), n)
    missing = pc.cast(pc.is_null(values, nan_is_null=True), pa.uint8())
    found[numeric_values(missing) == 1] = n + 1
    return found, np.append(np.arange(n, dtype=np.float64), [UNKNOWN, np.nan])


def _comparable(chunk: pa.Array, categories: Sequence[Any]) -> tuple[pa.Array, pa.Array]:
    """Values and categories as one Arrow type; numbers are compared as numbers, as pandas does it."""
    are_text = all(isinstance(value, str) for value in categories)
    kind = chunk.type
    if pa.types.is_null(kind):
        return pa.nulls(len(chunk), pa.string()), pa.array(
            [str(value) for value in categories], pa.string()
        )
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    if is_text != are_text or not (is_text or is_numeric(kind)):
        raise ValueError(
            f"a column of {kind} where the model was trained with categories such as {categories[0]!r}"
        )
    if is_text:
        return chunk, pa.array(categories, kind)
    if pa.types.is_integer(kind) and all(isinstance(value, int) for value in categories):
        return pc.cast(chunk, pa.int64()), pa.array(
            [int(value) for value in categories], pa.int64()
        )
    if pa.types.is_boolean(kind) or pa.types.is_float16(kind):
        chunk = pc.cast(chunk, pa.float32())
    return pc.cast(chunk, pa.float64()), pa.array(
        [float(value) for value in categories], pa.float64()
    )


class CodedMatrix:
    """A model's features as one matrix of numbers, categories as their codes."""

    def __init__(self, facts: ModelFacts, dtype: npt.DTypeLike, *, refuses_unknown: bool) -> None:
        """An unknown category is an error where it is refused, else missing."""
        self._categories, self._dtype, self._refuses = (
            facts.categories,
            np.dtype(dtype),
            refuses_unknown,
        )
        self._scratch = Scratch()

    def build(self, table: pa.Table) -> npt.NDArray[Any]:
        """(n_rows, n_features), Fortran-ordered, missing as NaN; overwritten by the next call.

        Raises:
            UnknownCategoryError: See `__init__`.
            ValueError: A column is of a type that is no number, and the model knows no categories of it.
        """
        n_rows, n_columns = table.num_rows, table.num_columns
        matrix = self._scratch.take(n_rows * n_columns, self._dtype).reshape(n_columns, n_rows).T
        for j, (name, column) in enumerate(zip(table.column_names, table.columns, strict=True)):
            start = 0
            for chunk in column.chunks:
                with np.errstate(
                    over="ignore"
                ):  # float64 beyond float32 is infinite there, as in the library
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
    """The codes that `look_up` gave, with NaN for unknown ones.

    Raises:
        UnknownCategoryError: There are some, and they are refused.
    """
    is_unknown = known == UNKNOWN
    if refuses_unknown and is_unknown.any() and (rows := is_unknown[indices]).any():
        first = chunk[int(np.flatnonzero(rows)[0])].as_py()
        raise UnknownCategoryError(
            f"{name}: {first!r} is a category that was not in the training data"
        )
    return np.where(is_unknown, np.nan, known)
