"""What a model's encoders make of each value of a column, learnt from the encoders themselves."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nightscore.arrow.arrays import to_places
from nightscore.models.compiled.unsupported import UnsupportedError

REFUSED = -1
"""In place of a row: the library raises for such values."""
MAX_VALUES = 200_000
"""Known values of one column: 10 to 40 MB."""
MAX_CELLS = 4_000_000
"""Values times columns that they become: 32 MB."""
VALUES_AT_ONCE = 512
"""Values put through the transformers at once. Each may become as many columns as there are
values."""
UNSEEN = "\x00unseen"


@dataclass(frozen=True, slots=True)
class ValueTable:
    """What the values of one column become."""

    values: tuple[Any, ...]
    """Texts, or numbers, that the encoders know."""
    rows: npt.NDArray[np.float64]
    """(rows, width), float64: what each value becomes, in their order. Other rows follow."""
    missing: int
    """Row of null and NaN, or `REFUSED`."""
    other: int
    """Row of all values that the encoders do not know, or `REFUSED`."""


class ValueLookup:
    """Finds the rows of a column's values."""

    def __init__(self, table: ValueTable) -> None:
        """Index a table."""
        self._rows = table.rows
        self._places = {value: i for i, value in enumerate(table.values)}
        self._missing, self._other = table.missing, table.other

    def find(self, chunk: pa.Array) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float64]]:
        """The place of each row's value among the chunk's distinct ones, and what these become.

        Raises:
            UnsupportedError: The library refuses one of them.
        """
        coded = chunk if pa.types.is_dictionary(chunk.type) else chunk.dictionary_encode()
        values = coded.dictionary.to_pylist()
        places = [*(self._place(value) for value in values), self._missing]
        indices = to_places(coded.indices, len(values))

        # A slice has the dictionary of the whole: it need not have each value.
        if REFUSED in places and (np.array(places)[indices] == REFUSED).any():
            raise UnsupportedError("the library refuses a value")

        return indices, self._rows[places]

    def _place(self, value: Any) -> int:
        if value is None or value != value:
            return self._missing
        return self._places.get(value, self._other)


Transform = Callable[[Any], Any]
"""Steps on X of the branch's columns. Their output may be sparse."""
Project = Callable[[Any], npt.NDArray[np.float64]]
"""What is kept of the columns that one column becomes."""


@dataclass(frozen=True, slots=True)
class EncodedColumns:
    """Columns that transformers encode together."""

    transform: Transform
    names: Sequence[str] | None
    """Names of the columns; None: the steps were trained on a matrix."""
    known: Sequence[Sequence[Any]]
    """For each column, the values that its encoder was fitted on."""


def learn_table(columns: EncodedColumns, j: int, project: Project) -> ValueTable:
    """Put all that column `j` may hold through the transformers.

    Each other column has one known value.

    Args:
        columns: The columns and their transformers.
        j: The column.
        project: What is kept of its outputs.

    Raises:
        UnsupportedError: It holds values of a type that is left to the library, or too many.
    """
    values = _known_values(columns.known[j])
    if len(values) > MAX_VALUES:
        raise UnsupportedError(
            f"a column has {len(values):,} known values, at most {MAX_VALUES:,} are compiled"
        )

    arrow_type = _type_of(values)
    beside = [_first(others) for others in columns.known]

    def rows(column: pa.Array) -> npt.NDArray[np.float64]:
        """What values become."""
        arrays = [pa.repeat(one, len(column)) for one in beside]
        arrays[j] = column
        encoded = project(columns.transform(_frame(arrays, columns.names)))
        if encoded.size * max(len(values), 1) > MAX_CELLS * len(column):
            raise UnsupportedError("encoded values take too much memory")
        return encoded

    known = pa.array(values, arrow_type)
    parts = []
    for start in range(0, len(values), VALUES_AT_ONCE):
        parts.append(rows(known.slice(start, VALUES_AT_ONCE)))

    missing = _append(parts, rows, pa.nulls(1, arrow_type))
    unseen = _other_than(values)
    other = REFUSED

    if unseen is not None:
        other = _append(parts, rows, pa.array([unseen], arrow_type))

    table = np.ascontiguousarray(np.concatenate(parts), np.float64)
    return ValueTable(tuple(values), table, missing, other)


def _append(
    parts: list[npt.NDArray[np.float64]],
    rows: Callable[[pa.Array], npt.NDArray[np.float64]],
    value: pa.Array,
) -> int:
    """Append the row of one more value, and return its place, or `REFUSED`."""
    try:
        parts.append(rows(value))
    except UnsupportedError:
        raise
    except Exception:  # noqa: BLE001 (a transformer may refuse a value by any error)
        return REFUSED

    return sum(map(len, parts)) - 1


def _known_values(values: Sequence[Any]) -> list[Any]:
    """Values without duplicates, without missing ones, as Python's own types."""
    plain = dict.fromkeys(map(_plain, values))
    return [value for value in plain if value is not None and value == value]


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if value is not None and type(value) not in (str, int, float, bool):
        raise UnsupportedError(f"a category is a {type(value).__name__}")
    return value


def _first(known: Sequence[Any]) -> pa.Scalar:
    plain = map(_plain, known)
    values = [value for value in plain if value is not None and value == value]
    return pa.scalar(values[0] if values else None, _type_of(values))


def _type_of(values: Sequence[Any]) -> pa.DataType:
    kinds = {type(value) for value in values}
    if kinds <= {str}:
        return pa.string()
    if kinds == {bool}:
        return pa.bool_()
    if kinds == {int}:
        return pa.int64()
    if kinds <= {int, float}:
        return pa.float64()
    raise UnsupportedError("the categories of a column have several types")


def _other_than(values: Sequence[Any]) -> Any:
    """A value of their type that is not among them; None: there is none."""
    arrow_type = _type_of(values)
    if arrow_type == pa.string():
        return UNSEEN
    if arrow_type == pa.bool_():
        return None if len(values) > 1 else not values[0]
    if arrow_type == pa.int64():
        return next(i for i in range(len(values) + 1) if i not in values)
    return float(np.nextafter(max(values), np.inf))


def _frame(columns: Sequence[pa.Array], names: Sequence[str] | None) -> Any:
    """X as the library gets it from `FeatureBuilder`."""
    if names is None:
        numbered = [str(i) for i in range(len(columns))]
        return pa.table(list(columns), names=numbered).to_pandas().to_numpy()
    return pa.table(list(columns), names=list(names)).to_pandas()
