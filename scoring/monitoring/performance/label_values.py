"""What labels mean: which class of the model a label is, or which number."""

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from nightscore.errors import LabelError
from nightscore.monitoring.performance.label_rows import LABEL
from nightscore.monitoring.performance.prediction_rows import PREDICTED, SCORE, class_text
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
    labels: "pl.DataFrame",
    predictions: "pl.DataFrame",
    positive: ClassValue | None,
    classes: Sequence[ClassValue] = (),
) -> "pl.DataFrame":
    """Labels of two classes as flags: true is the model's second class.

    Args:
        labels: With their own values.
        predictions: Of the same partition. Without `classes` they say how the model spells them.
        positive: The label of the second class, where the labels' classes have other names.
        classes: The model's, in the order of its probabilities. Empty: the run's record has none.

    Raises:
        LabelError: Some labels are neither class; their values and numbers are named.
    """
    import polars as pl

    names = _names_of(labels)
    counts = _count(names)

    if positive is not None:
        meanings = _meanings_for_positive(class_name(positive), counts)
    elif len(classes) == 2:
        first, second = map(class_name, classes)
        meanings = {first: False, second: True}
    else:
        meanings = _meanings_of_predictions(_classes_of(predictions), counts)

    _check_known(counts, meanings)

    is_positive = [meanings[name] for name in names["name"]]
    return _replaced(labels, names, pl.Series(is_positive, dtype=pl.Boolean))


def as_classes(
    labels: "pl.DataFrame",
    predictions: "pl.DataFrame",
    classes: tuple[str, ...],
    positive: ClassValue | None = None,
) -> "tuple[pl.DataFrame, tuple[str, ...]]":
    """Labels as names of classes, and the names of all classes.

    Args:
        labels: With their own values.
        predictions: Of the same partition.
        classes: Names of the model's classes. Empty: any class that is predicted or true is one.
        positive: The label of the second class, if the model has two and the labels' have other
            names.

    Raises:
        LabelError: Some labels are no class of the model; their values and numbers are named.
    """
    import polars as pl

    names = _names_of(labels)
    counts = _count(names)

    if positive is not None and len(classes) == 2:
        meanings = _meanings_for_positive(class_name(positive), counts)
        _check_known(counts, meanings)

        of_model = [classes[meanings[name]] for name in names["name"]]
        return _replaced(labels, names, pl.Series(of_model, dtype=pl.String)), classes

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
    return distinct.with_columns(class_text(pl.col(LABEL), distinct.schema[LABEL]).alias("name"))


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


def _classes_of(predictions: "pl.DataFrame") -> dict[str, float | None]:
    """The predicted classes, each with the mean probability of the second one, if any is known."""
    import polars as pl

    known = pl.col(SCORE).fill_nan(None)
    means = predictions.group_by(PREDICTED).agg(known.mean()).drop_nulls(PREDICTED)
    names = means[PREDICTED].cast(pl.String).to_list()
    return dict(zip(names, means[SCORE].to_list(), strict=True))


def _meanings_of_predictions(
    predicted: Mapping[str, float | None], counts: Mapping[str, int]
) -> dict[str, bool]:
    """Each class, and whether it is the second one.

    Of two predicted classes it is the one with the higher probabilities. If there is only one, the
    probabilities do not tell: whoever chose a threshold of 0.1 predicts true at 0.2. Libraries
    sort classes, so the second one is the greater of both.
    """
    if not predicted:
        return dict.fromkeys(counts, False) if len(counts) == 1 else {"0": False, "1": True}

    means = {name: mean for name, mean in predicted.items() if mean is not None}
    if len(means) > 1:
        second = max(means, key=lambda name: means[name])
        return {name: name == second for name in predicted}

    names = _both(predicted, counts)
    if len(names) == 1:
        return {name: (means.get(name) or 0.0) >= 0.5 for name in names}

    second = max(names, key=_place_of)
    return {name: name == second for name in names}


def _both(predicted: Collection[str], counts: Collection[str]) -> set[str]:
    """The predicted classes; if it is only one, with the other one, if that can be told."""
    if len(predicted) > 1:
        return set(predicted)

    (name,) = predicted
    others = [value for value in counts if value != name]
    opposite = OPPOSITES.get(name, others[0] if len(others) == 1 else name)
    return {name, opposite}


def _place_of(name: str) -> tuple[float, str]:
    """Sorts names of classes as libraries do: numbers by their size, texts by their letters."""
    try:
        return float(name), name
    except ValueError:
        return 0.0, name


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


def class_name(value: ClassValue) -> str:
    """The name of a class, as `class_text` gives it."""
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
