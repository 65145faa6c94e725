"""What a model's encoders make of each value of a column, learnt once from the encoders themselves."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nightscore.arrow.arrays import to_places
from nightscore.models.compiled.unsupported import UnsupportedError

REFUSED = -1
MAX_VALUES = 200_000
"""Of one column: 10 to 40 MB."""
MAX_CELLS = 4_000_000
"""Values times columns that they become: 32 MB."""
VALUES_AT_ONCE = 512
"""Put through the transformers: each may become as many columns as there are values."""
UNSEEN = "\x00unseen"


@dataclass(frozen=True, slots=True)
class ValueTable:
    """Of one column."""

    values: tuple[Any, ...]
    """Texts, or numbers, that the encoders know."""
    rows: npt.NDArray[np.float64]
    """(rows, width), of float64: what each value becomes, in their order, then the rows of what follows."""
    missing: int
    """Row of null and NaN; `REFUSED`: the library raises for them."""
    other: int
    """Row of all values that the encoders do not know; `REFUSED`."""


class ValueLookup:
    """Finds the rows of a column's values."""

    def __init__(self, table: ValueTable) -> None:
        self._rows = table.rows
        self._places = {value: i for i, value in enumerate(table.values)}
        self._missing, self._other = table.missing, table.other

    def find(self, chunk: pa.Array) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float64]]:
        """For each row the place of its value among the chunk's distinct ones, and what these become.

        Raises:
            UnsupportedError: The library refuses one of them.
        """
        coded = chunk if pa.types.is_dictionary(chunk.type) else chunk.dictionary_encode()
        values = coded.dictionary.to_pylist()
        places = [*(self._place(value) for value in values), self._missing]
        indices = to_places(coded.indices, len(values))
        if (
            REFUSED in places and (np.array(places)[indices] == REFUSED).any()
        ):  # a slice keeps the whole's dictionary
            raise UnsupportedError("the library refuses a value")
        return indices, self._rows[places]

    def _place(self, value: Any) -> int:
        if value is None or value != value:
            return self._missing
        return self._places.get(value, self._other)


Transform = Callable[[Any], Any]
"""Steps on X of the branch's columns; the output may be sparse."""
Project = Callable[[Any], npt.NDArray[np.float64]]
"""What is kept of the columns that one column becomes."""


def learn_table(
    transform: Transform,
    names: Sequence[str] | None,
    known: Sequence[Sequence[Any]],
    j: int,
    project: Project,
) -> ValueTable:
    """Put all that column `j` may hold through the transformers, beside a known value of each other column.

    Args:
        transform: The branch's steps.
        names: Of its columns; None: it was trained on a matrix.
        known: Of each column: the values that its encoder was fitted on.
        j: The column.
        project: What is kept of its outputs.

    Raises:
        UnsupportedError: It holds values of a type that is left to the library, or too many.
    """
    values = [_plain(value) for value in known[j]]
    values = list(dict.fromkeys(value for value in values if value is not None and value == value))
    if len(values) > MAX_VALUES:
        raise UnsupportedError(f"a column with {len(values):,} known values")
    kind = _type_of(values)
    beside = [_first(others) for others in known]

    def rows(column: pa.Array) -> npt.NDArray[np.float64]:
        columns = [
            column if i == j else pa.repeat(one, len(column)) for i, one in enumerate(beside)
        ]
        found = project(transform(_frame(columns, names)))
        if found.size * max(len(values), 1) > MAX_CELLS * len(column):
            raise UnsupportedError("encoded values take too much memory")
        return found

    column = pa.array(values, kind)
    parts = [
        rows(column.slice(start, VALUES_AT_ONCE)) for start in range(0, len(values), VALUES_AT_ONCE)
    ]
    other = _other_than(values)
    places = []
    for more in (pa.nulls(1, kind), None if other is None else pa.array([other], kind)):
        try:
            if more is None:
                raise ValueError("no such value")
            parts.append(rows(more))
            places.append(sum(len(part) for part in parts) - 1)
        except UnsupportedError:
            raise
        except Exception:  # noqa: BLE001 (that is how a transformer says that it refuses)
            places.append(REFUSED)
    return ValueTable(
        tuple(values), np.ascontiguousarray(np.concatenate(parts), np.float64), *places
    )


def _plain(value: Any) -> Any:
    value = value.item() if isinstance(value, np.generic) else value
    if value is not None and type(value) not in (str, int, float, bool):
        raise UnsupportedError(f"a category that is a {type(value).__name__}")
    return value


def _first(known: Sequence[Any]) -> pa.Scalar:
    values = [value for value in map(_plain, known) if value is not None and value == value]
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
    raise UnsupportedError("categories of several types")


def _other_than(values: Sequence[Any]) -> Any:
    """A value of their type that is not among them; None: there is none."""
    kind = _type_of(values)
    if kind == pa.string():
        return UNSEEN
    if kind == pa.bool_():
        return None if len(values) > 1 else not values[0]
    if kind == pa.int64():
        return next(i for i in range(len(values) + 1) if i not in values)
    return float(np.nextafter(max(values), np.inf))


def _frame(columns: Sequence[pa.Array], names: Sequence[str] | None) -> Any:
    """X as the library gets it from `FeatureBuilder`."""
    table = pa.table(
        list(columns), names=[str(i) for i in range(len(columns))] if names is None else list(names)
    )
    return table.to_pandas().to_numpy() if names is None else table.to_pandas()
