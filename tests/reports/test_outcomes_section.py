"""What came true of a run, as a section of its page."""

import functools
import re
from dataclasses import replace

import numpy as np
import pytest

from nightscore.monitoring.performance.metrics.binary import binary_by_segment, binary_performance
from nightscore.monitoring.performance.metrics.classes import class_metrics
from nightscore.monitoring.performance.metrics.regression import regression_metrics
from nightscore.monitoring.performance.metrics.segments import Segments
from nightscore.monitoring.performance.track_record import PartitionPerformance, with_outcomes
from nightscore.reports.outcomes_section import MAX_SEGMENTS, Cell, draw_outcomes
from nightscore.reports.page import Page, render
from nightscore.schemas.decision import Decision
from nightscore.schemas.evaluation import CoverageRecord, EvaluationRecord, OutcomeCounts
from nightscore.schemas.performance import AdjustedRecord, ConfusionRecord, MetricRecord
from tests.support.evaluations import evaluation

DAY = "2024-03-01"
N_ROWS = 2_000
EXPECTED = PartitionPerformance(
    partition=DAY,
    run_id="",
    model="models:/m/3",
    estimated=(MetricRecord(name="roc_auc", value=0.8, low=0.78, high=0.82, n=N_ROWS),),
    baseline=(MetricRecord(name="roc_auc", value=0.81, n=5_000),),
)


@functools.cache
def binary_record(n_segments: int = 3) -> EvaluationRecord:
    """A calibrated model, but that the rows of segment 1 come at random."""
    random = np.random.default_rng(4)
    score, segment = random.random(N_ROWS), random.integers(0, n_segments, N_ROWS)
    label = random.random(N_ROWS) < np.where(segment == 1, 0.5, score)

    whole = binary_performance(score, label, threshold=0.5)
    assert whole.confusion is not None
    names = [f"origin={place:02}" for place in range(n_segments)]
    segments = binary_by_segment(score, label, Segments(segment, names, "roc_auc"), threshold=0.5)
    return evaluation(
        DAY,
        (None, None, None),
        metrics=tuple(whole.metrics),
        confusion=ConfusionRecord(**whole.confusion._asdict()),
        calibration=tuple(whole.curve),
        segments=tuple(segments),
        counts=OutcomeCounts(predictions=2_500, labelled=N_ROWS, not_labelled=500, orphans=7),
        coverage=(CoverageRecord(days=1, share=0.5), CoverageRecord(days=7, share=0.8)),
        notes=("a note about <labels>",),
    )


def section_html(record: EvaluationRecord) -> str:
    partition = with_outcomes(EXPECTED, record, Decision())
    page = Page(
        title="t",
        verdict="ok",
        headline="h",
        steps=[],
        facts=[],
        references=[],
        columns=[],
        outcomes=draw_outcomes(partition, record),
    )
    return render(page)


def test_metrics_stand_beside_the_estimate_and_the_baseline() -> None:
    record = binary_record()
    section = draw_outcomes(with_outcomes(EXPECTED, record, Decision()), record)

    auc = section.metrics[0]
    truth = record.metric("roc_auc")
    assert truth is not None
    assert auc.name == "AUC"
    assert auc.realised == Cell(f"{truth.value:.3f}", f"{truth.low:.3f} to {truth.high:.3f}")
    assert auc.estimated == Cell("0.800", "0.780 to 0.820")
    assert auc.baseline == Cell("0.810", "")
    shown = {row.name for row in (*section.metrics, *section.other_metrics)}
    assert len(shown) == len(record.metrics), "every metric of the record is on the page"
    assert section.coverage == (
        "2,000 of 2,500 predictions (80.0%) had labels on 2024-03-20 00:00 UTC."
    )
    assert section.coverage_by_age == "Labels were known of 50.0% after 1 day, 80.0% after 7 days."

    html = section_html(record)
    assert "7 orphans" in html
    assert "a note about &lt;labels&gt;" in html
    assert html.index("What came true") < html.index("Calibration") < html.index("By segment")


def test_the_adjusted_estimate_is_one_line() -> None:
    auc = MetricRecord(name="roc_auc", value=0.71, low=0.69, high=0.73, n=N_ROWS)
    adjusted = AdjustedRecord(metrics=(auc,), note="covariate shift: the AUC of a classifier")
    html = section_html(binary_record().model_copy(update={"adjusted": adjusted}))

    line = (
        "<p>Estimated AUC, adjusted for covariate shift: 0.710 (0.690 to 0.730). "
        "Covariate shift: the AUC of a classifier.</p>"
    )
    assert line in html
    assert "adjusted for covariate shift" not in section_html(binary_record())


def test_calibration_is_drawn_and_confusion_adds_up() -> None:
    record = binary_record()
    section = draw_outcomes(with_outcomes(EXPECTED, record, Decision()), record)

    assert set(re.findall(r"#[0-9a-f]{6}", section.calibration_svg)) == set()
    first, last = record.calibration[0], record.calibration[-1]
    assert section.calibration_alternative == (
        f"Share of positive rows: {first.share.value:.3f} at a mean score of "
        f"{first.mean_score:.3f} to {last.share.value:.3f} at a mean score of {last.mean_score:.3f}"
    )
    assert sum(int(row.n_rows.replace(",", "")) for row in section.calibration) == N_ROWS

    above, below = section.confusion
    assert (above.decision, below.decision) == ("score above 0.5", "score up to 0.5")
    cells = (above.positive, above.negative, below.positive, below.negative)
    assert sum(int(cell.split()[0].replace(",", "")) for cell in cells) == N_ROWS


def test_the_worst_segment_is_first_and_what_is_left_out_is_counted() -> None:
    record = binary_record()
    section = draw_outcomes(with_outcomes(EXPECTED, record, Decision()), record)
    assert [row.segment for row in section.segments[:2]] == ["all rows", "origin=01"]
    assert section.segment_metrics[0] == "AUC"
    assert section.segments[1].cells[0].value < section.segments[0].cells[0].value

    many = binary_record(n_segments=MAX_SEGMENTS + 5)
    section = draw_outcomes(with_outcomes(EXPECTED, many, Decision()), many)
    assert (len(section.segments), section.n_more_segments) == (MAX_SEGMENTS + 1, 5)
    assert "5 more are not shown" in section_html(many)


def test_early_labels_are_not_compared_with_a_complete_baseline() -> None:
    early = binary_record().model_copy(update={"is_matured": False})
    section = draw_outcomes(with_outcomes(EXPECTED, early, Decision()), early)
    assert not section.has_baseline
    assert "More labels are to come" in section.coverage
    html = section_html(early)
    assert "came true so far" in html
    assert "weighted by score" not in html
    assert "0.810" not in html

    auc = MetricRecord(name="roc_auc", value=0.77, low=0.74, high=0.79, n=N_ROWS)
    weighted = early.model_copy(update={"weighted": (auc,)})
    section = draw_outcomes(with_outcomes(EXPECTED, weighted, Decision()), weighted)
    assert section.has_baseline
    assert section.metrics[0].weighted == Cell("0.770", "0.740 to 0.790")
    assert "weighted by score" in section_html(weighted)


@pytest.mark.parametrize("task", ["classes", "regression"])
def test_models_of_other_kinds_have_no_curve(task: str) -> None:
    random = np.random.default_rng(1)
    if task == "classes":
        label = random.integers(0, 3, 900)
        predicted = np.where(random.random(900) < 0.7, label, 0)
        metrics = class_metrics(predicted, label, ("a", "b", "<c>"))
        first, other = "accuracy", "recall[&lt;c&gt;]"
    else:
        label = random.normal(size=900)
        metrics = regression_metrics(label + random.normal(size=900), label)
        first, other = "MAE", "pinball loss"

    record = evaluation(DAY, (None, None, None), task=task, metrics=tuple(metrics))
    section = draw_outcomes(
        with_outcomes(replace(EXPECTED, estimated=()), record, Decision()), record
    )
    assert section.metrics[0].name == first
    assert (section.calibration_svg, section.confusion, section.segments) == ("", [], [])

    html = section_html(record)
    assert other in html
    for title in ("Calibration", "Confusion", "By segment"):
        assert f"<h3>{title}" not in html
