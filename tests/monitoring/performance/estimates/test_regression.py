"""Estimated errors of regressions: from what the baseline stores, to records."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from sklearn import metrics

from nightscore.monitoring.performance.estimates.error_calibration import ErrorCalibration
from nightscore.monitoring.performance.estimates.estimation import estimate_run, is_estimated
from nightscore.monitoring.performance.estimates.placement import add_up, place
from nightscore.monitoring.performance.estimates.regression import (
    LEAST_LABELLED,
    NOT_STORED,
    TOO_LARGE,
    baseline_errors,
    estimate_errors,
)
from nightscore.monitoring.performance.estimates.wording import headlines
from nightscore.profiles.bins import Floats
from nightscore.profiles.edges import Edges
from nightscore.profiles.profile import NumberProfile
from nightscore.profiles.profile_spec import ProfiledColumn, ProfileSpec
from nightscore.profiles.profiler import Profiler
from nightscore.profiles.table import ColumnProfile, from_bytes
from nightscore.schemas.decision import Decision
from nightscore.schemas.performance import MetricRecord

OLDER = Path(__file__).parents[3] / "golden" / "regression-baseline-1.parquet"
"""A baseline with labels from before errors were stored."""
SHA256 = "sha256:ab"


def profiled(predictions: Floats, labels: Floats, edges: Edges) -> ColumnProfile:
    """The score's profile, as `nightscore baseline --label` logs it."""
    score = ProfiledColumn("prediction", "prediction", edges, type="double")
    profiler = Profiler(ProfileSpec((score,), score="prediction", label="y"))
    profiler.add(
        pa.table({"x": predictions}),
        pa.table({"y": labels}),
        np.ones(len(predictions), np.bool_),
        pa.table({"prediction": predictions}),
    )
    (column,) = profiler.columns
    return column


def draw(n: int, seed: int, center: float = 10.0) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    predictions = rng.normal(center, 3, n)
    return predictions, predictions - 0.5 - rng.laplace(size=n) * (1 + 0.1 * predictions)


@pytest.fixture(scope="module")
def edges() -> Edges:
    return Edges.from_values(draw(4_000, seed=1)[0])


@pytest.fixture(scope="module")
def baseline(edges: Edges) -> ColumnProfile:
    return profiled(*draw(4_000, seed=1), edges)


@pytest.fixture(scope="module")
def calibration(baseline: ColumnProfile) -> ErrorCalibration:
    return ErrorCalibration.of(baseline)


def profile_of(predictions: Floats, edges: Edges) -> NumberProfile:
    profile = NumberProfile.empty(edges)
    profile.add(pa.chunked_array([predictions]))
    return profile


def estimated(calibration: ErrorCalibration, profile: NumberProfile) -> dict[str, MetricRecord]:
    records = estimate_errors(place(profile, calibration), calibration)
    assert [record.name for record in records] == ["rmse", "mae", "bias"]
    return {record.name: record for record in records}


def true_errors(predictions: Floats, labels: Floats) -> dict[str, float]:
    return {
        "rmse": float(metrics.root_mean_squared_error(labels, predictions)),
        "mae": float(metrics.mean_absolute_error(labels, predictions)),
        "bias": float((predictions - labels).mean()),
    }


def test_the_baseline_has_what_came_true_in_it(calibration: ErrorCalibration) -> None:
    expected = true_errors(*draw(4_000, seed=1))
    for record in baseline_errors(calibration):
        assert record.value == pytest.approx(expected[record.name], rel=1e-12)
        assert (record.low, record.n) == (None, 4_000)


def test_an_estimate_follows_the_predictions_and_its_band_holds_the_truth(
    calibration: ErrorCalibration, edges: Edges
) -> None:
    for center in (8.0, 12.0):
        predictions, labels = draw(3_000, seed=2, center=center)
        found = estimated(calibration, profile_of(predictions, edges))
        for name, truth in true_errors(predictions, labels).items():
            record = found[name]
            assert (record.n, record.note) == (3_000, "")
            assert record.low is not None
            assert record.high is not None
            assert record.low < truth < record.high, (center, name)


def test_days_added_up_are_one_estimate(calibration: ErrorCalibration, edges: Edges) -> None:
    predictions, _ = draw(3_000, seed=3)
    parts = [profile_of(part, edges) for part in np.array_split(predictions, 3)]
    together = add_up(place(part, calibration) for part in parts)
    whole = place(profile_of(predictions, edges), calibration)
    for mine, others in zip(
        estimate_errors(together, calibration), estimate_errors(whole, calibration), strict=True
    ):
        assert mine.value == pytest.approx(others.value, rel=1e-12)
        assert mine.high == pytest.approx(others.high, rel=1e-12)


def test_other_bins_are_approximate_and_the_band_is_wider(
    calibration: ErrorCalibration, edges: Edges
) -> None:
    predictions, _ = draw(3_000, seed=4)
    exact = estimated(calibration, profile_of(predictions, edges))
    other = Edges.from_values(draw(500, seed=5)[0])

    for name, record in estimated(calibration, profile_of(predictions, other)).items():
        sharp = exact[name]
        assert record.note == "approximate: the scores were counted over other bins"
        assert record.value == pytest.approx(sharp.value, rel=0.03, abs=0.05)
        assert None not in (record.low, record.high, sharp.low, sharp.high)
        assert record.high - record.low > sharp.high - sharp.low  # type: ignore[operator]


def test_few_rows_are_no_number(calibration: ErrorCalibration, edges: Edges) -> None:
    found = estimated(calibration, profile_of(draw(99, seed=6)[0], edges))
    assert {record.value for record in found.values()} == {None}
    assert found["rmse"].note == "too few: 99 rows, at least 100 are needed"

    small = ErrorCalibration.of(profiled(*draw(LEAST_LABELLED - 1, seed=6), edges))
    found = estimated(small, profile_of(draw(1_000, seed=6)[0], edges))
    assert found["rmse"].note == (
        "too few: the baseline has 499 labelled rows, at least 500 are needed"
    )


def test_a_bin_with_fewer_than_two_labels_is_between_its_neighbours(edges: Edges) -> None:
    predictions, labels = draw(4_000, seed=1)
    places = np.searchsorted(edges.both, predictions)
    in_bin = np.flatnonzero(places == 30)
    labels[in_bin[1:]] = np.nan
    labels[in_bin[0]] = 1e6
    sparse = ErrorCalibration.of(profiled(predictions, labels, edges))
    profile = profile_of(np.repeat(predictions[in_bin[:1]], 500), edges)
    rmse = estimated(sparse, profile)["rmse"].value
    assert rmse is not None
    assert 1 < rmse < 5


def test_predictions_without_an_error_have_an_exact_estimate(edges: Edges) -> None:
    predictions, _ = draw(1_000, seed=7)
    perfect = ErrorCalibration.of(profiled(predictions, predictions, edges))
    for record in estimated(perfect, profile_of(predictions, edges)).values():
        assert (record.value, record.low, record.high) == (0.0, 0.0, 0.0)


def test_errors_beyond_float64_are_no_number(edges: Edges) -> None:
    predictions, labels = draw(1_000, seed=8)
    labels[5] = 1e200
    huge = ErrorCalibration.of(profiled(predictions, labels, edges))
    found = estimated(huge, profile_of(predictions, edges))
    assert (found["rmse"].value, found["rmse"].note) == (None, TOO_LARGE)
    assert {record.name: record.note for record in baseline_errors(huge)}["rmse"] == TOO_LARGE


def test_an_older_baseline_says_that_errors_are_not_stored() -> None:
    (older,) = from_bytes(OLDER.read_bytes())
    assert older.scores is not None
    assert older.scores.rows.total() == 400
    assert isinstance(older.profile, NumberProfile)
    assert is_estimated([older])

    estimate = estimate_run([older], [older], SHA256, Decision())
    assert estimate is not None
    for record in (*estimate.metrics, *estimate.baseline):
        assert (record.value, record.low, record.note) == (None, None, NOT_STORED)
    ((subject, value),) = headlines(estimate)
    assert subject == "Estimated RMSE"
    assert value.startswith("not known (not stored: an older version logged the baseline")


def test_a_run_records_errors_of_predicted_floats_only(
    baseline: ColumnProfile, edges: Edges
) -> None:
    run = profiled(*draw(500, seed=9), edges)
    estimate = estimate_run([run], [baseline], SHA256, Decision())
    assert estimate is not None
    assert [record.name for record in estimate.metrics] == ["rmse", "mae", "bias"]
    ((_, value),) = headlines(estimate)
    assert ", baseline " in value

    run.type = "int64"
    assert estimate_run([run], [baseline], SHA256, Decision()) is None
    baseline.scores, labels = None, baseline.scores
    run.type = "double"
    assert estimate_run([run], [baseline], SHA256, Decision()) is None
    baseline.scores = labels
