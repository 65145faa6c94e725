"""The section of a run's page about what came true: metrics, calibration, confusion, segments."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from nightscore.monitoring.performance.estimates.wording import (
    HEADLINE,
    LABELS,
    metric_of,
    show_band,
    show_metric,
    show_number,
    show_value,
)
from nightscore.monitoring.performance.realised_wording import SHOWN, notes_of
from nightscore.monitoring.performance.track_record import PartitionPerformance
from nightscore.reports.calibration_plot import calibration_in_words, calibration_svg
from nightscore.schemas.evaluation import EvaluationRecord
from nightscore.schemas.performance import (
    CalibrationBinRecord,
    ConfusionRecord,
    MetricRecord,
    SegmentRecord,
)

HEADLINES = (
    "roc_auc",
    "average_precision",
    "log_loss",
    "brier",
    "accuracy",
    "precision",
    "recall",
    "f1",
    "value",
    "precision_macro",
    "recall_macro",
    "f1_macro",
    "mae",
    "rmse",
    "bias",
    "r2",
)
"""Metrics that are seen at once; the others are a click away."""
MAX_SEGMENTS = 20
"""Segments on the page. The record and the table of all metrics have all."""
ALL_ROWS = "all rows"


@dataclass(frozen=True, slots=True)
class Cell:
    """A value and its 95 % band, each empty if there is none."""

    value: str = ""
    band: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricRow:
    """One metric: as it was estimated, as it came true, and in the baseline."""

    name: str
    estimated: Cell
    realised: Cell
    weighted: Cell
    """Weighted by score to stand for all rows, where labels are early."""
    baseline: Cell
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationRow:
    """Rows of similar scores."""

    scores: str
    n_rows: str
    mean_score: str
    share: Cell
    """Of positive rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfusionRow:
    """The rows with one decision, by what came."""

    decision: str
    positive: str
    negative: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentRow:
    """The metrics of one segment."""

    segment: str
    n_rows: str
    cells: list[Cell]


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomesSection:
    """All that the section shows."""

    coverage: str
    """How many labels are known, and since when."""
    coverage_by_age: str
    """Empty: it is not known when labels became known."""
    notes: list[str]
    metrics: list[MetricRow]
    other_metrics: list[MetricRow]
    is_matured: bool = True
    has_weighted: bool = False
    has_baseline: bool = False
    """Early labels are not compared with a complete baseline, unless they are weighted."""
    calibration_svg: str = ""
    """Empty: the model gives no probability of one class."""
    calibration_alternative: str = ""
    calibration: list[CalibrationRow] = field(default_factory=list)
    confusion: list[ConfusionRow] = field(default_factory=list)
    """Empty: the model does not decide between two classes."""
    segment_metrics: list[str] = field(default_factory=list)
    """Headings of the table of segments."""
    segments: list[SegmentRow] = field(default_factory=list)
    """The worst first, after all rows."""
    n_more_segments: int = 0
    adjusted: str = ""
    """The headline estimate, adjusted for covariate shift. Empty: it was not recorded."""


def draw_outcomes(partition: PartitionPerformance, record: EvaluationRecord) -> OutcomesSection:
    """The section about one run.

    Args:
        partition: What was estimated of the run, and what came true.
        record: The evaluation that it is from.
    """
    headlines, others = _metric_rows(partition, record)
    shown = [name for name in SHOWN[record.task] if record.metric(name) is not None]

    has_weighted = bool(record.weighted)
    is_comparable = record.is_matured or has_weighted

    return OutcomesSection(
        coverage=_coverage(record),
        adjusted=_adjusted(partition),
        coverage_by_age=_coverage_by_age(record),
        notes=notes_of(record),
        metrics=headlines,
        other_metrics=others,
        is_matured=record.is_matured,
        has_weighted=has_weighted,
        has_baseline=bool(partition.baseline) and is_comparable,
        calibration_svg=calibration_svg(record.calibration) if record.calibration else "",
        calibration_alternative=calibration_in_words(record.calibration),
        calibration=[_calibration_row(one) for one in record.calibration],
        confusion=_confusion_rows(record.confusion, record.threshold),
        segment_metrics=[LABELS.get(name, name) for name in shown],
        segments=_segment_rows(record, shown),
        n_more_segments=max(0, len(record.segments) - MAX_SEGMENTS),
    )


def _coverage(record: EvaluationRecord) -> str:
    counts, share = record.counts, record.counts.share
    if share is None:
        return "The run has published no rows."

    n_known = counts.labelled + counts.acted_on

    text = (
        f"{n_known:,} of {counts.predictions:,} predictions ({share:.1%}) had labels on "
        f"{record.made_at:%Y-%m-%d %H:%M} UTC."
    )

    if not record.is_matured:
        text += " More labels are to come: early ones may be a selection."
    return text


def _coverage_by_age(record: EvaluationRecord) -> str:
    shares = [f"{one.share:.1%} after {_days(one.days)}" for one in record.coverage]
    return f"Labels were known of {', '.join(shares)}." if shares else ""


def _adjusted(partition: PartitionPerformance) -> str:
    """The first headline metric that is adjusted, and what has moved."""
    for name in HEADLINE:
        metric = metric_of(partition.adjusted, name)
        if metric is not None:
            note = partition.adjusted_note
            what_moved = f" {note[0].upper()}{note[1:]}." if note else ""
            shown = f"{LABELS[name]}, adjusted for covariate shift: {show_metric(metric)}"
            return f"Estimated {shown}.{what_moved}"

    return ""


def _days(days: float) -> str:
    return "1 day" if days == 1 else f"{days:g} days"


def _metric_rows(
    partition: PartitionPerformance, record: EvaluationRecord
) -> tuple[list[MetricRow], list[MetricRow]]:
    """The headlines in their order, and the other metrics that came true."""
    rows = {}
    for metric in partition.realised:
        rows[metric.name] = _metric_row(metric, partition, record)

    headlines = []
    for name in HEADLINES:
        if name in rows:
            headlines.append(rows.pop(name))

    return headlines, list(rows.values())


def _metric_row(
    realised: MetricRecord, partition: PartitionPerformance, record: EvaluationRecord
) -> MetricRow:
    name = realised.name
    estimated = metric_of(partition.estimated, name)

    notes = {realised.note: None}
    if estimated is not None:
        notes[estimated.note] = None

    return MetricRow(
        name=LABELS.get(name, name),
        estimated=_show(estimated),
        realised=_show(realised),
        weighted=_show(metric_of(record.weighted, name)),
        baseline=_show(metric_of(partition.baseline, name)),
        note="; ".join(filter(None, notes)),
    )


def _show(metric: MetricRecord | None) -> Cell:
    if metric is None:
        return Cell()
    return Cell(show_value(metric), show_band(metric))


def _calibration_row(one: CalibrationBinRecord) -> CalibrationRow:
    return CalibrationRow(
        scores=f"{show_number(one.low)} to {show_number(one.high)}",
        n_rows=f"{one.n:,}",
        mean_score=show_number(one.mean_score),
        share=_show(one.share),
    )


def _confusion_rows(confusion: ConfusionRecord | None, threshold: float) -> list[ConfusionRow]:
    if confusion is None:
        return []

    n_rows = confusion.tp + confusion.fp + confusion.fn + confusion.tn

    def cell(n: float) -> str:
        return f"{n:,.0f} ({n / n_rows:.1%})" if n_rows else "0"

    return [
        ConfusionRow(
            decision=f"score above {threshold:g}",
            positive=cell(confusion.tp),
            negative=cell(confusion.fp),
        ),
        ConfusionRow(
            decision=f"score up to {threshold:g}",
            positive=cell(confusion.fn),
            negative=cell(confusion.tn),
        ),
    ]


def _segment_rows(record: EvaluationRecord, names: Sequence[str]) -> list[SegmentRow]:
    if not record.segments:
        return []

    whole = SegmentRecord(segment=ALL_ROWS, n=record.counts.labelled, metrics=record.metrics)
    rows = []
    for segment in (whole, *record.segments[:MAX_SEGMENTS]):
        cells = [_segment_cell(segment.metric(name)) for name in names]
        rows.append(SegmentRow(segment=segment.segment, n_rows=f"{segment.n:,}", cells=cells))

    return rows


def _segment_cell(metric: MetricRecord | None) -> Cell:
    """The value and its band; without a band, why there is none."""
    shown = _show(metric)
    if metric is None or shown.band:
        return shown
    return Cell(shown.value, metric.note)
