"""Prints what came true of predictions: metrics with their bands, partition by partition."""

import dataclasses
from collections.abc import Collection, Sequence

from nightscore.cli.show import out, print_json, print_table
from nightscore.monitoring.performance.realised_wording import SHOWN, notes_of, show_realised
from nightscore.operations.judge_evaluations import JudgedEvaluation
from nightscore.operations.metric_history import MetricDay
from nightscore.reports.series import sparkline
from nightscore.schemas.evaluation import EvaluationRecord
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.partition import show_value
from nightscore.schemas.performance import MetricRecord
from nightscore.schemas.text import counted

MAX_NOTE_LENGTH = 40
"""Longer notes are below the table: its last column is narrow."""


def print_records(
    spec: ScoringJob, records: Sequence[EvaluationRecord], together: Sequence[MetricRecord]
) -> None:
    """Print evaluations, and the metrics of all their matured rows together."""
    shown: dict[str, None] = {}
    for record in records:
        shown.update(dict.fromkeys(SHOWN[record.task]))

    names, rows = list(shown), []
    common = _common_notes(records)
    long_notes = _long_notes(records, common)

    for record in records:
        notes = [note for note in notes_of(record) if note not in common]
        shown_notes = [long_notes.get(note, note) for note in notes]
        rows.append(_row(record, names) | {"notes": "; ".join(shown_notes)})
        if record.weighted:
            rows.append(_weighted_row(record, names))

    if together:
        by_name = {metric.name: metric for metric in together}
        cells = {name: show_realised(by_name.get(name)) for name in names}
        rows.append(_total_row(records) | cells)

    print_table(
        f"What came true for {spec.name}", ("partition", "rows", "labelled", *names, "notes"), rows
    )

    for note, name in long_notes.items():
        out.print(f"{name[0].upper()}{name[1:]}: {note}.")
    for note in common:
        out.print(f"All partitions: {note}.")


def print_metric(spec: ScoringJob, name: str, days: Sequence[MetricDay], *, as_json: bool) -> None:
    """Print a metric over partitions."""
    if as_json:
        print_json([dataclasses.asdict(day) for day in days])
        return

    columns = ("partition", name, "rows", "labelled", "known at (UTC)", "model", "notes")
    print_table(f"{name} of {spec.name}", columns, [_day_row(name, day) for day in days])
    out.print(f"{name:<22}{sparkline([day.value for day in days])}")


def _common_notes(records: Sequence[EvaluationRecord]) -> list[str]:
    """What the notes of all partitions say. A line below the table says it once."""
    if len(records) < 2:
        return []

    first, *others = map(notes_of, records)
    return [note for note in first if all(note in notes for notes in others)]


def _long_notes(records: Sequence[EvaluationRecord], common: Collection[str]) -> dict[str, str]:
    """Notes that would be folded into many lines, with names that the table has instead."""
    notes: dict[str, None] = {}
    for record in records:
        notes.update(dict.fromkeys(notes_of(record)))

    long = [note for note in notes if len(note) > MAX_NOTE_LENGTH and note not in common]
    return {note: f"note {number}" for number, note in enumerate(long, start=1)}


def _row(record: EvaluationRecord, names: Sequence[str]) -> dict[str, str]:
    share = record.counts.share
    return {
        "partition": show_value(record.partition),
        "rows": f"{record.counts.predictions:,}",
        "labelled": "" if share is None else f"{share:.1%}",
        **{name: show_realised(record.metric(name)) for name in names},
    }


def _total_row(records: Sequence[EvaluationRecord]) -> dict[str, str]:
    """The rows of all matured partitions whose labels are no selection by score."""
    n_complete, n_rows, n_labelled = 0, 0, 0

    for record in records:
        if record.is_complete:
            n_complete += 1
            n_rows += record.counts.predictions
            n_labelled += record.counts.labelled + record.counts.acted_on

    return {
        "partition": "all",
        "rows": f"{n_rows:,}",
        "labelled": f"{n_labelled / n_rows:.1%}" if n_rows else "",
        "notes": "" if n_complete == len(records) else _left_out(records, n_complete),
    }


def _left_out(records: Sequence[EvaluationRecord], n_complete: int) -> str:
    """Of which partitions the rows are, and why not of the others."""
    n_early = sum(not record.is_matured for record in records)
    n_selections = len(records) - n_complete - n_early

    left_out = []
    if n_early:
        left_out.append(f"{n_early:,} not matured")
    if n_selections:
        left_out.append(f"{n_selections:,} with a selection by score")
    return f"{counted(n_complete, 'matured partition')}; left out: {', '.join(left_out)}"


def print_judged(judged: Sequence[JudgedEvaluation]) -> None:
    """Print which matured partitions are worse than the bound of `gates.estimated`."""
    is_worse = False
    for one in judged:
        if one.severity == "ok":
            continue

        is_worse = True

        partition = show_value(one.record.partition)
        found = f"{one.metric.name} {show_realised(one.metric)}"
        note = f" ({one.note})" if one.note else ""
        out.print(f"{partition} is {one.severity}: {found}; expected {one.expected}{note}.")

    if judged and not is_worse:
        out.print(f"{judged[-1].metric.name} is within the bound of gates.estimated.")


def _weighted_row(record: EvaluationRecord, names: Sequence[str]) -> dict[str, str]:
    """The same metrics of early labels or of a selection, weighted by score."""
    by_name = {metric.name: metric for metric in record.weighted}
    return {
        "partition": f"{show_value(record.partition)}, weighted",
        "rows": "",
        "labelled": "",
        **{name: show_realised(by_name.get(name)) for name in names},
        "notes": "labelled rows, weighted by score to stand for all rows",
    }


def _day_row(name: str, day: MetricDay) -> dict[str, str]:
    metric = MetricRecord(
        name=name, value=day.value, low=day.low, high=day.high, n=day.n, note=day.note
    )
    return {
        "partition": day.partition,
        name: show_realised(metric),
        "rows": f"{day.n:,}",
        "labelled": "" if day.labelled_share is None else f"{day.labelled_share:.1%}",
        "known at (UTC)": f"{day.made_at:%Y-%m-%d %H:%M:%S}",
        "model": day.model_version,
        "notes": "; ".join(day.notes),
    }
