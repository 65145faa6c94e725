"""`nightscore performance`."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nightscore.cli.resolve import load_any, model_cache, read_range, read_value
from nightscore.cli.show import counted, err, out, print_json, print_table, show_count
from nightscore.cli.standing_text import print_standings, standing_documents
from nightscore.errors import InvalidJobError
from nightscore.inputs.values import check_value
from nightscore.monitoring.performance.estimates.estimation import ExpectedConfusion
from nightscore.monitoring.performance.estimates.wording import (
    CONCEPT_DRIFT,
    LABELS,
    OVER_TIME,
    metric_of,
    show_band,
    show_metric,
    show_share,
    show_value,
)
from nightscore.monitoring.performance.track_record import (
    PartitionPerformance,
    TrackRecord,
    is_outside,
    show_coverage,
    show_record,
)
from nightscore.operations.performance import (
    ModelPerformance,
    Performance,
    estimate_performance,
    performance_known_at,
    recorded_between,
)
from nightscore.schemas.base_record import Stored
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.performance import MetricRecord
from nightscore.schemas.text import printable

ALL_METRICS = ("metric", "estimated", "95 % band", "came true", "baseline", "note")
ADJUSTED = "adjusted for covariate shift"
MOST_SHOWN_CLASSES = 12
"""Of a confusion. A table of more is wider than a terminal."""


def performance(
    job: str,
    partition: str | None,
    between: tuple[str | None, str | None],
    last: int,
    as_known_at: datetime | None,
    output: Path | None,
    as_json: bool,
    cache_dir: Path | None,
) -> None:
    """Print the estimated performance of one partition, or of several, and draw it on request."""
    spec, cache = load_any(job), model_cache(cache_dir)

    values = _values(spec, partition, between, last)
    if as_known_at is None:
        found = estimate_performance(spec, values, cache)
    else:
        found = performance_known_at(spec, values, as_known_at.replace(tzinfo=UTC))

    # Where decisions stood at another time is in the release log, if they were made.
    is_now = as_known_at is None

    if output:
        write_page(spec, found, output, with_standings=is_now)

    if as_json:
        challengers = standing_documents(spec) if is_now else []
        print_json(_document(found) | {"challengers": challengers})
    elif partition:
        _print_one(spec, found)
    else:
        _print_several(spec, found)
        if is_now:
            print_standings(spec)


def write_page(spec: ScoringJob, found: Performance, path: Path, *, with_standings: bool) -> None:
    """Write the page with plots over time."""
    from nightscore.operations.performance_page import read_performance_page  # draws

    page = read_performance_page(spec, found, with_standings=with_standings)
    path.write_text(page, encoding="utf-8")
    err.print(f"The page is in {path}")


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
        for name in ("estimated", "adjusted", "baseline", "realised", "coverage"):
            if name in fields:
                records: Sequence[Stored] = fields[name]
                fields[name] = [json.loads(one.model_dump_json()) for one in records]
        return fields

    return {
        "partitions": [as_document(partition) for partition in found.partitions],
        "models": [as_document(model) for model in found.models],
        "track_records": [asdict(record) for record in found.track_records],
        "adjusted_track_records": [asdict(record) for record in found.adjusted_track_records],
        "confusion": None if found.confusion is None else found.confusion._asdict(),
        "note": CONCEPT_DRIFT,
    }


def _print_one(spec: ScoringJob, found: Performance) -> None:
    (partition,) = found.partitions
    rows = [_metric_row(partition, name) for name in _names(partition)]

    columns = (*ALL_METRICS, ADJUSTED) if partition.adjusted else ALL_METRICS
    print_table(f"Estimated performance of {spec.name}, {partition.partition}", columns, rows)
    if found.confusion is not None:
        _print_confusion(found.confusion)
    if partition.note:
        out.print(partition.note)
    else:
        out.print(f"{counted(partition.n_rows, 'row')} scored with {partition.model}")
    if partition.adjusted_note:
        out.print(f"Adjusted estimates: {partition.adjusted_note}")
    _print_coverage(partition)
    out.print(CONCEPT_DRIFT)


def _print_confusion(confusion: ExpectedConfusion) -> None:
    """Expected rows by class, down, and predicted class, across."""
    classes = confusion.classes
    if len(classes) > MOST_SHOWN_CLASSES:
        out.print(f"--json has the expected rows of each pair of the {len(classes)} classes.")
        return

    columns = [f"predicted {printable(name)}" for name in classes]
    rows = []
    for name, counts in zip(classes, confusion.rows, strict=True):
        shown = [show_count(round(count)) for count in counts]
        rows.append({"class": name, **dict(zip(columns, shown, strict=True))})

    print_table("Rows that are expected of each class", ("class", *columns), rows)


def _names(partition: PartitionPerformance) -> list[str]:
    """The metrics that are estimated; without an estimate, those that are drawn over time."""
    names = [metric.name for metric in partition.estimated]
    return names or [name for name in OVER_TIME if metric_of(partition.realised, name)]


def _metric_row(partition: PartitionPerformance, name: str) -> dict[str, str]:
    estimated = metric_of(partition.estimated, name)
    baseline = metric_of(partition.baseline, name)
    adjusted = metric_of(partition.adjusted, name)

    notes = []
    if is_outside(partition, name):
        notes.append("outside the band")
    if estimated is not None and estimated.note:
        notes.append(estimated.note)

    return {
        "metric": LABELS.get(name, name),
        "estimated": "" if estimated is None else show_value(estimated),
        "95 % band": "" if estimated is None else show_band(estimated),
        "came true": _came_true(partition, name),
        "baseline": "" if baseline is None else show_value(baseline),
        "note": "; ".join(notes),
        ADJUSTED: "" if adjusted is None else adjusted.note or show_metric(adjusted),
    }


def _print_several(spec: ScoringJob, found: Performance) -> None:
    shown = [name for name in OVER_TIME if _is_known(name, found)]
    labels = [LABELS.get(name, name) for name in shown]

    rows = []
    for partition in found.partitions:
        rows.append(_estimated_row(partition, shown))

        if partition.adjusted:
            rows.append(adjusted_row(partition, shown))
        if partition.realised:
            rows.append(_realised_row(partition, shown))

    for model in found.models:
        rows += _model_rows(model, shown)

    columns = ("partition", "rows", *labels, "note")
    print_table(f"Estimated performance of {spec.name}, with 95 % bands", columns, rows)

    for text in _explanations(found, shown):
        out.print(text)

    _print_track_records(found.track_records, shown, "")
    _print_track_records(found.adjusted_track_records, shown, f", {ADJUSTED}")

    coverage = show_coverage(found.partitions)
    if coverage:
        out.print(coverage)

    out.print(CONCEPT_DRIFT)


def _estimated_row(partition: PartitionPerformance, shown: Sequence[str]) -> dict[str, str]:
    notes = map(_in_short, _notes(partition.estimated, shown))

    return {
        "partition": partition.partition,
        "rows": show_count(partition.n_rows) if partition.estimated else "",
        **_cells(partition.estimated, shown),
        "note": "not estimated" if partition.note else "; ".join(dict.fromkeys(notes)),
    }


def _print_track_records(records: Iterable[TrackRecord], shown: Sequence[str], which: str) -> None:
    for record in records:
        if record.metric in shown:
            out.print(f"{LABELS.get(record.metric, record.metric)}{which}: {show_record(record)}")


def adjusted_row(partition: PartitionPerformance, shown: Sequence[str]) -> dict[str, str]:
    """The estimate that is adjusted for covariate shift, below the plain one."""
    notes = [partition.adjusted_note]

    for metric in partition.adjusted:
        if metric.name in shown and metric.value is None:
            notes.append(metric.note)

    in_short = dict.fromkeys(map(_in_short, notes))

    return {
        "partition": "  adjusted",
        "rows": "",
        **_cells(partition.adjusted, shown),
        "note": "; ".join(in_short),
    }


def _realised_row(partition: PartitionPerformance, shown: Sequence[str]) -> dict[str, str]:
    """What came true, below its estimate."""
    notes = []

    outside = [LABELS.get(name, name) for name in shown if is_outside(partition, name)]
    if outside:
        notes.append(f"outside the band: {', '.join(outside)}")

    share = partition.labelled_share
    if share is not None and share < 1:
        notes.append(f"{show_share(share)} labelled")

    return {
        "partition": "  came true" if partition.is_matured else "  so far",
        "rows": show_count(max(metric.n for metric in partition.realised)),
        **_cells(partition.realised, shown),
        "note": "; ".join(notes),
    }


def _in_short(note: str) -> str:
    """The note of a table's row. Below the table stands the whole."""
    return note.split(":")[0]


def _explanations(found: Performance, shown: Sequence[str]) -> list[str]:
    """The notes of all rows, each once."""
    texts: dict[str, None] = {}
    for partition in found.partitions:
        if partition.note:
            texts[f"not estimated: {partition.note}"] = None
        texts.update(dict.fromkeys(_notes(partition.estimated, shown)))
        if partition.adjusted_note and not partition.adjusted:
            texts[f"not adjusted for covariate shift: {partition.adjusted_note}"] = None
    return list(texts)


def _came_true(partition: PartitionPerformance, name: str) -> str:
    """The realised value and its band; empty if it is not known."""
    metric = metric_of(partition.realised, name)
    if metric is None or metric.value is None:
        return ""
    return show_metric(metric) if partition.is_matured else f"{show_metric(metric)} so far"


def _print_coverage(partition: PartitionPerformance) -> None:
    if partition.labelled_share is None:
        return

    known = f"{show_share(partition.labelled_share)} of the rows have labels"
    if not partition.is_matured:
        known += ", and more are to come: early labels may be a selection"
    out.print(known)

    coverage = show_coverage([partition])
    if coverage:
        out.print(coverage)


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
        cells[LABELS.get(name, name)] = "" if metric is None else show_metric(metric)
    return cells


def _notes(metrics: Sequence[MetricRecord], shown: Sequence[str]) -> list[str]:
    notes = [metric.note for metric in metrics if metric.name in shown and metric.note]
    return list(dict.fromkeys(notes))


def _value(metrics: Sequence[MetricRecord], name: str) -> float | None:
    metric = metric_of(metrics, name)
    return None if metric is None else metric.value


def _is_known(name: str, found: Performance) -> bool:
    """Whether the metric is estimated anywhere; without any estimate, whether it came true."""
    partitions = found.partitions
    if any(partition.estimated for partition in partitions):
        return any(metric_of(partition.estimated, name) for partition in partitions)
    return any(metric_of(partition.realised, name) for partition in partitions)
