"""What cannot be measured has a note instead of a value, without warnings."""

import numpy as np
import pytest

from nightscore.monitoring.performance.metrics.binary import BINARY_METRICS, binary_metrics
from nightscore.monitoring.performance.metrics.classes import class_metrics
from nightscore.monitoring.performance.metrics.regression import (
    REGRESSION_METRICS,
    regression_metrics,
)
from nightscore.monitoring.performance.metrics.top_rows import top_names
from nightscore.schemas.decision import DecisionValues
from nightscore.schemas.performance import MetricRecord

SCORES = np.linspace(0.05, 0.95, 40)
LABELS = np.arange(40) % 2 == 0


def measure(score: object, label: object, **options: object) -> dict[str, MetricRecord]:
    records = binary_metrics(
        np.asarray(score, np.float64),
        np.asarray(label, np.bool_),
        **({"threshold": 0.5} | options),  # type: ignore[arg-type]
    )
    return {record.name: record for record in records}


@pytest.mark.parametrize(
    ("score", "weights", "note"),
    [
        ([], None, "no rows"),
        ([np.nan], None, "1 of 1 scores are NaN or infinite"),
        ([*[0.5] * 1999, np.nan], None, "1 of 2,000 scores are NaN or infinite"),
        ([0.5, np.inf], None, "1 of 2 scores are NaN or infinite"),
        ([0.5, 0.6], [1.0, -1.0], "a weight is negative, NaN or infinite"),
        ([0.5, 0.6], [1.0, np.nan], "a weight is negative, NaN or infinite"),
        ([0.5, 0.6], [0.0, 0.0], "all weights are 0"),
    ],
)
def test_no_metric_at_all(score: list[float], weights: list[float] | None, note: str) -> None:
    of_rows = None if weights is None else np.array(weights)
    records = measure(score, [True] * len(score), values=DecisionValues(tp=1), weights=of_rows)

    assert list(records) == [*BINARY_METRICS, "value", *top_names()]
    for record in records.values():
        assert (record.value, record.low, record.high) == (None, None, None)
        assert (record.n, record.note) == (len(score), note)


@pytest.mark.parametrize("is_positive", [False, True])
def test_one_class_only(is_positive: bool) -> None:
    records = measure(SCORES, [is_positive] * 40)

    for name in ("roc_auc", "average_precision", "calibration_slope", "lift@10%"):
        assert (records[name].value, records[name].note) == (None, "one class only")
    for name in ("log_loss", "brier", "accuracy"):
        assert records[name].value is not None
    if not is_positive:
        assert records["recall"].note == "no row is positive"


def test_nothing_predicted_positive() -> None:
    records = measure(SCORES, LABELS, threshold=1.0)

    assert records["precision"].value is None
    assert records["precision"].note == "no row is predicted positive"
    assert records["recall"].value == 0
    assert records["f1"].value == 0
    assert measure(SCORES, [False] * 40, threshold=1.0)["f1"].note == (
        "no row is positive or predicted positive"
    )


def test_constant_scores_rank_nothing() -> None:
    records = measure([0.3] * 40, LABELS)

    assert (records["roc_auc"].value, records["roc_auc"].low) == (0.5, None)
    assert records["roc_auc"].note == "no band: all scores are equal"
    assert records["average_precision"].value == 0.5
    assert records["lift@10%"].value == 1
    note = "the scores do not vary, or the classes are apart"
    assert (records["calibration_slope"].value, records["calibration_slope"].note) == (None, note)
    assert records["calibration_intercept"].value == pytest.approx(np.log(7 / 3))


@pytest.mark.parametrize("is_right", [False, True])
def test_classes_that_are_apart_keep_a_band(is_right: bool) -> None:
    records = measure(SCORES, (SCORES > 0.5) == is_right)

    area = records["roc_auc"]
    assert area.value == is_right
    assert area.low is not None
    assert area.high is not None
    assert 0.1 < area.high - area.low < 0.2
    assert records["calibration_slope"].value is None


def test_too_few_rows_have_a_value_without_a_band() -> None:
    label = np.arange(40) % 5 == 0
    records = measure(SCORES, label)
    for name in ("roc_auc", "average_precision", "calibration_slope"):
        assert records[name].value is not None
        assert records[name].low is None
        assert records[name].note == "no band: fewer than 10 rows of one class"

    few = measure(SCORES[:9], LABELS[:9], values=DecisionValues(tp=1))
    for name in ("log_loss", "brier", "value"):
        assert (few[name].low, few[name].note) == (None, "no band: fewer than 10 rows")
    assert few["accuracy"].low is not None


def test_scores_that_are_no_probabilities_still_rank() -> None:
    records = measure(SCORES * 10 - 5, LABELS)

    assert records["roc_auc"].low is not None
    for name in ("log_loss", "brier", "calibration_slope"):
        assert records[name].note == "the score is no probability: it is below 0 or above 1"


def test_probabilities_of_0_that_came_true_are_counted() -> None:
    score = np.where(LABELS, SCORES, 0.0)
    score[:2] = (0.0, 1.0)
    record = measure(score, LABELS)["log_loss"]

    assert record.note == "no band: 2 rows are of a class that was given a probability of 0"
    assert record.value is not None
    assert (record.low, record.high) == (None, None)


def test_several_classes_with_probabilities_of_0_that_came_true() -> None:
    probabilities = np.tile([1.0, 0.0, 0.0], (100, 1))
    label = np.array([0] * 99 + [2])
    records = class_metrics(
        np.zeros(100, np.int64), label, ["a", "b", "c"], probabilities=probabilities
    )
    (record,) = [one for one in records if one.name == "log_loss"]

    assert record.note == "no band: 1 row is of a class that was given a probability of 0"
    assert record.value == pytest.approx(-np.log(np.finfo(float).eps) / 100)
    assert (record.low, record.high) == (None, None)


@pytest.mark.parametrize(
    ("prediction", "label", "note"),
    [
        ([], [], "no rows"),
        ([np.nan, 1.0], [1.0, 2.0], "1 of 2 predictions are NaN or infinite"),
        ([1.0, 2.0], [1.0, np.inf], "1 of 2 labels are NaN or infinite"),
    ],
)
def test_no_regression(prediction: list[float], label: list[float], note: str) -> None:
    records = regression_metrics(np.array(prediction), np.array(label))

    assert [record.name for record in records] == list(REGRESSION_METRICS)
    assert {record.note for record in records} == {note}
    assert {record.value for record in records} == {None}


def test_regression_on_the_edge() -> None:
    constant = {record.name: record for record in regression_metrics(SCORES, np.full(40, 0.1))}
    assert constant["r2"].note == "all labels are equal"
    assert constant["rmse"].low is not None

    exact = {record.name: record for record in regression_metrics(SCORES, SCORES)}
    assert (exact["r2"].value, exact["rmse"].value) == (1, 0)

    great = {record.name: record for record in regression_metrics(SCORES, SCORES * 1e300)}
    assert {great[name].note for name in ("mae", "rmse", "r2")} == {"the numbers are too great"}

    one = regression_metrics(SCORES[:1], SCORES[:1] + 1)
    assert [record.low for record in one] == [None] * 5


def test_classes_on_the_edge() -> None:
    nothing = class_metrics(np.array([], np.int64), np.array([], np.int64), ["a", "b"])
    assert [record.name for record in nothing][:3] == [
        "accuracy", "precision_macro", "precision[a]",
    ]  # fmt: skip
    assert {record.note for record in nothing} == {"no rows"}

    codes = np.zeros(20, np.int64)
    probabilities = np.full((20, 2), np.nan)
    records = class_metrics(codes, codes, ["a", "b"], probabilities=probabilities)
    by_name = {record.name: record for record in records}
    assert by_name["accuracy"].value == 1
    for name in ("log_loss", "brier", "roc_auc_macro", "roc_auc[a]"):
        assert by_name[name].note == "40 of 40 probabilities are NaN or infinite"
    assert by_name["f1_macro"].value == 1
    assert by_name["f1[b]"].note == "no row is positive or predicted positive"

    sure = np.tile([1.0, 0.0], (20, 1))
    records = class_metrics(codes, codes, ["a", "b"], probabilities=sure)
    by_name = {record.name: record for record in records}
    assert by_name["roc_auc_macro"].note == "one class only"
    assert by_name["brier"].value == 0
    few = class_metrics(codes, np.arange(20) // 15, ["a", "b"], probabilities=sure)
    by_name = {record.name: record for record in few}
    assert by_name["roc_auc[b]"].note == "no band: fewer than 10 rows of one class"

    half = class_metrics(codes, np.arange(20) % 2, ["a", "b"])
    assert next(record for record in half if record.name == "precision_macro").note == (
        "1 of 2 classes have none, and count 0"
    )
