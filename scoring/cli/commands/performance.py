"""`nightscore performance`."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nightscore.cli.resolve import load, model_cache, read_range, read_value
from nightscore.cli.show import counted, out, print_json, print_table, show_count
from nightscore.errors import InvalidJobError
from nightscore.inputs.values import check_value
from nightscore.monitoring.performance.estimates.wording import (
    CONCEPT_DRIFT,
    LABELS,
    metric_of,
    show_band,
    show_metric,
    show_number,
)
from nightscore.operations.performance import (
    ModelPerformance,
    PartitionPerformance,
    Performance,
    estimate_performance,
    recorded_between,
)
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.performance import MetricRecord

OVER_TIME = ("roc_auc", "log_loss", "accuracy", "f1", "value", "rmse", "mae", "bias")
"""Metrics that are shown for several partitions. A partition alone, and --json, show all."""
ALL_METRICS = ("metric", "estimated", "95 % band", "came true", "baseline", "note")


def performance(
    job: str,
    partition: str | None,
    between: tuple[str | None, str | None],
    last: int,
    as_json: bool,
    cache_dir: Path | None,
) -> None:
    """Print the estimated performance of one partition, or of several."""
    spec, cache = load(job), model_cache(cache_dir)

    values = _values(spec, partition, between, last)
    found = estimate_performance(spec, values, cache)

    if as_json:
        print_json(_document(found))
    elif partition:
        _print_one(spec, found)
    else:
        _print_several(spec, found)


def _values(
    spec: ScoringJob, partition: str | None, between: tuple[str | None, str | None], last: int
) -> list[str]:
    if partition is None:
        first_value, last_value = read_range(spec, *between, "performance")
        return recorded_between(spec, first_value, last_value, last)

    if any(between):
        raise InvalidJobError(
            "A partition and a range were given.",
            expected="a partition, or a range with --from and --to",
            found=f"{partition}, and a range",
            next_step=spec.command("performance", partition),
        )

    value = read_value(spec, partition)
    check_value(spec, value, "performance")
    return [] if value is None else [value]


def _document(found: Performance) -> dict[str, Any]:
    def as_document(record: Any) -> dict[str, Any]:
        fields = asdict(record)
        for name in ("estimated", "baseline", "realised"):
            if name in fields:
                metrics: Sequence[MetricRecord] = fields[name]
                fields[name] = [json.loads(metric.model_dump_json()) for metric in metrics]
        return fields

    return {
        "partitions": [as_document(partition) for partition in found.partitions],
        "models": [as_document(model) for model in found.models],
        "track_records": [asdict(record) for record in found.track_records],
        "note": CONCEPT_DRIFT,
    }


def _print_one(spec: ScoringJob, found: Performance) -> None:
    (partition,) = found.partitions
    (model,) = found.models
    baseline = {metric.name: metric for metric in model.baseline}

    rows = []

    for metric in partition.estimated:
        rows.append(
            {
                "metric": LABELS[metric.name],
                "estimated": show_number(metric.value),
                "95 % band": show_band(metric),
                "came true": _came_true(partition, metric.name),
                "baseline": show_number(baseline[metric.name].value)
                if metric.name in baseline
                else "",
                "note": metric.note,
            }
        )

    print_table(f"Estimated performance of {spec.name}, {partition.partition}", ALL_METRICS, rows)
    out.print(f"{counted(partition.n_rows, 'row')} scored with {partition.model}")
    _print_coverage(partition)
    out.print(CONCEPT_DRIFT)


def _print_several(spec: ScoringJob, found: Performance) -> None:
    shown = [name for name in OVER_TIME if _is_known(name, found)]
    labels = [LABELS[name] for name in shown]

    rows = []
    for partition in found.partitions:
        cells = _cells(partition.estimated, shown)

        for name in shown:
            realised = _came_true(partition, name)
            if realised:
                cells[LABELS[name]] += f", came true {realised}"

        note = partition.note or _notes(partition.estimated, shown)
        count = show_count(partition.n_rows) if partition.estimated else ""
        rows.append({"partition": partition.partition, "rows": count, **cells, "note": note})

    for model in found.models:
        rows += _model_rows(model, shown)

    columns = ("partition", "rows", *labels, "note")
    print_table(f"Estimated performance of {spec.name}, with 95 % bands", columns, rows)

    for record in found.track_records:
        if record.metric in shown:
            out.print(
                f"{LABELS[record.metric]}: {record.n_within} of "
                f"{counted(record.n_partitions, 'matured partition')} came true within the band; "
                f"estimates were off by {show_number(record.mean_absolute_error)} on average"
            )

    out.print(CONCEPT_DRIFT)


def _came_true(partition: PartitionPerformance, name: str) -> str:
    """The realised value; empty if it is not known."""
    value = _value(partition.realised, name)
    if value is None:
        return ""
    return show_number(value) if partition.is_matured else f"{show_number(value)} so far"


def _print_coverage(partition: PartitionPerformance) -> None:
    if partition.labelled_share is None:
        return

    known = f"{partition.labelled_share:.1%} of the labels are known"
    if not partition.is_matured:
        known += ", and more are to come: early labels may be a selection"
    out.print(known)


def _model_rows(model: ModelPerformance, shown: Sequence[str]) -> list[dict[str, Any]]:
    together = {
        "partition": f"all {model.n_partitions}",
        "rows": show_count(model.n_rows),
        **_cells(model.estimated, shown),
        "note": model.model,
    }

    n_labelled = model.baseline[0].n
    baseline = {
        "partition": "baseline",
        "rows": show_count(n_labelled),
        **_cells(model.baseline, shown),
        "note": f"came true in the baseline of {model.model}",
    }

    return [together, baseline]


def _cells(metrics: Sequence[MetricRecord], shown: Sequence[str]) -> dict[str, str]:
    cells = {}
    for name in shown:
        metric = metric_of(metrics, name)
        cells[LABELS[name]] = "" if metric is None else show_metric(metric)
    return cells


def _notes(metrics: Sequence[MetricRecord], shown: Sequence[str]) -> str:
    notes = [metric.note for metric in metrics if metric.name in shown and metric.note]
    return "; ".join(dict.fromkeys(notes))


def _value(metrics: Sequence[MetricRecord], name: str) -> float | None:
    metric = metric_of(metrics, name)
    return None if metric is None else metric.value


def _is_known(name: str, found: Performance) -> bool:
    return any(metric_of(model.estimated, name) is not None for model in found.models)
