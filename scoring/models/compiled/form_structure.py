"""Whether a compiled form fits together: checked when it is made, and when it is read from a file.

The kernels follow its numbers without checks. A form without problems makes them read and write
within their buffers, and come to an end, whatever the rows are.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from nightscore.models.compiled.booster_values import FeatureRules
from nightscore.models.compiled.encode import Branch, NumberSteps
from nightscore.models.compiled.forest import FlatForest
from nightscore.models.compiled.forest_structure import flat_problems
from nightscore.models.compiled.linear import LinearForm
from nightscore.models.compiled.links import Link
from nightscore.models.compiled.trees import TreesForm
from nightscore.models.compiled.values import REFUSED, ValueTable
from nightscore.native.constants import ADD

FUNCTIONS = ("identity", "exp", "expit", "half_expit", "softmax", "one_vs_rest", "mean", "none")
BOOSTER_FUNCTIONS = (
    "none", "identity", "exp", "sigmoid", "softmax", "square", "log1p_exp", "hinge", "argmax",
)  # fmt: skip


def form_problems(form: Any, n_columns: int = 0) -> list[str]:
    """What is wrong with a compiled form, of any content; empty: it can be used.

    Args:
        form: A form that was made, or read.
        n_columns: Columns of the tables that it will get; 0: not known.
    """
    try:
        return [*_problems(form), *_column_problems(form, n_columns)]
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError) as error:
        return [f"{type(error).__name__}: {str(error)[:200]}"]


def _problems(form: Any) -> Iterator[str]:
    if isinstance(form, TreesForm):
        yield from _trees_problems(form)
    elif isinstance(form, LinearForm):
        yield from _linear_problems(form)
    else:
        yield f"expected a form of trees or of a linear model, found {type(form).__name__}"


def _column_problems(form: Any, n_columns: int) -> Iterator[str]:
    """Problems of columns that the tables do not have."""
    for i, branch in enumerate(form.branches or ()):
        outside = [column for column in branch.columns if n_columns and column >= n_columns]
        if outside:
            yield f"branch {i}: column {outside[0]}, expected 0 to {n_columns - 1}"


def _trees_problems(form: TreesForm) -> Iterator[str]:
    if not isinstance(form.forest, FlatForest):
        yield f"forest: expected trees, found {type(form.forest).__name__}"
        return

    problems = flat_problems(form.forest)
    yield from problems

    if problems:
        return

    n_features = form.forest.n_features
    yield from _link_problems(form.link, len(form.forest.base))

    if form.branches is not None:
        yield from _branch_problems(form.branches, n_features, width=None)
    if form.rules is not None:
        yield from _rule_problems(form.rules, form.forest)


def _linear_problems(form: LinearForm) -> Iterator[str]:
    weights, intercept = form.weights, form.intercept
    if not _is_array(weights, np.float64, 2) or not _is_array(intercept, np.float64, 1):
        yield "weights, intercept: expected arrays of doubles"
        return
    if not len(weights) or len(intercept) != len(weights):
        yield f"intercept: {len(intercept)} numbers, expected {len(weights)}, one for each output"
        return
    yield from _link_problems(form.link, len(weights))
    yield from _branch_problems(form.branches, weights.shape[1], width=len(weights))


def _link_problems(link: Any, n_sums: int) -> Iterator[str]:
    if not isinstance(link, Link):
        yield f"link: expected a link, found {type(link).__name__}"
        return

    if link.function not in FUNCTIONS or link.of_booster not in BOOSTER_FUNCTIONS:
        yield f"link: expected a known function, found {link.function!r} and {link.of_booster!r}"
    if link.library not in ("scikit-learn", "lightgbm", "xgboost"):
        yield f"link: expected a known library, found {link.library!r}"
    if not _is_count(link.divisor) or not isinstance(link.scale, int | float):
        yield "link: expected numbers for divisor and scale"

    if link.classes is not None:
        yield from _class_problems(link, n_sums)


def _class_problems(link: Link, n_sums: int) -> Iterator[str]:
    classes: Any = link.classes
    n_classes = max(n_sums, 2)
    if not isinstance(classes, np.ndarray) or classes.ndim != 1:
        yield "link.classes: expected a list"
        return

    is_constant = link.function == "mean" and len(classes) == n_sums == 1
    if len(classes) != n_classes and not is_constant:
        yield f"link.classes: {len(classes)} classes, expected {n_classes}, of {n_sums} sums"


def _branch_problems(branches: Any, n_features: int, width: int | None) -> Iterator[str]:
    """Problems of the features that columns become.

    Args:
        branches: The form's branches.
        n_features: Features of the model.
        width: Numbers that a value becomes, for linear models; None: one for each feature.
    """
    n_uses = np.zeros(n_features, np.int64)

    for i, branch in enumerate(branches):
        problem = _place_problem(branch, n_features)
        if problem:
            yield f"branch {i}: {problem}"
            continue

        n_uses[branch.start : branch.start + sum(branch.widths)] += 1

        for problem in _part_problems(branch, width):
            yield f"branch {i}{problem}"

    if (n_uses != 1).any():
        feature = int(np.argmax(n_uses != 1))
        yield (
            f"branches: expected each of {n_features} features once, found feature {feature} "
            f"{int(n_uses[feature])} times"
        )


def _place_problem(branch: Any, n_features: int) -> str:
    """What is wrong with a branch's columns and features; empty: nothing."""
    if not isinstance(branch, Branch):
        return f"expected a branch, found {type(branch).__name__}"

    counts = (*branch.widths, *branch.columns, branch.start)
    if len(branch.widths) != len(branch.columns) or not all(map(_is_count, counts)):
        return "expected a width for each column, and whole numbers"

    end = branch.start + sum(branch.widths)
    if end > n_features:
        return f"features up to {end}, expected at most {n_features}"

    return ""


def _part_problems(branch: Branch, width: int | None) -> Iterator[str]:
    """Problems of a branch's tables and numbers, each with a colon, or with its place, in front."""
    n_columns = len(branch.columns)

    for name, parts in (("tables", branch.tables), ("numbers", branch.numbers)):
        if len(parts) not in (0, n_columns):
            yield f": {len(parts)} {name}, expected {n_columns}, one for each column"

    if not branch.tables and any(one != 1 for one in branch.widths):
        yield ": expected one feature for each column of numbers"

    for j, table in enumerate(branch.tables[:n_columns]):
        yield from _table_problems(f", table {j}", table, width or branch.widths[j])

    for j, steps in enumerate(branch.numbers):
        yield from _step_problems(f", numbers {j}", steps)


def _table_problems(where: str, table: Any, width: int) -> Iterator[str]:
    if not isinstance(table, ValueTable) or not _is_array(table.rows, np.float64, 2):
        yield f"{where}: expected rows of doubles"
        return

    n_rows = len(table.rows)

    if table.rows.shape[1] != width:
        yield f"{where}: rows of {table.rows.shape[1]} numbers, expected {width}"
    if len(table.values) > n_rows:
        yield f"{where}: {len(table.values)} values, expected at most {n_rows}, the rows there are"

    for name, place in (("missing", table.missing), ("other", table.other)):
        if not isinstance(place, int) or not (place == REFUSED or 0 <= place < n_rows):
            yield f"{where}: {name} {place!r}, expected a row from 0 to {n_rows - 1}, or {REFUSED}"


def _step_problems(where: str, steps: Any) -> Iterator[str]:
    if not isinstance(steps, NumberSteps):
        yield f"{where}: expected steps, found {type(steps).__name__}"
        return

    numbers = (steps.fill, steps.center, steps.scale)
    if not all(isinstance(number, int | float) for number in numbers):
        yield f"{where}: expected numbers to fill and to scale with"

    if not _is_array(steps.steps, np.int64, 1) or not _is_array(steps.numbers, np.float64, 1):
        yield f"{where}: expected arrays of steps and of numbers"
    elif len(steps.steps) != len(steps.numbers) or ((steps.steps < 0) | (steps.steps > ADD)).any():
        yield f"{where}: expected a number for each step, and steps from 0 to {ADD}"


def _rule_problems(rules: Any, forest: FlatForest) -> Iterator[str]:
    if not isinstance(rules, FeatureRules) or rules.library not in ("lightgbm", "xgboost"):
        yield "rules: expected those of LightGBM or XGBoost"
        return

    n_features = forest.n_features

    for name, features in (("used", rules.used), ("zero_missing", rules.zero_missing)):
        if not all(_is_count(feature) and feature < n_features for feature in features):
            yield f"rules.{name}: expected features from 0 to {n_features - 1}"

    if not isinstance(rules.n_codes, Mapping) or dict(rules.n_codes) != dict(forest.n_categories):
        yield "rules.n_codes: expected the codes that the trees know"


def _is_array(value: Any, dtype: npt.DTypeLike, n_dimensions: int) -> bool:
    return isinstance(value, np.ndarray) and value.dtype == dtype and value.ndim == n_dimensions


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
