"""Says in words what came true of predictions: for the terminal and Prefect's pages."""

from collections.abc import Mapping

from nightscore.monitoring.performance.estimates.wording import show_metric
from nightscore.schemas.evaluation import EvaluationRecord, Task
from nightscore.schemas.performance import MetricRecord

SHOWN: Mapping[Task, tuple[str, ...]] = {
    "binary": ("roc_auc", "average_precision", "log_loss", "brier", "precision", "recall"),
    "classes": ("accuracy", "log_loss", "precision_macro", "recall_macro", "f1_macro"),
    "regression": ("mae", "rmse", "bias", "r2"),
}
"""The metrics in tables; records have all."""


def show_realised(metric: MetricRecord | None) -> str:
    """A value and its band; without a value, why there is none."""
    if metric is None:
        return ""
    if metric.value is None:
        return metric.note or "not known"
    return show_metric(metric)


def notes_of(record: EvaluationRecord) -> list[str]:
    """What a reader should know: counts that are not zero, then the record's own notes."""
    counts = record.counts
    named = {
        "acted on": counts.acted_on,
        "orphans": counts.orphans,
        "labels of quarantined rows": counts.quarantined,
        "corrected": counts.corrected,
        "null labels": counts.null_labels,
    }
    shown = [f"{n:,} {what}" for what, n in named.items() if n]
    return [*shown, *record.notes, *_notes_of_values(record)]


def _notes_of_values(record: EvaluationRecord) -> list[str]:
    """What is said of the values in tables, such as why they have no band."""
    names: dict[str, list[str]] = {}
    for name in SHOWN[record.task]:
        metric = record.metric(name)
        if metric is not None and metric.value is not None and metric.note:
            names.setdefault(metric.note, []).append(name)

    return [f"{', '.join(some)}: {note}" for note, some in names.items()]
