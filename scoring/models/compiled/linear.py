"""Linear models with what is in front of them: a sum over columns, without a matrix and without comparing strings.

Each number is imputed and scaled as the library does it, then multiplied; each encoded value has its share of the sum
looked up. The sum goes from the first feature to the last, as SciPy's product of a sparse matrix does: there it is
equal to the bit. A dense matrix is multiplied by BLAS, whose order depends on the machine: there it is equal within
1e-12, relative to the greater of the value and the mean of its column.
"""

import copy
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.contract import ModelFacts
from scoring.models.compiled.columns import ColumnReader, read_only
from scoring.models.compiled.encode import Branch, Lookup, gives_sparse, make_branches
from scoring.models.compiled.from_sklearn import UnsupportedError
from scoring.models.compiled.layout import ADD, DIVIDE, MULTIPLY, SUBTRACT
from scoring.models.features import Scratch
from scoring.models.predictor import Answer, Predictor

CLASSIFIERS = (
    "LogisticRegression", "LogisticRegressionCV", "RidgeClassifier", "RidgeClassifierCV", "LinearSVC",
    "SGDClassifier", "Perceptron",
)  # fmt: skip
REGRESSORS = ("LinearRegression", "Ridge", "RidgeCV", "Lasso", "LassoCV", "ElasticNet", "ElasticNetCV")
TOLERANCE = 1e-12
TIE_MARGIN = 1e-9
"""Scores nearer to each other, in units of their mean size, are decided by the library where bits may differ."""


@dataclass(frozen=True, slots=True)
class NumberSteps:
    """What is done to each number of a column, in this order."""

    fill: float
    """Takes the place of NaN; NaN: nothing does."""
    center: float
    scale: float
    steps: npt.NDArray[np.int64]
    numbers: npt.NDArray[np.float64]


class LinearSum:
    """The scores of a linear model, straight from columns."""

    def __init__(self, final: Any, steps: Sequence[Any], facts: ModelFacts, kernels: ModuleType) -> None:
        """Read the model.

        Raises:
            UnsupportedError: It, or a step, is left to the library.
        """
        self._weights = np.atleast_2d(np.asarray(final.coef_, np.float64))
        self._intercept = np.broadcast_to(np.asarray(final.intercept_, np.float64), (len(self._weights),))
        self._branches = make_branches(facts, steps, self._weights.shape[1])
        self._lookup = Lookup(facts, self._shares)
        self._kernels = kernels
        self._reader, self._out = ColumnReader(kernels), Scratch()
        self._numbers = {
            (branch.start, j): _number_steps(branch, j)
            for branch in self._branches
            if not branch.is_encoder
            for j in range(len(branch.columns))
        }
        self._compile()

    def _compile(self) -> None:
        """Call everything once: compiled or read from the cache now, before the address space is limited."""
        values, validity, first_byte = self._reader.read_raw(pa.array([0.0]))
        out = np.zeros((1, 1))
        nothing = _arguments(_fused([]))
        self._kernels.add_numbers(values, validity, first_byte, *nothing, np.zeros(1), out, 0)
        self._kernels.add_known(read_only(np.zeros(1, np.int32)), np.zeros((1, 1)), out, 0)

    def add_up(self, table: pa.Table) -> npt.NDArray[np.float64] | None:
        """Scores of shape (n_rows, n_outputs), overwritten by the next call.

        None: a value is not finite, which the library refuses.
        """
        shape = (len(self._weights), table.num_rows)
        out = self._out.take(shape[0] * shape[1], np.dtype(np.float64)).reshape(shape)
        out[:] = 0.0
        for branch in self._branches:
            for j, column in enumerate(branch.columns):
                if branch.is_encoder:
                    self._add_known(branch, j, table, out)
                elif not self._add_numbers(branch, j, table.column(column), out):
                    return None
        scores = np.ascontiguousarray(out.T)
        scores += self._intercept
        return scores

    def _add_known(self, branch: Branch, j: int, table: pa.Table, out: npt.NDArray[np.float64]) -> None:
        start = 0
        for indices, shares in self._lookup.find(branch, j, table):
            self._kernels.add_known(read_only(indices), shares, out, start)
            start += len(indices)

    def _add_numbers(self, branch: Branch, j: int, column: pa.ChunkedArray, out: npt.NDArray[np.float64]) -> bool:
        if not (pa.types.is_float64(column.type) or pa.types.is_integer(column.type)):
            raise UnsupportedError(f"a number is {column.type}: the library computes with that")
        steps, weights = _arguments(self._numbers[branch.start, j]), self._weights[:, branch.start + j].copy()
        start, finite = 0, True
        for chunk in column.chunks:
            values, validity, first_byte = self._reader.read_raw(chunk)
            values = read_only(values.astype(np.float64, copy=False))
            finite &= self._kernels.add_numbers(values, validity, first_byte, *steps, weights, out, start)
            start += len(values)
        return finite

    def _shares(self, branch: Branch, j: int, out: Any) -> npt.NDArray[np.float64]:
        """(values, outputs): of each value's one encoded number times its coefficient, no sum is rounded."""
        first = branch.start + sum(branch.widths[:j])
        weights = self._weights[:, first : first + branch.widths[j]]
        found = np.asarray(out @ weights.T, np.float64)
        if not np.isfinite(found).all():
            raise UnsupportedError("an encoded value is missing")
        return np.ascontiguousarray(found)


class CompiledLinear:
    """Scores as a sum over columns; what follows from them is the library's own code."""

    def __init__(self, final: Any, total: LinearSum, own: Predictor, *, is_exact: bool) -> None:
        self.tolerance = 0.0 if is_exact else TOLERANCE
        self._final, self._total, self._own = copy.copy(final), total, own

    def attempt(self, features: pa.Table, kinds: Collection[str]) -> Answer | None:
        """See `CompiledModel`."""
        scores = self._total.add_up(features)
        return None if scores is None else self._finish(scores, features, kinds)

    def _finish(self, scores: npt.NDArray[np.float64], features: pa.Table, kinds: Collection[str]) -> Answer:
        final = self._final
        if not hasattr(final, "decision_function"):
            return {"prediction": scores}
        flat = scores[:, 0] if scores.shape[1] == 1 else scores
        answer: dict[str, npt.NDArray[Any]] = {kind: scores for kind in ("decision", "raw") if kind in kinds}
        # The library's own methods, which ask for nothing but scores; for probabilities they work in them.
        if "probability" in kinds:
            final.decision_function = lambda _x: flat.copy()
            answer["probability"] = np.asarray(final.predict_proba(scores))
        final.decision_function = lambda _x: flat
        answer["prediction"] = np.array(final.predict(scores)).reshape(-1, 1)
        if self.tolerance and len(tied := np.flatnonzero(_gap(scores) < TIE_MARGIN * np.abs(scores).mean())):
            answer["prediction"][tied] = self._own.predict(features.take(pa.array(tied)), [])["prediction"]
        return answer


def compile_linear(
    steps: Sequence[Any], final: Any, facts: ModelFacts, kernels: ModuleType, own: Predictor
) -> CompiledLinear:
    """The compiled form of a linear model with its preprocessing.

    Args:
        steps: Fitted transformers in front of the model.
        final: The fitted model.
        facts: What the model is.
        kernels: The machine code.
        own: The library's own predictor, which decides ties.

    Raises:
        UnsupportedError: There is none.
    """
    name = type(final).__name__
    if not steps:
        # A matrix product is 0.1 us a row already, and its bits are worth more than half of that.
        raise UnsupportedError(f"{name} without preprocessing is a product of matrices")
    if facts.n_outputs > 1 and name in CLASSIFIERS:
        raise UnsupportedError("classifiers of several targets predict by themselves")
    total = LinearSum(final, steps, facts, kernels)
    return CompiledLinear(final, total, own, is_exact=gives_sparse(steps))


def _number_steps(branch: Branch, j: int) -> NumberSteps:
    fill = float("nan")
    found: list[tuple[int, float]] = []
    for step in branch.steps:
        name = type(step).__name__
        if name == "SimpleImputer":
            if found or not (isinstance(step.missing_values, float) and np.isnan(step.missing_values)):
                raise UnsupportedError("an imputer of something else than NaN, or after a scaler")
            fill = float(step.statistics_[j]) if np.isnan(fill) else fill
        elif name == "StandardScaler":
            found += [(SUBTRACT, float(step.mean_[j]))] if step.with_mean else []
            found += [(DIVIDE, float(step.scale_[j]))] if step.with_std else []
        elif name == "RobustScaler":
            found += [(SUBTRACT, float(step.center_[j]))] if step.with_centering else []
            found += [(DIVIDE, float(step.scale_[j]))] if step.with_scaling else []
        elif name == "MinMaxScaler" and not step.clip:
            found += [(MULTIPLY, float(step.scale_[j])), (ADD, float(step.min_[j]))]
        elif name == "MaxAbsScaler":
            found.append((DIVIDE, float(step.scale_[j])))
        else:
            raise UnsupportedError(f"there is no compiled form of {name} in front of a linear model")
    return replace(_fused(found), fill=fill)


def _fused(found: list[tuple[int, float]]) -> NumberSteps:
    """The first subtraction and division, which most models have, apart from the rest."""
    rest = list(found)
    center = rest.pop(0)[1] if rest and rest[0][0] == SUBTRACT else 0.0
    scale = rest.pop(0)[1] if rest and rest[0][0] == DIVIDE else 1.0
    kinds, numbers = np.array([kind for kind, _ in rest], np.int64), np.array([x for _, x in rest], np.float64)
    return NumberSteps(float("nan"), center, scale, kinds, numbers)


def _arguments(steps: NumberSteps) -> tuple[Any, ...]:
    return steps.fill, steps.center, steps.scale, steps.steps, steps.numbers


def _gap(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Distance of the decision from the next one."""
    if scores.shape[1] == 1:
        return np.abs(scores[:, 0])
    top = np.partition(scores, -2, axis=1)
    return np.asarray(top[:, -1] - top[:, -2])
