"""Linear models with their preprocessing.

They are a sum over columns, without a matrix and without comparing strings.

Each number is imputed and scaled as the library does it, then multiplied. Each encoded value has
its share of the sum looked up. The sum goes from the first feature to the last, as SciPy's product
of a sparse matrix: there it is equal to the bit. BLAS multiplies a dense matrix, in an order that
depends on the machine. There it is equal within 1e-12, relative to the greater of the value and its
column's mean.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nightscore.arrow.arrays import from_numpy
from nightscore.arrow.numeric import Scratch, numeric_values
from nightscore.models.compiled.encode import (
    NO_STEPS,
    Branch,
    NumberSteps,
    check_computed_in_doubles,
    make_lookups,
)
from nightscore.models.compiled.links import Function, Link, answer
from nightscore.models.compiled.transformers import gives_sparse, make_branches
from nightscore.models.compiled.unsupported import UnsupportedError
from nightscore.models.protocol import Answer, Predictor
from nightscore.native.column_places import ColumnPlaces
from nightscore.native.constants import BLOCK_ROWS, STRIP_BLOCKS
from nightscore.native.machine_code import Kernels
from nightscore.schemas.model import ModelFacts

CLASSIFIERS = (
    "LogisticRegression",
    "LogisticRegressionCV",
    "RidgeClassifier",
    "RidgeClassifierCV",
    "LinearSVC",
    "SGDClassifier",
    "Perceptron",
)
REGRESSORS = (
    "LinearRegression",
    "Ridge",
    "RidgeCV",
    "Lasso",
    "LassoCV",
    "ElasticNet",
    "ElasticNetCV",
)
TOLERANCE = 1e-12
TIE_MARGIN = 1e-9
"""Scores that are nearer to each other are decided by the library, if bits may differ.

Its unit is the mean size of scores.
"""
COLUMNS_A_CALL = 64
"""Columns that are added up in one call of a kernel. What is cast for them is held meanwhile."""

_NO_BITS = np.empty(0, np.uint8)


@dataclass(frozen=True, slots=True)
class LinearForm:
    """A linear model as data."""

    weights: npt.NDArray[np.float64]
    """(outputs, features)."""
    intercept: npt.NDArray[np.float64]
    branches: tuple[Branch, ...]
    """Rows of encoded values are their shares of the sums, (rows, outputs)."""
    link: Link
    is_exact: bool
    """It equals the library to the bit."""

    @property
    def tolerance(self) -> float:
        """Greatest relative difference of its scores from the library's."""
        return 0.0 if self.is_exact else TOLERANCE


class CompiledLinear:
    """The scores of a linear model, straight from columns, and what follows from them."""

    def __init__(self, model: LinearForm, library: Predictor, kernels: Kernels) -> None:
        """Open a form with buffers of its own. The library's own predictor decides ties.

        Kernels are called once: they are compiled before the address space is limited.
        """
        self.tolerance = model.tolerance
        self._model, self._library, self._kernels = model, library, kernels
        self._lookups = make_lookups(model.branches)
        self._column_steps = {
            branch.start: _steps_of(branch, model.weights)
            for branch in model.branches
            if not branch.tables
        }
        self._out = Scratch()
        self._strip = np.empty(STRIP_BLOCKS * BLOCK_ROWS)
        self._compile()

    def _compile(self) -> None:
        one = ColumnPlaces(1)
        one.put_values(0, np.zeros(1), np.zeros(1, np.uint8), -1)
        column = _ColumnSteps.of([NO_STEPS], np.zeros((1, 1)))
        out = np.zeros((1, 1))
        self._kernels.add_columns(one.places, *column.slice(0, 1), self._strip, out, 0)
        self._kernels.add_known(np.zeros(1, np.int32), np.zeros((1, 1)), out, 0)
        self._kernels.expit(np.zeros(1), np.zeros(1))

    def attempt(self, features: pa.Table, kinds: Collection[str]) -> Answer | None:
        """See `CompiledModel`."""
        sums = self._add_up(features)
        if sums is None:
            return None

        columns = answer(self._model.link, sums, kinds, self._kernels)

        if self._model.is_exact or self._model.link.classes is None:
            return columns

        tied = np.flatnonzero(_gap(sums) < TIE_MARGIN * self._size(sums))
        if len(tied):
            decided = self._library.predict(features.take(from_numpy(tied)), [])
            columns["prediction"] = np.array(columns["prediction"])
            columns["prediction"][tied] = decided["prediction"]

        return columns

    def _size(self, sums: npt.NDArray[np.float64]) -> float:
        """The size of the sums' terms, to which their rounding is relative.

        The intercept is one of them, even if all rows of a batch are near the boundary.
        """
        intercept = float(np.abs(self._model.intercept).max(initial=0.0))
        if not sums.size:
            return intercept
        return max(float(np.abs(sums).mean()), intercept)

    def _add_up(self, table: pa.Table) -> npt.NDArray[np.float64] | None:
        """Scores of shape (n_outputs, n_rows). The next call overwrites them.

        None: a value is not finite, which the library refuses.
        """
        model = self._model
        shape = (len(model.weights), table.num_rows)
        out = self._out.take(shape[0] * shape[1], np.dtype(np.float64)).reshape(shape)
        out[:] = 0.0

        start = 0
        # Columns that are chunked alike are not copied.
        for rows in table.to_batches():
            if not self._add_rows(rows, out, start):
                return None
            start += rows.num_rows

        out += model.intercept[:, None]

        return out

    def _add_rows(self, rows: pa.RecordBatch, out: npt.NDArray[np.float64], start: int) -> bool:
        """Add the shares of all columns to the scores of some rows; whether all are finite."""
        for branch in self._model.branches:
            if branch.tables:
                for j, number in enumerate(branch.columns):
                    indices, shares = self._lookups[branch.start, j].find(rows.column(number))
                    self._kernels.add_known(indices, shares, out, start)
            elif not self._add_numbers(branch, rows, out, start):
                return False

        return True

    def _add_numbers(
        self, branch: Branch, rows: pa.RecordBatch, out: npt.NDArray[np.float64], start: int
    ) -> bool:
        """Add columns of numbers, some in each call; whether all their values are finite."""
        column_steps = self._column_steps[branch.start]

        for first in range(0, len(branch.columns), COLUMNS_A_CALL):
            numbers = branch.columns[first : first + COLUMNS_A_CALL]
            places = ColumnPlaces(len(numbers))
            for i, number in enumerate(numbers):
                _put(places, i, rows.column(number))

            steps = column_steps.slice(first, first + len(numbers))
            if not self._kernels.add_columns(places.places, *steps, self._strip, out, start):
                return False

        return True


def _put(places: ColumnPlaces, i: int, chunk: pa.Array) -> None:
    """Name a chunk as the i-th column, with its numbers as float64."""
    check_computed_in_doubles(chunk.type)
    is_aligned = not chunk.null_count or chunk.offset % 8 == 0
    if is_aligned and places.put_chunk(i, chunk):
        return

    values = numeric_values(chunk).astype(np.float64, copy=False)
    places.put_values(i, values, _NO_BITS, -1)


@dataclass(frozen=True, slots=True)
class _ColumnSteps:
    """What happens to columns of numbers, as `add_columns` takes it."""

    scaling: npt.NDArray[np.float64]
    step_ends: npt.NDArray[np.int64]
    steps: npt.NDArray[np.int64]
    numbers: npt.NDArray[np.float64]
    weights: npt.NDArray[np.float64]

    @classmethod
    def of(cls, columns: Sequence[NumberSteps], weights: npt.NDArray[np.float64]) -> "_ColumnSteps":
        """The steps of some columns.

        Args:
            columns: What is done to each.
            weights: The coefficients of each, (columns, outputs).
        """
        scaling = [(column.fill, column.center, column.scale) for column in columns]
        lengths = [len(column.steps) for column in columns]
        return cls(
            scaling=np.array(scaling, np.float64).reshape(-1, 3),
            step_ends=np.cumsum([0, *lengths], dtype=np.int64),
            steps=np.concatenate([NO_STEPS.steps, *(column.steps for column in columns)]),
            numbers=np.concatenate([NO_STEPS.numbers, *(column.numbers for column in columns)]),
            weights=np.ascontiguousarray(weights),
        )

    def slice(self, first: int, end: int) -> tuple[npt.NDArray[Any], ...]:
        """Arguments of the kernel for some of the columns."""
        scaling, ends = self.scaling[first:end], self.step_ends[first : end + 1]
        return scaling, ends, self.steps, self.numbers, self.weights[first:end]


def _steps_of(branch: Branch, weights: npt.NDArray[np.float64]) -> _ColumnSteps:
    """The steps of a branch's columns of numbers, each of which becomes one feature."""
    n_columns = len(branch.columns)
    columns = branch.numbers or (NO_STEPS,) * n_columns
    features = slice(branch.start, branch.start + n_columns)
    return _ColumnSteps.of(columns, weights[:, features].T)


def linear_form(steps: Sequence[Any], final: Any, facts: ModelFacts) -> LinearForm:
    """The data of a linear model with its preprocessing.

    Args:
        steps: Fitted transformers in front of the model.
        final: The fitted model.
        facts: What the model is.

    Raises:
        UnsupportedError: The model, or a step, is left to the library.
    """
    name = type(final).__name__

    if not steps:
        # A matrix product takes 0.1 us a row already. Its bits are worth more than half of that.
        raise UnsupportedError(f"{name} without preprocessing is a product of matrices")

    if facts.n_outputs > 1 and name in CLASSIFIERS:
        raise UnsupportedError("the library predicts classifiers with several targets")

    weights = np.array(np.atleast_2d(np.asarray(final.coef_, np.float64)))
    intercept = np.array(np.broadcast_to(np.asarray(final.intercept_, np.float64), (len(weights),)))

    def shares(first: int, out: Any) -> npt.NDArray[np.float64]:
        """The shares of values, (values, outputs).

        Each value has one encoded number, times its coefficient: no sum is rounded.
        """
        coefficients = weights[:, first : first + out.shape[1]]
        products: npt.NDArray[np.float64] = np.array(out @ coefficients.T, np.float64)
        if not np.isfinite(products).all():
            raise ValueError("the library refuses a missing value")
        return products

    branches = make_branches(facts, steps, weights.shape[1], shares)
    return LinearForm(weights, intercept, branches, _link(final), gives_sparse(steps))


def _link(final: Any) -> Link:
    classes = getattr(final, "classes_", None)
    if classes is None:
        return Link(function="identity")
    return Link(function=_function(final, is_binary=len(classes) <= 2), classes=classes)


def _function(final: Any, *, is_binary: bool) -> Function:
    """What a classifier makes of its scores."""
    name = type(final).__name__
    if name in ("LogisticRegression", "LogisticRegressionCV"):
        if is_binary:
            return "expit"
        by_class = getattr(final, "multi_class", "") == "ovr" or final.solver == "liblinear"
        return "one_vs_rest" if by_class else "softmax"

    if name == "SGDClassifier" and hasattr(final, "predict_proba"):
        if final.loss != "log_loss":
            raise UnsupportedError(f"its probabilities are those of the loss {final.loss}")
        return "expit" if is_binary else "one_vs_rest"

    return "none"


def _gap(sums: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The distance of each row's decision from the next one, of (n_outputs, n_rows)."""
    if len(sums) == 1:
        return np.asarray(np.abs(sums[0]))
    top = np.partition(sums, -2, axis=0)
    return np.asarray(top[-1] - top[-2])
