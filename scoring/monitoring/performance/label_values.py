"""What labels mean: which class of the model a label is, or which number."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from nightscore.errors import LabelError
from nightscore.monitoring.performance.label_rows import LABEL
from nightscore.monitoring.performance.prediction_rows import PREDICTED, SCORE
from nightscore.schemas.labels import ClassValue
from nightscore.schemas.text import counted

if TYPE_CHECKING:
    import polars as pl

MAX_NAMED = 10
ROWS_AT_ONCE = 1_000_000
"""Labels that are counted or replaced at once. Either takes several times their memory."""
OPPOSITES = {"0": "1", "1": "0"}
"""Classes whose counterpart is known though it may not occur. True and false are 1 and 0."""


def as_numbers(labels: "pl.DataFrame") -> "pl.DataFrame":
    """Labels of a regression as floating numbers.

    Raises:
        LabelError: They are no numbers.
    """
    import polars as pl

    dtype = labels.schema[LABEL]
    if not (dtype.is_numeric() or dtype == pl.Null):
        raise LabelError(
            "The model predicts numbers, and the labels are none.",
            expected="a column of numbers",
            found=str(dtype),
            next_step="name the column with the true number as labels.column",
        )

    return labels.with_columns(pl.col(LABEL).cast(pl.Float64))


def as_flags(
    labels: "pl.DataFrame", predictions: "pl.DataFrame", positive: ClassValue | None
) -> "pl.DataFrame":
    """Labels of two classes as flags: true is the model's second class.

    Args:
        labels: With their own values.
        predictions: Of the same partition. They say how the model spells its classes.
        positive: The label of the second class, where the labels' classes have other names.

    Raises:
        LabelError: Some labels are neither class; their values and numbers are named.
    """
    import polars as pl

    names = _names_of(labels)
    counts = _count(names)

    if positive is None:
        meanings = _meanings(_classes_of(predictions), counts)
    else:
        meanings = _meanings_for_positive(_class_name(positive), counts)

    _check_known(counts, meanings)

    is_positive = [meanings[name] for name in names["name"]]
    return _replaced(labels, names, pl.Series(is_positive, dtype=pl.Boolean))


def as_classes(
    labels: "pl.DataFrame", predictions: "pl.DataFrame", classes: tuple[str, ...]
) -> "tuple[pl.DataFrame, tuple[str, ...]]":
    """Labels as names of classes, and the names of all classes.

    Without the names from columns of probabilities, any class that is predicted or true is one.

    Raises:
        LabelError: Some labels are no class of the model; their values and numbers are named.
    """
    names = _names_of(labels)
    counts = _count(names)
    named = _replaced(labels, names, names["name"])

    if classes:
        _check_known(counts, dict.fromkeys(classes, True))
        return named, classes

    predicted = predictions[PREDICTED].drop_nulls().unique().to_list()
    return named, tuple(sorted({*predicted, *counts}))


def _names_of(labels: "pl.DataFrame") -> "pl.DataFrame":
    """The labels that occur, the names of their classes, and how often each occurs."""
    import polars as pl

    some_rows = labels.select(LABEL).iter_slices(ROWS_AT_ONCE)
    counts = [some[LABEL].drop_nulls().value_counts(name="n") for some in some_rows]
    no_rows = labels[LABEL].clear().value_counts(name="n")

    together = pl.concat([no_rows, *counts])
    distinct = together.group_by(LABEL).agg(pl.col("n").sum()).sort(LABEL)
    column = pl.col(LABEL)

    if distinct.schema[LABEL] == pl.Boolean:
        column = column.cast(pl.Int64)
    if distinct.schema[LABEL].is_float():
        as_whole = column.cast(pl.Int64, strict=False).cast(pl.String)
        is_whole = column == column.round()
        column = pl.when(is_whole).then(as_whole).otherwise(column.cast(pl.String))

    return distinct.with_columns(column.cast(pl.String).alias("name"))


def _count(names: "pl.DataFrame") -> dict[str, int]:
    """Classes of the labels, and how many labels each has."""
    return dict(zip(names["name"].to_list(), names["n"].to_list(), strict=True))


def _replaced(labels: "pl.DataFrame", names: "pl.DataFrame", values: "pl.Series") -> "pl.DataFrame":
    """The labels with a value in place of each that occurs. Null stays null."""
    import polars as pl

    if labels.schema[LABEL] == pl.Null or not names.height:
        return labels.with_columns(pl.lit(None, values.dtype).alias(LABEL))

    replaced = pl.col(LABEL).replace_strict(names[LABEL], values, return_dtype=values.dtype)
    some_rows = labels.iter_slices(ROWS_AT_ONCE)
    return pl.concat(some.with_columns(replaced) for some in some_rows)


def _classes_of(predictions: "pl.DataFrame") -> dict[str, float]:
    """The predicted classes, each with the mean probability of the second class."""
    import polars as pl

    means = predictions.group_by(PREDICTED).agg(pl.col(SCORE).mean()).drop_nulls(PREDICTED)
    names = means[PREDICTED].cast(pl.String).to_list()
    return dict(zip(names, means[SCORE].to_list(), strict=True))


def _meanings(predicted: Mapping[str, float], counts: Mapping[str, int]) -> dict[str, bool]:
    """Each class, and whether it is the second one, which goes with high probabilities."""
    names = sorted(predicted, key=lambda name: predicted[name] or 0.0)
    if len(names) > 1:
        return {name: name == names[-1] for name in names}
    if not names:
        return dict.fromkeys(counts, False) if len(counts) == 1 else {"0": False, "1": True}

    (name,) = names
    is_second = (predicted[name] or 0.0) >= 0.5
    others = [value for value in counts if value != name]
    opposite = OPPOSITES.get(name, others[0] if len(others) == 1 else name)
    return {opposite: not is_second, name: is_second}


def _meanings_for_positive(positive: str, counts: Mapping[str, int]) -> dict[str, bool]:
    """The positive class, and the only other one that the labels have."""
    others = sorted((name for name in counts if name != positive), key=lambda name: -counts[name])
    opposite = OPPOSITES.get(positive)
    if opposite is None or opposite not in others:
        opposite = others[0] if len(others) == 1 else opposite
    meanings = {positive: True}
    if opposite is not None:
        meanings[opposite] = False
    return meanings


def _class_name(value: ClassValue) -> str:
    if isinstance(value, bool) or (isinstance(value, float) and value.is_integer()):
        return str(int(value))
    return str(value)


def _check_known(counts: Mapping[str, int], known: Mapping[str, bool]) -> None:
    unknown = {value: n for value, n in counts.items() if value not in known}
    if not unknown:
        return

    most = sorted(unknown, key=lambda value: (-unknown[value], value))[:MAX_NAMED]
    raise LabelError(
        f"{counted(sum(unknown.values()), 'label')} of no class that the model knows.",
        expected=", ".join(sorted(known)),
        problems=[f"{value}: {counted(unknown[value], 'label')}" for value in most],
        next_step="correct the labels, or name the label of the positive class as labels.positive",
    )
