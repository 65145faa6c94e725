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
from nightscore.arrow.numeric import Scratch
from nightscore.models.compiled.columns import ColumnReader
from nightscore.models.compiled.encode import (
    NO_STEPS,
    Branch,
    check_computed_in_doubles,
    make_lookups,
)
from nightscore.models.compiled.links import Function, Link, answer
from nightscore.models.compiled.transformers import gives_sparse, make_branches
from nightscore.models.compiled.unsupported import UnsupportedError
from nightscore.models.protocol import Answer, Predictor
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
        self._reader, self._out = ColumnReader(kernels), Scratch()
        self._strip = np.empty(STRIP_BLOCKS * BLOCK_ROWS)
        self._compile()

    def _compile(self) -> None:
        values, validity, first_byte = self._reader.read_raw(from_numpy(np.zeros(1)))
        out = np.zeros((1, 1))
        self._kernels.add_numbers(
            values, validity, first_byte, *NO_STEPS.arguments, np.zeros(1), self._strip, out, 0
        )
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

        for branch in model.branches:
            for j, number in enumerate(branch.columns):
                column = table.column(number)
                if branch.tables:
                    self._add_known(branch, j, column, out)
                elif not self._add_numbers(branch, j, column, out):
                    return None

        out += model.intercept[:, None]

        return out

    def _add_known(
        self, branch: Branch, j: int, column: pa.ChunkedArray, out: npt.NDArray[np.float64]
    ) -> None:
        lookup = self._lookups[branch.start, j]
        start = 0
        for chunk in column.chunks:
            if len(chunk):
                indices, shares = lookup.find(chunk)
                self._kernels.add_known(indices, shares, out, start)
                start += len(indices)

    def _add_numbers(
        self, branch: Branch, j: int, column: pa.ChunkedArray, out: npt.NDArray[np.float64]
    ) -> bool:
        """Add a column's share to the scores; whether all its values are finite."""
        check_computed_in_doubles(column.type)
        steps = branch.numbers[j] if branch.numbers else NO_STEPS
        weights = self._model.weights[:, branch.first_feature(j)].copy()

        start, is_finite = 0, True

        for chunk in column.chunks:
            values, validity, first_byte = self._reader.read_raw(chunk)
            values = values.astype(np.float64, copy=False)
            result = self._kernels.add_numbers(
                values, validity, first_byte, *steps.arguments, weights, self._strip, out, start
            )
            is_finite &= bool(result)
            start += len(values)

        return is_finite


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
