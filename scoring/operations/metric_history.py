"""Tells what evaluations have found: a metric over partitions, or of several together."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from nightscore.ledger.evaluation_files import newest_evaluations
from nightscore.ledger.workspace import Workspace
from nightscore.schemas.evaluation import EvaluationRecord
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.partition import order_of, show_value
from nightscore.schemas.performance import MetricRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricDay:
    """A metric of one partition, as it was known at a time."""

    partition: str
    value: float | None
    low: float | None
    high: float | None
    n: int
    """Rows that it is of."""
    note: str
    labelled_share: float | None
    is_matured: bool
    made_at: datetime
    run_id: str
    model_version: str
    notes: tuple[str, ...]


def metric_history(
    job: ScoringJob, name: str, as_known_at: datetime | None = None
) -> list[MetricDay]:
    """A metric over partitions, each from its newest evaluation; empty if none has the metric.

    Args:
        job: Whose evaluations.
        name: Of the metric, such as `roc_auc`.
        as_known_at: Take the newest evaluation that was made before; None: of all.
    """
    store = Workspace(job).state
    days: list[tuple[str | None, MetricDay]] = []

    for record in newest_evaluations(store, as_known_at):
        metric = record.metric(name)
        if metric is None:
            continue

        day = MetricDay(
            partition=show_value(record.partition),
            value=metric.value,
            low=metric.low,
            high=metric.high,
            n=metric.n,
            note=metric.note,
            labelled_share=record.counts.share,
            is_matured=record.is_matured,
            made_at=record.made_at,
            run_id=record.run_id,
            model_version=record.model_version,
            notes=record.notes,
        )
        days.append((record.partition, day))

    days.sort(key=lambda pair: order_of(pair[0], job.input.partition_format))
    return [day for _, day in days]


def measure_together(job: ScoringJob, records: Sequence[EvaluationRecord]) -> list[MetricRecord]:
    """The metrics of the rows of several evaluations together.

    Early ones and selections by score are left out.

    They equal those of the rows joined at once, whichever days are added up.
    """
    from nightscore.monitoring.performance.stored_outcomes import measure_stored

    complete = [record for record in records if record.is_complete]
    return measure_stored(Workspace(job).state, complete)
