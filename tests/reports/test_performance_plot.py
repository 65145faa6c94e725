"""Estimate against truth: what is drawn, and what is said of it."""

import re
from dataclasses import replace

from nightscore.monitoring.performance.track_record import PartitionPerformance, realised_headlines
from nightscore.reports.performance_figures import known_metrics
from nightscore.reports.performance_page import performance_page
from nightscore.reports.performance_plot import draw_performance
from nightscore.schemas.evaluation import CoverageRecord
from nightscore.schemas.performance import MetricRecord


def metric(name: str, value: float | None, width: float = 0.02) -> MetricRecord:
    if value is None:
        return MetricRecord(name=name, note="one class only")
    return MetricRecord(name=name, value=value, low=value - width, high=value + width, n=900)


def partition(
    day: str, estimated: float | None, realised: float | None, *, is_matured: bool = True
) -> PartitionPerformance:
    return PartitionPerformance(
        partition=day,
        run_id="",
        model="models:/late/1",
        estimated=(metric("roc_auc", estimated), metric("rmse", None)),
        baseline=(MetricRecord(name="roc_auc", value=0.7),),
        realised=() if realised is None else (metric("roc_auc", realised),),
        is_matured=is_matured,
    )


DAYS = [
    partition("2026-11-25", 0.70, 0.71),
    partition("2026-11-26", 0.69, 0.60),
    partition("2026-11-27", None, 0.66),
    partition("2026-11-28", 0.68, 0.69, is_matured=False),
    partition("2026-11-29", 0.67, None),
]


def test_the_estimator_s_own_record_is_told() -> None:
    known = known_metrics(DAYS, ("rmse", "roc_auc", "log_loss"))
    (plot,) = draw_performance(DAYS, known)

    assert plot.figures.title == "AUC"
    assert plot.figures.record == (
        "1 of 2 matured partitions came true within the band; estimates were off by 0.050 on "
        "average, on balance 0.040 too high."
    )
    assert plot.figures.alternative == (
        "AUC estimated: 0.700 on 2026-11-25 to 0.670 on 2026-11-29; "
        "AUC came true: 0.710 on 2026-11-25 to 0.690 on 2026-11-28"
    )

    assert [row.error for row in plot.figures.rows] == [
        "-0.010",
        "+0.090, outside of the band",
        "",
        "",
        "",
    ]
    assert plot.figures.rows[2].estimated == "not known"
    assert "one class only" in plot.figures.rows[2].note
    assert plot.figures.rows[3].note == "more labels are to come"


def test_selections_by_score_are_left_out_of_the_record() -> None:
    selection = replace(partition("2026-11-30", 0.7, 0.4), is_selection=True)
    (plot,) = draw_performance([*DAYS, selection], ("roc_auc",))
    assert plot.figures.record == (
        "1 of 2 matured partitions came true within the band; estimates were off by 0.050 on "
        "average, on balance 0.040 too high. Left out as selections by score: 1 partition."
    )
    row = plot.figures.rows[-1]
    assert (row.error, row.note) == (
        "",
        "not compared: the labelled rows are a selection by score",
    )


def test_what_came_true_in_one_line() -> None:
    lines = [realised_headlines(replace(day, labelled_share=0.98)) for day in DAYS]
    assert lines[0] == [
        ("AUC came true", "0.710 (0.690 to 0.730), within the band, 98.0% labelled"),
    ]
    assert "outside the band of the estimate" in lines[1][0][1]
    assert "band" not in lines[2][0][1]
    assert lines[3] == [("AUC so far", "0.690 (0.670 to 0.710), 98.0% labelled")]
    assert lines[4] == []


def test_it_is_drawn_in_the_colours_of_the_page() -> None:
    (plot,) = draw_performance(DAYS, ("roc_auc",))

    assert set(re.findall(r"#[0-9a-f]{6}", plot.svg)) <= {"#ffffff"}
    assert "fill-opacity: 0.2" in plot.svg, "the band"
    assert "stroke-dasharray" in plot.svg, "the baseline"
    assert re.search(r'd="M[^"]*C', plot.svg), "dots are round"
    for day in DAYS:
        assert day.partition in plot.svg


def test_adjusted_estimates_are_diamonds_with_a_record_of_their_own() -> None:
    adjusted = [replace(DAYS[0], adjusted=(metric("roc_auc", 0.705, 0.001),)), *DAYS[1:]]
    page, without = performance_page("t", adjusted, []), performance_page("t", DAYS, [])
    (plot,), (plain,) = draw_performance(adjusted, ["roc_auc"]), draw_performance(DAYS, ["roc_auc"])

    assert plot.figures.adjusted_record == (
        "Adjusted for covariate shift: 0 of 1 matured partition came true within the band; "
        "estimates were off by 0.005 on average, on balance 0.005 too low."
    )
    assert [row.adjusted for row in plot.figures.rows] == ["0.705 (0.704 to 0.706)", "", "", "", ""]
    assert plot.figures.record == plain.figures.record
    assert plot.figures.record in page
    assert plot.figures.adjusted_record in page
    assert '<span class="diamond"></span>adjusted</span> for covariate shift' in page
    assert plot.svg != plain.svg

    assert plain.figures.adjusted_record == ""
    assert 'diamond"' not in without
    assert ">adjusted<" not in without


def test_without_labels_or_without_estimates_the_rest_is_drawn() -> None:
    unlabelled = [replace(day, realised=(), is_matured=False) for day in DAYS]
    (plot,) = draw_performance(unlabelled, ("roc_auc",))
    assert (
        plot.figures.record
        == "No partition has both an estimate and labels that stand for all its rows yet."
    )
    assert "came true" not in plot.figures.alternative

    outcome = metric("rmse", 12.5)
    (plot,) = draw_performance([replace(DAYS[0], estimated=(), realised=(outcome,))], ("rmse",))
    assert plot.figures.title.casefold() == "rmse"
    assert plot.figures.alternative.endswith(
        "came true: 12.500 on 2026-11-25 to 12.500 on 2026-11-25"
    )
    assert known_metrics([], ("roc_auc",)) == []


def test_how_many_labels_are_known_at_which_age() -> None:
    early, late = CoverageRecord(days=1, share=0.2), CoverageRecord(days=7, share=0.9)
    matured = replace(DAYS[0], coverage=(early, late), labelled_share=0.9)
    known_sooner = early.model_copy(update={"share": 0.4})
    young = replace(DAYS[1], coverage=(known_sooner,), labelled_share=0.4)

    html = performance_page("t", [matured, young, DAYS[2]], [])
    assert "3 of 3 partitions have been compared with labels." in html
    assert (
        "Labels known by age: 30.0% after 1 day (2 partitions), 90.0% after 7 days (1 partition)."
    ) in html
    assert '<td class="n">40.0%</td>' in html
    assert "by age" not in performance_page("t", DAYS, []), "labels have no time"


def test_the_page_begins_with_what_came_true_otherwise() -> None:
    page = performance_page("Performance of late", DAYS, [])
    assert "AUC came true outside the band of its estimate in 1 of 2, last on 2026-11-26." in page

    right = performance_page("Performance of late", DAYS[:1], [])
    assert "AUC came true within the band of its estimate each time." in right

    unlabelled = [replace(DAYS[4], estimated=(), note="no labelled baseline")] * 2
    reason = performance_page("Performance of late", unlabelled, [])
    assert "AUC came true" not in reason
    assert reason.count("<dt>not estimated</dt><dd>no labelled baseline</dd>") == 1
