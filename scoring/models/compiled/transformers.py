"""Scikit-learn's transformers in front of a model, as branches of columns.

They are read once, when a model is compiled.
"""

import functools
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from nightscore.models.compiled.encode import NO_STEPS, Branch, NumberSteps
from nightscore.models.compiled.unsupported import UnsupportedError
from nightscore.models.compiled.values import EncodedColumns, ValueTable, learn_table
from nightscore.native.constants import ADD, DIVIDE, MULTIPLY, SUBTRACT
from nightscore.schemas.model import ModelFacts

ONE_TO_ONE = (
    "SimpleImputer",
    "OrdinalEncoder",
    "StandardScaler",
    "MinMaxScaler",
    "MaxAbsScaler",
    "RobustScaler",
)
"""Transformers of scikit-learn whose output column j depends on input column j alone."""
ENCODERS = ("OrdinalEncoder", "OneHotEncoder")

ProjectColumn = Callable[[int, Any], npt.NDArray[np.float64]]
"""What is kept of the features that a column becomes, (n_values, width).

It gets the first of these features, and their values, which may be sparse.
"""
Operation = tuple[int, float]
"""What is done to a number (see `native.constants`), and the second operand."""


def tree_branches(
    facts: ModelFacts, steps: Sequence[Any], final: Any, n_features: int
) -> tuple[Branch, ...] | None:
    """What is in front of trees; None: nothing.

    Raises:
        UnsupportedError: A step is left to the library.
    """
    # HistGradientBoosting with categories encodes by itself.
    inner = getattr(final, "_preprocessor", None)
    if inner is not None and steps:
        raise UnsupportedError("there is a pipeline in front of boosting that encodes categories")

    steps = list(steps) if inner is None else [inner]
    if not steps:
        return None
    if gives_sparse(steps):
        raise UnsupportedError("trees get sparse output")

    return make_branches(facts, steps, n_features, lambda _start, out: _dense(out))


def make_branches(
    facts: ModelFacts, steps: Sequence[Any], n_features: int, project: ProjectColumn
) -> tuple[Branch, ...]:
    """What happens to which columns in front of a model.

    Raises:
        UnsupportedError: A step is left to the library.
    """
    if not facts.is_named and facts.matrix_dtype == "float32":
        raise UnsupportedError("its transformers compute in float32")

    if len(steps) == 1 and type(steps[0]).__name__ == "ColumnTransformer":
        branches = sorted(_column_branches(steps[0], project), key=lambda branch: branch.start)
    else:
        columns = tuple(range(facts.n_features or len(facts.features)))
        branches = [_branch(_flatten(steps), columns, 0, project)]

    if sum(sum(branch.widths) for branch in branches) != n_features:
        raise UnsupportedError("some outputs of the transformers are unknown")

    return tuple(branches)


def gives_sparse(steps: Sequence[Any]) -> bool:
    """Whether the model gets a sparse matrix."""
    last = steps[-1]
    if type(last).__name__ != "ColumnTransformer":
        last = [None, *_flatten(steps)][-1]
    return bool(getattr(last, "sparse_output_", getattr(last, "sparse_output", False)))


def _column_branches(transformer: Any, project: ProjectColumn) -> Iterator[Branch]:
    if transformer.transformer_weights:
        raise UnsupportedError("its ColumnTransformer has weights")

    for name, step, columns in transformer.transformers_:
        place = transformer.output_indices_[name]
        if place.stop > place.start:
            chosen = _chosen_columns(transformer, columns)
            yield _branch(_flatten(step), chosen, place.start, project)


def _chosen_columns(transformer: Any, columns: Any) -> tuple[int, ...]:
    """Numbers of the columns that one transformer of several takes."""
    names = getattr(transformer, "feature_names_in_", None)

    is_slice = isinstance(columns, slice)
    if names is not None and is_slice and isinstance(columns.start or columns.stop, str):
        raise UnsupportedError("columns are chosen by a slice of names")

    if names is not None and not is_slice:
        lookup = {str(name): i for i, name in enumerate(names)}
        listed = np.atleast_1d(np.asarray(columns, dtype=object)).tolist()
        numbers = [lookup[one] if isinstance(one, str) else one for one in listed]
        is_mask = all(isinstance(one, bool | np.bool_) for one in numbers)
        columns = np.array(numbers, bool if is_mask else int)

    all_columns = np.arange(transformer.n_features_in_)

    return tuple(np.atleast_1d(all_columns[columns]).tolist())


def _flatten(step: Any) -> list[Any]:
    """Transformers one after another; none where columns pass through."""
    if isinstance(step, list | tuple):
        return [inner for part in step for inner in _flatten(part)]
    if step is None or (isinstance(step, str) and step == "passthrough"):
        return []
    if type(step).__name__ == "Pipeline":
        return _flatten([part for _, part in step.steps])
    if type(step).__name__ == "FunctionTransformer" and _only_checks(step.func):
        return []
    return [step]


def _only_checks(function: Any) -> bool:
    """Whether a function changes no value.

    It is None, or HistGradientBoosting's input check: a cast to float64.
    """
    from sklearn.utils.validation import check_array

    return function is None or getattr(function, "func", None) is check_array


def _branch(
    steps: Sequence[Any], columns: tuple[int, ...], start: int, project: ProjectColumn
) -> Branch:
    widths = (1,) * len(columns)

    for i, step in enumerate(steps):
        is_last = i == len(steps) - 1
        _check_step(step, len(columns), is_last=is_last)
        if type(step).__name__ == "OneHotEncoder":
            widths = tuple(int(width) for width in step._n_features_outs)

    branch = Branch(columns, start, widths)

    if not steps:
        return branch
    if any(type(step).__name__ in ENCODERS for step in steps):
        return replace(branch, tables=tuple(_tables(steps, branch, project)))

    numbers = tuple(_number_steps(steps, j) for j in range(len(columns)))

    return replace(branch, numbers=numbers)


def _check_step(step: Any, n_columns: int, *, is_last: bool) -> None:
    name = type(step).__name__

    if not type(step).__module__.startswith("sklearn."):
        raise UnsupportedError(f"{name} is not scikit-learn's own")
    if name == "OneHotEncoder" and is_last:
        return
    if name not in ONE_TO_ONE:
        raise UnsupportedError(f"there is no compiled form of {name} in front of a model")

    adds_columns = getattr(step, "add_indicator", False)
    if adds_columns or len(step.get_feature_names_out()) != n_columns:
        raise UnsupportedError(f"{name} adds or drops columns")


def _tables(steps: Sequence[Any], branch: Branch, project: ProjectColumn) -> Iterator[ValueTable]:
    place = next(i for i, step in enumerate(steps) if type(step).__name__ in ENCODERS)
    before, encoder = steps[:place], steps[place]
    if any(type(step).__name__ != "SimpleImputer" for step in before):
        raise UnsupportedError("numbers are changed before they are encoded")

    # What an imputer takes for missing is a value too, unless pandas takes it for missing.
    filled = [step.missing_values for step in before]
    known = []
    for categories in encoder.categories_:
        known.append([*categories.tolist(), *_of_kind(filled, categories)])

    names = getattr(steps[0], "feature_names_in_", None)
    columns = EncodedColumns(
        transform=functools.partial(_transform, steps),
        names=None if names is None else list(map(str, names)),
        known=known,
    )

    for j, width in enumerate(branch.widths):
        first = sum(branch.widths[:j])
        part = functools.partial(_part, project, branch.start, first, width)
        yield learn_table(columns, j, part)


def _transform(steps: Sequence[Any], x: Any) -> Any:
    # Encoders warn of values that they do not know.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for step in steps:
            x = step.transform(x)
    return x


def _part(
    project: ProjectColumn, start: int, first: int, width: int, out: Any
) -> npt.NDArray[np.float64]:
    return project(start + first, out[:, first : first + width])


def _of_kind(values: Sequence[Any], categories: npt.NDArray[Any]) -> list[Any]:
    """The values that may be in a column of such categories."""
    is_text = categories.dtype.kind in "OU"
    return [value for value in values if isinstance(value, str) == is_text and value is not None]


def _number_steps(steps: Sequence[Any], j: int) -> NumberSteps:
    """What imputers and scalers do to the j-th column."""
    fill = float("nan")
    operations: list[Operation] = []
    for step in steps:
        if type(step).__name__ != "SimpleImputer":
            operations += _scaling(step, j)
            continue

        missing = step.missing_values
        fills_nan = isinstance(missing, float) and np.isnan(missing)
        if operations or not fills_nan:
            raise UnsupportedError("an imputer fills something other than NaN, or follows a scaler")

        if np.isnan(fill):
            fill = float(step.statistics_[j])

    return replace(fuse(operations), fill=fill)


def _scaling(scaler: Any, j: int) -> list[Operation]:
    """What a scaler does to the j-th column."""
    name = type(scaler).__name__
    if name == "StandardScaler":
        center = scaler.mean_ if scaler.with_mean else None
        return _center_and_scale(center, scaler.scale_ if scaler.with_std else None, j)

    if name == "RobustScaler":
        center = scaler.center_ if scaler.with_centering else None
        return _center_and_scale(center, scaler.scale_ if scaler.with_scaling else None, j)

    if name == "MinMaxScaler" and not scaler.clip:
        return [(MULTIPLY, float(scaler.scale_[j])), (ADD, float(scaler.min_[j]))]
    if name == "MaxAbsScaler":
        return [(DIVIDE, float(scaler.scale_[j]))]

    raise UnsupportedError(f"there is no compiled form of {name} on numbers")


def _center_and_scale(centers: Any, scales: Any, j: int) -> list[Operation]:
    """A subtraction and a division; None: there is none."""
    operations: list[Operation] = []
    if centers is not None:
        operations.append((SUBTRACT, float(centers[j])))
    if scales is not None:
        operations.append((DIVIDE, float(scales[j])))
    return operations


def fuse(operations: Sequence[Operation]) -> NumberSteps:
    """The first subtraction and division, which most models have, and the rest."""
    rest = list(operations)
    center, scale = NO_STEPS.center, NO_STEPS.scale

    if rest and rest[0][0] == SUBTRACT:
        _, center = rest.pop(0)

    if rest and rest[0][0] == DIVIDE:
        _, scale = rest.pop(0)

    return NumberSteps(
        fill=NO_STEPS.fill,
        center=center,
        scale=scale,
        steps=np.array([kind for kind, _ in rest], np.int64),
        numbers=np.array([number for _, number in rest], np.float64),
    )


def _dense(out: Any) -> npt.NDArray[np.float64]:
    return np.array(out.toarray() if hasattr(out, "toarray") else out, np.float64)
