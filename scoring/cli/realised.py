"""Prints what came true of predictions: metrics with their bands, partition by partition."""

import dataclasses
from collections.abc import Mapping, Sequence

from nightscore.cli.show import out, print_json, print_table
from nightscore.operations.metric_history import MetricDay
from nightscore.reports.series import sparkline
from nightscore.schemas.evaluation import EvaluationRecord, Task
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.partition import show_value
from nightscore.schemas.performance import MetricRecord

SHOWN: Mapping[Task, tuple[str, ...]] = {
    "binary": ("roc_auc", "average_precision", "log_loss", "brier", "precision", "recall"),
    "classes": ("accuracy", "log_loss", "precision_macro", "recall_macro", "f1_macro"),
    "regression": ("mae", "rmse", "bias", "r2"),
}
"""The metrics in tables; JSON has all."""


def show_metric(metric: MetricRecord | None) -> str:
    """A value and its band; without a value, why there is none."""
    if metric is None:
        return ""
    if metric.value is None:
        return metric.note or "not known"
    if metric.low is None or metric.high is None:
        return f"{metric.value:.4g}"
    return f"{metric.value:.4g} ({metric.low:.3g} to {metric.high:.3g})"


def print_records(
    spec: ScoringJob, records: Sequence[EvaluationRecord], together: Sequence[MetricRecord]
) -> None:
    """Print evaluations, and the metrics of all their matured rows together."""
    names = SHOWN[records[0].task]
    rows = [_row(record, names) for record in records]

    if together:
        by_name = {metric.name: metric for metric in together}
        cells = {name: show_metric(by_name.get(name)) for name in names}
        rows.append(
            {"partition": "all", "rows": f"{together[0].n:,}", "labelled": "", "notes": ""} | cells
        )

    print_table(
        f"What came true for {spec.name}", ("partition", "rows", "labelled", *names, "notes"), rows
    )


def print_metric(spec: ScoringJob, name: str, days: Sequence[MetricDay], *, as_json: bool) -> None:
    """Print a metric over partitions."""
    if as_json:
        print_json([dataclasses.asdict(day) for day in days])
        return

    columns = ("partition", name, "rows", "labelled", "known at (UTC)", "model", "notes")
    print_table(f"{name} of {spec.name}", columns, [_day_row(name, day) for day in days])
    out.print(f"{name:<22}{sparkline([day.value for day in days])}")


def _row(record: EvaluationRecord, names: Sequence[str]) -> dict[str, str]:
    share = record.counts.share
    return {
        "partition": show_value(record.partition),
        "rows": f"{record.counts.predictions:,}",
        "labelled": "" if share is None else f"{share:.1%}",
        **{name: show_metric(record.metric(name)) for name in names},
        "notes": "; ".join([*_count_notes(record), *record.notes]),
    }


def _count_notes(record: EvaluationRecord) -> list[str]:
    """The counts that a reader should know, if they are not zero."""
    counts = record.counts
    named = {
        "acted on": counts.acted_on,
        "orphans": counts.orphans,
        "labels of quarantined rows": counts.quarantined,
        "corrected": counts.corrected,
        "null labels": counts.null_labels,
    }
    return [f"{n:,} {what}" for what, n in named.items() if n]


def _day_row(name: str, day: MetricDay) -> dict[str, str]:
    metric = MetricRecord(
        name=name, value=day.value, low=day.low, high=day.high, n=day.n, note=day.note
    )
    return {
        "partition": day.partition,
        name: show_metric(metric),
        "rows": f"{day.n:,}",
        "labelled": "" if day.labelled_share is None else f"{day.labelled_share:.1%}",
        "known at (UTC)": f"{day.made_at:%Y-%m-%d %H:%M:%S}",
        "model": day.model_version,
        "notes": "; ".join(day.notes),
    }
