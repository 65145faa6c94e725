"""What came true, in the Prefect UI: the table of partitions, and the message of the run."""

from collections.abc import Sequence

from nightscore.monitoring.performance.realised_wording import SHOWN, notes_of, show_realised
from nightscore.operations.evaluate import Evaluation
from nightscore.schemas.evaluation import EvaluationRecord
from nightscore.schemas.partition import show_value
from nightscore.schemas.text import counted, printable

MAX_PARTITIONS = 100
"""Partitions in the table, whose size the server limits: the latest ones."""


def evaluation_message(done: Evaluation) -> str:
    """How many partitions are evaluated, and what could not be."""
    n_unchanged = len(done.unchanged)
    parts = [f"{counted(len(done.records), 'partition')} evaluated, {n_unchanged} unchanged"]

    if done.problems:
        parts.append(f"{len(done.problems)} could not be evaluated")
    if done.n_elsewhere:
        labels = counted(done.n_elsewhere, "label")
        parts.append(f"{labels} belong to nothing that is published")

    return "; ".join(parts)


def evaluation_rows(records: Sequence[EvaluationRecord]) -> list[dict[str, object]]:
    """The table of evaluations, the latest partition first."""
    names: dict[str, None] = {}
    for record in records:
        names.update(dict.fromkeys(SHOWN[record.task]))

    return [_row(record, list(names)) for record in reversed(records)]


def _row(record: EvaluationRecord, names: Sequence[str]) -> dict[str, object]:
    share = record.counts.share
    return {
        "partition": show_value(record.partition),
        "rows": record.counts.predictions,
        "labelled": "" if share is None else f"{share:.1%}",
        "matured": "yes" if record.is_matured else "no",
        **{name: show_realised(record.metric(name)) for name in names},
        "model": record.model_version,
        "known at (UTC)": f"{record.made_at:%Y-%m-%d %H:%M}",
        "notes": printable("; ".join(notes_of(record))),
    }
