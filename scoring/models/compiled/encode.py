"""From Arrow columns, through the transformers in front of a model, to the features of its trees.

Transformers stay the library's own: a column of strings is put through them once for each distinct value, numbers in
one call a batch where they are imputed or scaled, and not at all where they pass through.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from schemas.contract import ModelFacts
from scoring.models.compiled.columns import ColumnReader
from scoring.models.compiled.from_sklearn import UnsupportedError
from scoring.models.compiled.sums import Looked, Numbers
from scoring.models.features import FeatureBuilder, is_numeric, matrix_dtype, numeric_values

ONE_TO_ONE = ("SimpleImputer", "OrdinalEncoder", "StandardScaler", "MinMaxScaler", "MaxAbsScaler", "RobustScaler")
"""Of scikit-learn: output column j depends on input column j alone."""
MAX_KNOWN = 100_000
"""Values of a column that are remembered, 10 to 20 MB; with more of them they are learnt anew."""
MANY = 4_096
"""So many distinct values among fewer than twice as many rows are left to the library: each would be learnt."""
ENCODERS = ("OrdinalEncoder", "OneHotEncoder")

Project = Callable[["Branch", int, Any], npt.NDArray[np.float64]]


@dataclass(slots=True)
class Branch:
    """Transformers, the columns of the input that they take, and where their output stands among the features."""

    steps: tuple[Any, ...]
    """None: the columns pass through."""
    columns: tuple[int, ...]
    start: int
    widths: tuple[int, ...]
    """Output columns of each input column."""
    known: dict[int, dict[object, int]] = field(default_factory=dict)
    """By input column: the values that were put through the transformers, with their place in `encoded`."""
    encoded: dict[int, npt.NDArray[np.float64]] = field(default_factory=dict)
    """By input column: (values, width)."""

    @property
    def is_encoder(self) -> bool:
        return any(type(step).__name__ in ENCODERS for step in self.steps)


class Encoder:
    """The features of the trees, from a table in the model's order."""

    def __init__(self, facts: ModelFacts, branches: Sequence[Branch] | None, kernels: ModuleType) -> None:
        """Take the columns as they are if there are no branches."""
        self._facts, self._branches = facts, branches
        self._lookup = Lookup(facts)
        self._reader = ColumnReader(kernels)

    def encode(self, table: pa.Table) -> Iterator[tuple[int, Iterator[Numbers | Looked]]]:
        """Features, by number, and the chunks of their values: each is gone when the next one is asked for.

        Raises:
            UnsupportedError: A column is of a type that is left to the library.
            Exception: What a transformer raises for values that it refuses.
        """
        if self._branches is None:
            dtype = matrix_dtype(self._facts, table.schema)
            yield from ((i, self._values(column, dtype)) for i, column in enumerate(table.columns))
            return
        for branch in self._branches:
            yield from enumerate(self._branch(branch, table), branch.start)

    def _branch(self, branch: Branch, table: pa.Table) -> Iterator[Iterator[Numbers | Looked]]:
        if not branch.steps:
            for column in branch.columns:
                yield self._values(table.column(column), None)
        elif branch.is_encoder:
            for j, width in enumerate(branch.widths):
                parts = self._lookup.find(branch, j, table)
                for i in range(width):
                    yield (Looked(indices, known[:, i]) for indices, known in parts)
        else:
            part = table.select(list(branch.columns))
            if not all(is_numeric(kind) for kind in part.schema.types):
                raise UnsupportedError("a column that is imputed or scaled is no number")
            out = np.asarray(transformed(branch, self._lookup.builder.build(part)))
            for i in range(out.shape[1]):
                yield iter([Numbers(np.ascontiguousarray(out[:, i]))])

    def _values(self, column: pa.ChunkedArray, dtype: np.dtype[Any] | None) -> Iterator[Numbers | Looked]:
        if not is_numeric(column.type):
            raise UnsupportedError(f"a column is {column.type} and not encoded")
        for chunk in column.chunks:
            values = self._reader.read(chunk)
            yield Numbers(values if dtype is None else values.astype(dtype, copy=False))


class Lookup:
    """Puts each distinct value of an encoded column through the transformers once, and keeps what they made of it."""

    def __init__(
        self, facts: ModelFacts, project: Callable[[Branch, int, Any], npt.NDArray[np.float64]] | None = None
    ):
        """Keep what `project` makes of the output columns of a branch's column (the matrix may be sparse)."""
        self.builder = FeatureBuilder(facts)
        self._project = project or (lambda _branch, _column, out: _dense(out))

    def find(
        self, branch: Branch, j: int, table: pa.Table
    ) -> list[tuple[npt.NDArray[np.int32], npt.NDArray[np.float64]]]:
        """By chunk of a branch's column: each row's place among the distinct values, and what became of these."""
        parts: list[tuple[npt.NDArray[np.int32], list[int]]] = []
        known = branch.known.setdefault(j, {})
        if len(known) > MAX_KNOWN:
            known.clear()
            del branch.encoded[j]
        for chunk in table.column(branch.columns[j]).chunks:
            indices, values = _distinct(chunk)
            if len(values) > max(MANY, len(indices) // 2) and any(value not in known for value in values):
                raise UnsupportedError("hardly a value occurs twice")
            if fresh := [value for value in dict.fromkeys(values) if value not in known]:
                self._learn(branch, j, table, fresh)
            parts.append((indices, [known[value] for value in values]))
        return [(indices, branch.encoded[j][places]) for indices, places in parts if len(places)]

    def _learn(self, branch: Branch, j: int, table: pa.Table, fresh: list[Any]) -> None:
        """Put values of a column through the transformers, beside the first row's values of the others."""
        part = table.select(list(branch.columns)).take(pa.array([0] * len(fresh)))
        name = part.schema.field(j)
        kind = name.type.value_type if pa.types.is_dictionary(name.type) else name.type
        values = pa.array([np.nan if value is _NAN else value for value in fresh], kind, from_pandas=False)
        part = part.set_column(j, pa.field(name.name, kind), values)
        out = transformed(branch, self.builder.build(part))
        first = sum(branch.widths[:j])
        rows = self._project(branch, j, out[:, first : first + branch.widths[j]])
        before = branch.encoded.get(j)
        branch.encoded[j] = rows if before is None else np.concatenate([before, rows])
        known = branch.known[j]
        start = len(known)
        known.update((value, start + i) for i, value in enumerate(fresh))


def make_encoder(
    facts: ModelFacts, steps: Sequence[Any], final: Any, n_features: int, kernels: ModuleType
) -> Encoder:
    """The encoder of a pipeline's steps.

    Raises:
        UnsupportedError: One of them is left to the library.
    """
    steps = list(steps)
    inner = getattr(final, "_preprocessor", None)  # HistGradientBoosting with categories encodes by itself
    if inner is not None and steps:
        raise UnsupportedError("a pipeline in front of boosting that encodes categories by itself")
    if inner is not None:
        steps = [inner]
    if not steps:
        return Encoder(facts, None, kernels)
    branches = make_branches(facts, steps, n_features)
    if gives_sparse(steps):
        raise UnsupportedError("sparse output in front of trees")
    return Encoder(facts, branches, kernels)


def make_branches(facts: ModelFacts, steps: Sequence[Any], n_features: int) -> list[Branch]:
    """What happens to which columns in front of a model.

    Raises:
        UnsupportedError: A step is left to the library.
    """
    if len(steps) == 1 and type(steps[0]).__name__ == "ColumnTransformer":
        branches = sorted(_column_branches(steps[0]), key=lambda branch: branch.start)
    else:
        steps = _steps_of(steps)
        branches = [_branch(steps, tuple(range(facts.n_features or len(facts.features))), 0)]
    if sum(sum(branch.widths) for branch in branches) != n_features:
        raise UnsupportedError("the transformers' outputs are not all accounted for")
    return branches


def gives_sparse(steps: Sequence[Any]) -> bool:
    """Whether the model is given a sparse matrix."""
    last = steps[-1] if type(steps[-1]).__name__ == "ColumnTransformer" else [None, *_steps_of(steps)][-1]
    return bool(getattr(last, "sparse_output_", getattr(last, "sparse_output", False)))


def _column_branches(transformer: Any) -> Iterator[Branch]:
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
            columns = np.array(columns, bool if all(isinstance(c, bool | np.bool_) for c in columns) else int)
        elif names is not None and isinstance(columns.start or columns.stop, str):
            raise UnsupportedError("columns chosen by a slice of names")
        chosen = tuple(np.atleast_1d(np.arange(n_columns)[columns]).tolist())
        yield _branch(_steps_of(step), chosen, place.start)


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


def _branch(steps: Sequence[Any], columns: tuple[int, ...], start: int) -> Branch:
    widths = (1,) * len(columns)
    for i, step in enumerate(steps):
        name = type(step).__name__
        if not type(step).__module__.startswith("sklearn."):
            raise UnsupportedError(f"{name} is not scikit-learn's own")
        if name == "OneHotEncoder" and i == len(steps) - 1:
            widths = tuple(int(width) for width in step._n_features_outs)
        elif name not in ONE_TO_ONE:
            raise UnsupportedError(f"there is no compiled form of {name} in front of a model")
        elif getattr(step, "add_indicator", False) or len(step.get_feature_names_out()) != len(columns):
            raise UnsupportedError(f"{name} adds or drops columns")
    return Branch(tuple(steps), columns, start, widths)


class _Nan:
    """NaN as a key: it is not equal to itself."""


_NAN = _Nan()


def _distinct(chunk: pa.Array) -> tuple[npt.NDArray[np.int32], list[Any]]:
    """For each row the place of its value among the distinct ones; null is one of them."""
    coded = chunk if pa.types.is_dictionary(chunk.type) else chunk.dictionary_encode()
    values = coded.dictionary.to_pylist()
    indices = coded.indices
    if indices.null_count:
        indices = pc.fill_null(indices, len(values))
        values.append(None)
    if pa.types.is_floating(coded.dictionary.type):
        values = [_NAN if value != value else value for value in values]
    return numeric_values(indices).astype(np.int32, copy=False), values


def transformed(branch: Branch, x: Any) -> Any:
    """What the branch's transformers make of its columns; may be sparse."""
    for step in branch.steps:
        x = step.transform(x)
    return x


def _dense(out: Any) -> npt.NDArray[np.float64]:
    return np.array(out.toarray() if hasattr(out, "toarray") else out, np.float64)
