"""Linear models with what is in front of them: a sum over columns, without a matrix and without comparing strings.

Each number is imputed and scaled as the library does it, then multiplied; each encoded value has its share of the sum
looked up. The sum goes from the first feature to the last, as SciPy's product of a sparse matrix does: there it is
equal to the bit. A dense matrix is multiplied by BLAS, whose order depends on the machine: there it is equal within
1e-12, relative to the greater of the value and the mean of its column.
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
    Branch,
    check_computed_in_doubles,
    fused,
    gives_sparse,
    make_branches,
    make_lookups,
)
from nightscore.models.compiled.links import Link, answer
from nightscore.models.compiled.unsupported import UnsupportedError
from nightscore.models.protocol import Answer, Predictor
from nightscore.native.constants import BLOCK_ROWS, STRIP_BLOCKS
from nightscore.native.machine_code import Kernels
from nightscore.schemas.model import ModelFacts

CLASSIFIERS = (
    "LogisticRegression", "LogisticRegressionCV", "RidgeClassifier", "RidgeClassifierCV", "LinearSVC",
    "SGDClassifier", "Perceptron",
)  # fmt: skip
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
"""Scores nearer to each other, in units of their mean size, are decided by the library where bits may differ."""
NO_STEPS = fused([])


@dataclass(frozen=True, slots=True)
class LinearForm:
    """A linear model as data."""

    weights: npt.NDArray[np.float64]
    """(outputs, features)."""
    intercept: npt.NDArray[np.float64]
    branches: tuple[Branch, ...]
    """Encoded values' rows are their shares of the sums, (rows, outputs)."""
    link: Link
    is_exact: bool
    """To the bit."""

    @property
    def tolerance(self) -> float:
        """How far its scores may be from the library's, relative."""
        return 0.0 if self.is_exact else TOLERANCE


class CompiledLinear:
    """The scores of a linear model, straight from columns, and what follows from them."""

    def __init__(self, model: LinearForm, own: Predictor, kernels: Kernels) -> None:
        """Take the library's own predictor too, which decides ties."""
        self.tolerance = model.tolerance
        self._model, self._own, self._kernels = model, own, kernels
        self._lookups = make_lookups(model.branches)
        self._reader, self._out = ColumnReader(kernels), Scratch()
        self._strip = np.empty(STRIP_BLOCKS * BLOCK_ROWS)
        self._compile()

    def _compile(self) -> None:
        """Call everything once: compiled or read from the cache now, before the address space is limited."""
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
        found = answer(self._model.link, sums, kinds, self._kernels)
        if not self._model.is_exact and self._model.link.classes is not None:
            tied = np.flatnonzero(_gap(sums) < TIE_MARGIN * self._size(sums))
            if len(tied):
                own = self._own.predict(features.take(from_numpy(tied)), [])["prediction"]
                found["prediction"] = np.array(found["prediction"])
                found["prediction"][tied] = own
        return found

    def _size(self, sums: npt.NDArray[np.float64]) -> float:
        """How large the terms of the sums are: their rounding is relative to that. The intercept is one of them, also
        where all rows of a batch are near the boundary."""
        mean = float(np.abs(sums).mean()) if sums.size else 0.0
        return max(mean, float(np.abs(self._model.intercept).max(initial=0.0)))

    def _add_up(self, table: pa.Table) -> npt.NDArray[np.float64] | None:
        """Scores of shape (n_outputs, n_rows), overwritten by the next call.

        None: a value is not finite, which the library refuses.
        """
        model = self._model
        shape = (len(model.weights), table.num_rows)
        out = self._out.take(shape[0] * shape[1], np.dtype(np.float64)).reshape(shape)
        out[:] = 0.0
        for branch in model.branches:
            for j, column in enumerate(branch.columns):
                if branch.tables:
                    self._add_known(branch, j, table.column(column), out)
                elif not self._add_numbers(branch, j, table.column(column), out):
                    return None
        out += model.intercept[:, None]
        return out

    def _add_known(
        self, branch: Branch, j: int, column: pa.ChunkedArray, out: npt.NDArray[np.float64]
    ) -> None:
        start = 0
        for chunk in column.chunks:
            if len(chunk):
                indices, shares = self._lookups[branch.start, j].find(chunk)
                self._kernels.add_known(indices, shares, out, start)
                start += len(indices)

    def _add_numbers(
        self, branch: Branch, j: int, column: pa.ChunkedArray, out: npt.NDArray[np.float64]
    ) -> bool:
        check_computed_in_doubles(column.type)
        steps = branch.numbers[j] if branch.numbers else NO_STEPS
        weights = self._model.weights[:, branch.first_feature(j)].copy()
        start, finite = 0, True
        for chunk in column.chunks:
            values, validity, first_byte = self._reader.read_raw(chunk)
            values = values.astype(np.float64, copy=False)
            finite &= bool(
                self._kernels.add_numbers(
                    values, validity, first_byte, *steps.arguments, weights, self._strip, out, start
                )
            )
            start += len(values)
        return finite


def linear_form(steps: Sequence[Any], final: Any, facts: ModelFacts) -> LinearForm:
    """The data of a linear model with its preprocessing.

    Args:
        steps: Fitted transformers in front of the model.
        final: The fitted model.
        facts: What the model is.

    Raises:
        UnsupportedError: It, or a step, is left to the library.
    """
    name = type(final).__name__
    if not steps:
        # A matrix product is 0.1 us a row already, and its bits are worth more than half of that.
        raise UnsupportedError(f"{name} without preprocessing is a product of matrices")
    if facts.n_outputs > 1 and name in CLASSIFIERS:
        raise UnsupportedError("classifiers of several targets predict by themselves")
    weights = np.array(np.atleast_2d(np.asarray(final.coef_, np.float64)))
    intercept = np.array(np.broadcast_to(np.asarray(final.intercept_, np.float64), (len(weights),)))

    def shares(first: int, out: Any) -> npt.NDArray[np.float64]:
        """(values, outputs): of each value's one encoded number times its coefficient, no sum is rounded."""
        found: npt.NDArray[np.float64] = np.array(
            out @ weights[:, first : first + out.shape[1]].T, np.float64
        )
        if not np.isfinite(found).all():
            raise ValueError("the library refuses a missing value")
        return found

    branches = make_branches(facts, steps, weights.shape[1], shares)
    return LinearForm(weights, intercept, branches, _link(final), gives_sparse(steps))


def _link(final: Any) -> Link:
    classes = getattr(final, "classes_", None)
    if classes is None:
        return Link("identity")
    name, is_binary = type(final).__name__, len(classes) <= 2
    if name in ("LogisticRegression", "LogisticRegressionCV"):
        by_class = getattr(final, "multi_class", "") == "ovr" or final.solver == "liblinear"
        return Link("expit" if is_binary else "one_vs_rest" if by_class else "softmax", classes)
    if name == "SGDClassifier" and hasattr(final, "predict_proba"):
        if final.loss != "log_loss":
            raise UnsupportedError(f"probabilities of {final.loss}")
        return Link("expit" if is_binary else "one_vs_rest", classes)
    return Link("none", classes)


def _gap(sums: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Distance of the decision from the next one, of (n_outputs, n_rows)."""
    if len(sums) == 1:
        return np.asarray(np.abs(sums[0]))
    top = np.partition(sums, -2, axis=0)
    return np.asarray(top[-1] - top[-2])
