"""The champion's predictions, which a challenger's table has beside its own on the same rows."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nightscore.monitoring.performance.label_rows import LABEL
from nightscore.monitoring.performance.metrics.paired_losses import (
    compare_binary,
    compare_classes,
    compare_numbers,
)
from nightscore.schemas.comparison import PairedRecord
from nightscore.schemas.contract import CHAMPION_PREFIX, champion_name
from nightscore.schemas.evaluation import Task

if TYPE_CHECKING:
    import polars as pl

OTHER_OUTPUT = "the champion's predictions are of another kind, so losses cannot be compared"


def champion_columns(schema: pa.Schema, needed: Sequence[str], task: Task) -> list[str]:
    """The columns of the champion that losses are compared by. Empty: the table has none of these.

    Args:
        schema: Of the challenger's table.
        needed: Its own columns with what was predicted.
        task: What the challenger predicts.
    """
    wanted = list(map(champion_name, needed))
    names = [name for name in wanted if name in schema.names]

    if task == "binary":
        return names if len(names) == len(wanted) else []

    if f"{CHAMPION_PREFIX}prediction" not in names:
        return []

    if task == "regression":
        is_number = pa.types.is_floating(schema.field(names[0]).type)
        return names if is_number else []

    # Without a probability of each of the same classes, only the predicted classes are compared.
    return names if len(names) == len(wanted) else names[:1]


def compare_with_champion(
    frame: "pl.DataFrame", task: Task, threshold: float, classes: Sequence[str]
) -> PairedRecord:
    """The losses of both models, of the labelled rows that both have scored.

    Args:
        frame: Rows of the challenger with a score and a label, and the champion's columns.
        task: What both predict.
        threshold: Scores above it are decided as positive.
        classes: Names of the classes, of a model of classes.
    """
    import polars as pl

    names = [name for name in frame.columns if name.startswith(CHAMPION_PREFIX)]
    if not names:
        return PairedRecord(notes=(OTHER_OUTPUT,))

    numbers = [name for name in (*names, LABEL) if frame[name].dtype.is_float()]
    rows = frame.drop_nulls(names)
    if numbers:
        rows = rows.filter(pl.all_horizontal(pl.col(numbers).is_finite()))

    label = rows[LABEL]

    if task == "binary":
        scores = rows[f"{CHAMPION_PREFIX}score"].to_numpy(), rows["score"].to_numpy()
        return compare_binary(*scores, label.to_numpy(), threshold)

    if task == "regression":
        scores = rows[f"{CHAMPION_PREFIX}score"].to_numpy(), rows["score"].to_numpy()
        return compare_numbers(*scores, label.to_numpy())

    return _compare_classes(rows, names, classes)


def _compare_classes(
    rows: "pl.DataFrame", names: Sequence[str], classes: Sequence[str]
) -> PairedRecord:
    champion, challenger, label = (
        _codes(rows[name], classes) for name in (f"{CHAMPION_PREFIX}predicted", "predicted", LABEL)
    )

    probabilities = None
    of_classes = [f"probability_{index}" for index in range(len(classes))]
    if classes and f"{CHAMPION_PREFIX}{of_classes[0]}" in names:
        probabilities = (
            rows.select(f"{CHAMPION_PREFIX}{name}" for name in of_classes).to_numpy(),
            rows.select(of_classes).to_numpy(),
        )

    return compare_classes(champion, challenger, label, probabilities)


def _codes(column: "pl.Series", classes: Sequence[str]) -> npt.NDArray[np.int64]:
    """Positions in `classes`; -1: a class that the challenger does not know."""
    import polars as pl

    codes: npt.NDArray[np.int64] = (
        column.cast(pl.String)
        .replace_strict(list(classes), list(range(len(classes))), default=-1, return_dtype=pl.Int64)
        .to_numpy()
    )
    return codes
