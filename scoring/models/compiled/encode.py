"""From Arrow columns, through the transformers in front of a model, to the features of its trees.

What the transformers do is read once, when a model is compiled: encoded columns become tables of what each value is
turned into, numbers that are imputed or scaled become the operations of the library in its order.
"""

import functools
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nightscore.arrow.arrays import from_numpy
from nightscore.arrow.numeric import Scratch, is_numeric
from nightscore.models.compiled.columns import ColumnReader
from nightscore.models.compiled.sums import Looked, Numbers
from nightscore.models.compiled.unsupported import UnsupportedError
from nightscore.models.compiled.values import ValueLookup, ValueTable, learn_table
from nightscore.models.features import matrix_dtype
from nightscore.native.constants import ADD, DIVIDE, MULTIPLY, SUBTRACT
from nightscore.native.machine_code import Kernels
from nightscore.schemas.model import ModelFacts

ONE_TO_ONE = (
    "SimpleImputer",
    "OrdinalEncoder",
    "StandardScaler",
    "MinMaxScaler",
    "MaxAbsScaler",
    "RobustScaler",
)
"""Of scikit-learn: output column j depends on input column j alone."""
ENCODERS = ("OrdinalEncoder", "OneHotEncoder")

ProjectColumn = Callable[[int, Any], npt.NDArray[np.float64]]
"""First feature that a column becomes, and these (may be sparse): what is kept of them, (n_values, width)."""


@dataclass(frozen=True, slots=True)
class NumberSteps:
    """What is done to each number of a column, in this order."""

    fill: float
    """Takes the place of NaN; NaN: nothing does."""
    center: float
    """Subtracted, then"""
    scale: float
    """divided by this."""
    steps: npt.NDArray[np.int64]
    """Further ones, see `layout`."""
    numbers: npt.NDArray[np.float64]

    @property
    def arguments(self) -> tuple[Any, ...]:
        """For the kernels."""
        return self.fill, self.center, self.scale, self.steps, self.numbers

    @property
    def change_nothing(self) -> bool:
        return (
            self.fill != self.fill
            and self.center == 0.0
            and self.scale == 1.0
            and not len(self.steps)
        )


@dataclass(frozen=True, slots=True)
class Branch:
    """Columns of the input, what happens to them, and where they stand among the features."""

    columns: tuple[int, ...]
    start: int
    widths: tuple[int, ...]
    """Features that each column becomes."""
    tables: tuple[ValueTable, ...] = ()
    """Of encoded columns, one each."""
    numbers: tuple[NumberSteps, ...] = ()
    """Of columns of numbers, one each; neither: they pass through."""

    def first_feature(self, j: int) -> int:
        """Of the j-th column."""
        return self.start + sum(self.widths[:j])


class Encoder:
    """The features of the trees, from a table in the model's order."""

    def __init__(
        self, facts: ModelFacts, branches: Sequence[Branch] | None, kernels: Kernels
    ) -> None:
        """Take the columns as they are if there are no branches."""
        self._facts, self._branches, self._kernels = facts, branches, kernels
        self._lookups = make_lookups(branches or ())
        self._reader, self._scratch = ColumnReader(kernels), Scratch()
        self._compile()

    def _compile(self) -> None:
        """See `ForestSum._compile`."""
        values, validity, first_byte = self._reader.read_raw(from_numpy(np.zeros(1)))
        self._kernels.change_numbers(
            values, validity, first_byte, *fused([]).arguments, np.zeros(1)
        )

    def encode(self, table: pa.Table) -> Iterator[tuple[int, Iterator[Numbers | Looked]]]:
        """Features, by number, and the chunks of their values: each is gone when the next one is asked for.

        Raises:
            UnsupportedError: A column is of a type, or holds a value, that is left to the library.
        """
        if self._branches is None:
            dtype = matrix_dtype(self._facts, table.schema)
            yield from ((i, self._values(column, dtype)) for i, column in enumerate(table.columns))
            return
        for branch in self._branches:
            for j, column in enumerate(branch.columns):
                yield from enumerate(
                    self._column(branch, j, table.column(column)), branch.first_feature(j)
                )

    def _column(
        self, branch: Branch, j: int, column: pa.ChunkedArray
    ) -> Iterator[Iterator[Numbers | Looked]]:
        if branch.tables:
            lookup = self._lookups[branch.start, j]
            parts = [lookup.find(chunk) for chunk in column.chunks if len(chunk)]
            for i in range(branch.widths[j]):
                yield (Looked(indices, known[:, i]) for indices, known in parts)
        elif branch.numbers and not branch.numbers[j].change_nothing:
            yield self._changed(branch.numbers[j], column)
        else:
            yield self._values(column, None)

    def _changed(self, steps: NumberSteps, column: pa.ChunkedArray) -> Iterator[Numbers | Looked]:
        check_computed_in_doubles(column.type)
        for chunk in column.chunks:
            values, validity, first_byte = self._reader.read_raw(chunk)
            values = values.astype(np.float64, copy=False)
            out = self._scratch.take(len(values), np.dtype(np.float64))
            self._kernels.change_numbers(values, validity, first_byte, *steps.arguments, out)
            yield Numbers(out)

    def _values(
        self, column: pa.ChunkedArray, dtype: np.dtype[Any] | None
    ) -> Iterator[Numbers | Looked]:
        if not is_numeric(column.type):
            raise UnsupportedError(f"a column is {column.type} and not encoded")
        for chunk in column.chunks:
            values = self._reader.read(chunk)
            yield Numbers(values if dtype is None else values.astype(dtype, copy=False))


def make_lookups(branches: Sequence[Branch]) -> dict[tuple[int, int], ValueLookup]:
    """By a branch's start and the number of its column."""
    return {(b.start, j): ValueLookup(table) for b in branches for j, table in enumerate(b.tables)}


def check_computed_in_doubles(kind: pa.DataType) -> None:
    """Transformers compute float32 columns in float32.

    Raises:
        UnsupportedError: It is such a type, or no number.
    """
    if not (pa.types.is_float64(kind) or pa.types.is_integer(kind)):
        raise UnsupportedError(f"a number is {kind}: the library computes with that")


def tree_branches(
    facts: ModelFacts, steps: Sequence[Any], final: Any, n_features: int
) -> tuple[Branch, ...] | None:
    """What stands in front of trees; None: nothing.

    Raises:
        UnsupportedError: A step is left to the library.
    """
    inner = getattr(
        final, "_preprocessor", None
    )  # HistGradientBoosting with categories encodes by itself
    if inner is not None and steps:
        raise UnsupportedError("a pipeline in front of boosting that encodes categories by itself")
    steps = [inner] if inner is not None else list(steps)
    if not steps:
        return None
    if gives_sparse(steps):
        raise UnsupportedError("sparse output in front of trees")
    return make_branches(facts, steps, n_features, lambda _start, out: _dense(out))


def make_branches(
    facts: ModelFacts, steps: Sequence[Any], n_features: int, project: ProjectColumn
) -> tuple[Branch, ...]:
    """What happens to which columns in front of a model.

    Raises:
        UnsupportedError: A step is left to the library.
    """
    if not facts.is_named and facts.matrix_dtype == "float32":
        raise UnsupportedError("transformers of float32")
    if len(steps) == 1 and type(steps[0]).__name__ == "ColumnTransformer":
        branches = sorted(_column_branches(steps[0], project), key=lambda branch: branch.start)
    else:
        steps = _steps_of(steps)
        branches = [
            _branch(steps, tuple(range(facts.n_features or len(facts.features))), 0, project)
        ]
    if sum(sum(branch.widths) for branch in branches) != n_features:
        raise UnsupportedError("the transformers' outputs are not all accounted for")
    return tuple(branches)


def gives_sparse(steps: Sequence[Any]) -> bool:
    """Whether the model is given a sparse matrix."""
    last = (
        steps[-1]
        if type(steps[-1]).__name__ == "ColumnTransformer"
        else [None, *_steps_of(steps)][-1]
    )
    return bool(getattr(last, "sparse_output_", getattr(last, "sparse_output", False)))


def _column_branches(transformer: Any, project: ProjectColumn) -> Iterator[Branch]:
    if transformer.transformer_weights:
        raise UnsupportedError("a ColumnTransformer with weights")
    n_columns = transformer.n_features_in_
    names = getattr(transformer, "feature_names_in_", None)
    for name, step, columns in transformer.transformers_:
        place = transformer.output_indices_[name]
        if place.stop == place.start:
            continue
        if names is not None and not isinstance(columns, slice):
            lookup = {str(known): i for i, known in enumerate(names)}
            listed = np.atleast_1d(np.asarray(columns, dtype=object)).tolist()
            columns = [lookup[c] if isinstance(c, str) else c for c in listed]
            columns = np.array(
                columns, bool if all(isinstance(c, bool | np.bool_) for c in columns) else int
            )
        elif names is not None and isinstance(columns.start or columns.stop, str):
            raise UnsupportedError("columns chosen by a slice of names")
        chosen = tuple(np.atleast_1d(np.arange(n_columns)[columns]).tolist())
        yield _branch(_steps_of(step), chosen, place.start, project)


def _steps_of(step: Any) -> list[Any]:
    """Transformers one after another; none where columns pass through."""
    if isinstance(step, list | tuple):
        return [inner for part in step for inner in _steps_of(part)]
    if step is None or (isinstance(step, str) and step == "passthrough"):
        return []
    if type(step).__name__ == "Pipeline":
        return _steps_of([part for _, part in step.steps])
    if type(step).__name__ == "FunctionTransformer" and _only_checks(step.func):
        return []
    return [step]


def _only_checks(function: Any) -> bool:
    """None, or the input check that HistGradientBoosting keeps: a cast to float64 that changes no value."""
    from sklearn.utils.validation import check_array

    return function is None or getattr(function, "func", None) is check_array


def _branch(
    steps: Sequence[Any], columns: tuple[int, ...], start: int, project: ProjectColumn
) -> Branch:
    widths = (1,) * len(columns)
    for i, step in enumerate(steps):
        name = type(step).__name__
        if not type(step).__module__.startswith("sklearn."):
            raise UnsupportedError(f"{name} is not scikit-learn's own")
        if name == "OneHotEncoder" and i == len(steps) - 1:
            widths = tuple(int(width) for width in step._n_features_outs)
        elif name not in ONE_TO_ONE:
            raise UnsupportedError(f"there is no compiled form of {name} in front of a model")
        elif getattr(step, "add_indicator", False) or len(step.get_feature_names_out()) != len(
            columns
        ):
            raise UnsupportedError(f"{name} adds or drops columns")
    branch = Branch(columns, start, widths)
    if any(type(step).__name__ in ENCODERS for step in steps):
        return replace(branch, tables=tuple(_tables(steps, branch, project)))
    return (
        replace(branch, numbers=tuple(_number_steps(steps, j) for j in range(len(columns))))
        if steps
        else branch
    )


def _tables(steps: Sequence[Any], branch: Branch, project: ProjectColumn) -> Iterator[ValueTable]:
    place = next(i for i, step in enumerate(steps) if type(step).__name__ in ENCODERS)
    before, encoder = steps[:place], steps[place]
    if any(type(step).__name__ != "SimpleImputer" for step in before):
        raise UnsupportedError("numbers that are changed before they are encoded")
    names = getattr(steps[0], "feature_names_in_", None)
    # What an imputer takes as missing is a value as well, if it is none that pandas takes as missing.
    filled = [step.missing_values for step in before]
    known = [
        [*categories.tolist(), *_of_kind(filled, categories)] for categories in encoder.categories_
    ]

    def transform(x: Any) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of values that it does not know
            for step in steps:
                x = step.transform(x)
        return x

    for j, width in enumerate(branch.widths):
        first = sum(branch.widths[:j])
        part = functools.partial(_part, project, branch.start, first, width)
        yield learn_table(
            transform, None if names is None else [str(name) for name in names], known, j, part
        )


def _part(
    project: ProjectColumn, start: int, first: int, width: int, out: Any
) -> npt.NDArray[np.float64]:
    return project(start + first, out[:, first : first + width])


def _of_kind(values: Sequence[Any], categories: npt.NDArray[Any]) -> list[Any]:
    """Those that stand in a column of such categories."""
    is_text = categories.dtype.kind in "OU"
    return [value for value in values if isinstance(value, str) == is_text and value is not None]


def _number_steps(steps: Sequence[Any], j: int) -> NumberSteps:
    fill = float("nan")
    found: list[tuple[int, float]] = []
    for step in steps:
        name = type(step).__name__
        if name == "SimpleImputer":
            if found or not (
                isinstance(step.missing_values, float) and np.isnan(step.missing_values)
            ):
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
            raise UnsupportedError(f"there is no compiled form of {name} on numbers")
    return replace(fused(found), fill=fill)


def fused(found: list[tuple[int, float]]) -> NumberSteps:
    """The first subtraction and division, which most models have, apart from the rest."""
    rest = list(found)
    center = rest.pop(0)[1] if rest and rest[0][0] == SUBTRACT else 0.0
    scale = rest.pop(0)[1] if rest and rest[0][0] == DIVIDE else 1.0
    kinds, numbers = (
        np.array([kind for kind, _ in rest], np.int64),
        np.array([x for _, x in rest], np.float64),
    )
    return NumberSteps(float("nan"), center, scale, kinds, numbers)


def _dense(out: Any) -> npt.NDArray[np.float64]:
    return np.array(out.toarray() if hasattr(out, "toarray") else out, np.float64)
