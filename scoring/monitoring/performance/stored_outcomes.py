"""Measures the rows that evaluations have stored, those of several partitions together."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from nightscore.arrow.parsing.files import read_tables
from nightscore.errors import LabelError
from nightscore.monitoring.performance.label_rows import LABEL, READ_ROWS
from nightscore.monitoring.performance.prediction_rows import PREDICTED
from nightscore.monitoring.performance.realised import Measuring
from nightscore.schemas.evaluation import EvaluationRecord
from nightscore.schemas.performance import MetricRecord
from nightscore.storage.store import Store

if TYPE_CHECKING:
    import polars as pl


def measure_stored(store: Store, records: Sequence[EvaluationRecord]) -> list[MetricRecord]:
    """The metrics of all rows of some evaluations, as if they were of one partition.

    Empty if there are no rows.

    Args:
        store: The state folder.
        records: Of one job.

    Raises:
        LabelError: They are of models of different kinds.
        StorageError: Rows are gone.
    """
    if not records:
        return []

    tasks = sorted({record.task for record in records})
    if len(tasks) > 1:
        raise LabelError(
            "Evaluations of models of different kinds cannot be added up.",
            records[0].job,
            found=", ".join(tasks),
            next_step="choose a range in which the model is of one kind",
        )

    measuring = _measuring(records)
    frames = list(_read(store, records, measuring))

    if not frames:
        return []

    import polars as pl

    return measuring.measure(pl.concat(frames))


def _measuring(records: Sequence[EvaluationRecord]) -> Measuring:
    """How the rows are measured together. Classes that differ have no common probabilities."""
    newest = records[-1]
    are_same = len({record.classes for record in records}) == 1
    every_class = {name for record in records for name in record.classes}

    return Measuring(
        task=newest.task,
        threshold=newest.threshold,
        values=newest.values,
        classes=newest.classes if are_same else sorted(every_class),
        has_probabilities=newest.has_probabilities and are_same,
    )


def _read(
    store: Store, records: Sequence[EvaluationRecord], measuring: Measuring
) -> "Iterator[pl.DataFrame]":
    import polars as pl

    columns = [*measuring.score_columns, LABEL]
    texts = [PREDICTED, LABEL] if measuring.task == "classes" else []
    for record in records:
        for table in read_tables(store, record.rows, columns, READ_ROWS):
            frame = pl.DataFrame(pl.from_arrow(table))
            yield frame.with_columns(pl.col(name).cast(pl.String) for name in texts)
