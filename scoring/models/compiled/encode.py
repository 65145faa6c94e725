"""From Arrow columns, through the transformers in front of a model, to its features.

A branch says what transformers do to some columns. Encoded columns have a table of what each value
becomes. Numbers have the operations that impute and scale them, in the library's order.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nightscore.arrow.arrays import from_numpy
from nightscore.arrow.numeric import Scratch, is_numeric
from nightscore.models.compiled.columns import ColumnReader
from nightscore.models.compiled.sums import IndexedNumbers, Numbers
from nightscore.models.compiled.unsupported import UnsupportedError
from nightscore.models.compiled.values import ValueLookup, ValueTable
from nightscore.models.features import matrix_dtype
from nightscore.native.machine_code import Kernels
from nightscore.schemas.model import ModelFacts

Chunks = Iterator[Numbers | IndexedNumbers]


@dataclass(frozen=True, slots=True)
class NumberSteps:
    """What is done to each number of a column, in this order."""

    fill: float
    """Takes the place of NaN; NaN: nothing does."""
    center: float
    """Subtracted first."""
    scale: float
    """Divided by after that."""
    steps: npt.NDArray[np.int64]
    """Further operations, see `native.constants`."""
    numbers: npt.NDArray[np.float64]
    """The second operand of each further operation."""

    @property
    def arguments(self) -> tuple[Any, ...]:
        """Arguments of the kernels."""
        return self.fill, self.center, self.scale, self.steps, self.numbers

    @property
    def change_nothing(self) -> bool:
        """Whether numbers stay as they are."""
        fills = self.fill == self.fill
        scales = self.center != 0.0 or self.scale != 1.0
        return not fills and not scales and not len(self.steps)


NO_STEPS = NumberSteps(float("nan"), 0.0, 1.0, np.empty(0, np.int64), np.empty(0, np.float64))


@dataclass(frozen=True, slots=True)
class Branch:
    """Columns of the input, what happens to them, and their places among the features."""

    columns: tuple[int, ...]
    start: int
    """The first feature."""
    widths: tuple[int, ...]
    """Features that each column becomes."""
    tables: tuple[ValueTable, ...] = ()
    """One for each encoded column."""
    numbers: tuple[NumberSteps, ...] = ()
    """One for each column of numbers. Without tables and numbers, columns pass through."""


class Encoder:
    """The features of the trees, from a table in the model's order."""

    def __init__(
        self, facts: ModelFacts, branches: Sequence[Branch] | None, kernels: Kernels
    ) -> None:
        """Prepare to encode. Without branches, columns are features.

        Kernels are called once: they are compiled before the address space is limited.
        """
        self._facts, self._branches, self._kernels = facts, branches, kernels
        self._lookups = make_lookups(branches or ())
        self._reader, self._scratch = ColumnReader(kernels), Scratch()

        values, validity, first_byte = self._reader.read_raw(from_numpy(np.zeros(1)))
        kernels.change_numbers(values, validity, first_byte, *NO_STEPS.arguments, np.zeros(1))

    def encode(self, table: pa.Table) -> Iterator[tuple[int, Chunks]]:
        """Features, by number, and the chunks of their values.

        A chunk is overwritten when the next one is read.

        Raises:
            UnsupportedError: A column has a type, or holds a value, that is left to the library.
        """
        if self._branches is None:
            dtype = matrix_dtype(self._facts, table.schema)
            for i, column in enumerate(table.columns):
                yield i, self._values(column, dtype)
            return

        for branch in self._branches:
            first = branch.start
            for j, number in enumerate(branch.columns):
                yield from enumerate(self._column(branch, j, table.column(number)), first)
                first += branch.widths[j]

    def _column(self, branch: Branch, j: int, column: pa.ChunkedArray) -> Iterator[Chunks]:
        """The features that one column becomes."""
        if branch.tables:
            lookup = self._lookups[branch.start, j]
            parts = [lookup.find(chunk) for chunk in column.chunks if len(chunk)]
            for i in range(branch.widths[j]):
                yield (IndexedNumbers(indices, known[:, i]) for indices, known in parts)
        elif branch.numbers and not branch.numbers[j].change_nothing:
            yield self._changed(branch.numbers[j], column)
        else:
            yield self._values(column, None)

    def _changed(self, steps: NumberSteps, column: pa.ChunkedArray) -> Chunks:
        check_computed_in_doubles(column.type)
        for chunk in column.chunks:
            values, validity, first_byte = self._reader.read_raw(chunk)
            values = values.astype(np.float64, copy=False)
            out = self._scratch.take(len(values), np.dtype(np.float64))
            self._kernels.change_numbers(values, validity, first_byte, *steps.arguments, out)
            yield Numbers(out)

    def _values(self, column: pa.ChunkedArray, dtype: np.dtype[Any] | None) -> Chunks:
        if not is_numeric(column.type):
            raise UnsupportedError(f"a column of type {column.type} is not encoded")

        for chunk in column.chunks:
            values = self._reader.read(chunk)
            yield Numbers(values if dtype is None else values.astype(dtype, copy=False))


def make_lookups(branches: Sequence[Branch]) -> dict[tuple[int, int], ValueLookup]:
    """Lookups by a branch's start and the number of its column."""
    lookups = {}
    for branch in branches:
        for j, table in enumerate(branch.tables):
            lookups[branch.start, j] = ValueLookup(table)
    return lookups


def check_computed_in_doubles(arrow_type: pa.DataType) -> None:
    """Refuse columns whose type transformers compute in, as in float32.

    Raises:
        UnsupportedError: It is such a type, or no number.
    """
    if not (pa.types.is_float64(arrow_type) or pa.types.is_integer(arrow_type)):
        raise UnsupportedError(
            f"a number is of type {arrow_type}: transformers compute in that type"
        )
