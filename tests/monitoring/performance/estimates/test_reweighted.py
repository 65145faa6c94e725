"""Estimates under covariate shift, on days whose labels are known."""

from decimal import Decimal
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pytest

from nightscore.monitoring.performance.estimates.binary import estimate_metrics
from nightscore.monitoring.performance.estimates.calibration import Calibration, label_variances
from nightscore.monitoring.performance.estimates.density_ratio import density_ratio, effective_rows
from nightscore.monitoring.performance.estimates.placement import Placement
from nightscore.monitoring.performance.estimates.reweighted import (
    Sample,
    estimate_reweighted,
    reweight,
)
from nightscore.profiles.bins import Floats
from nightscore.profiles.edges import Edges
from nightscore.schemas.decision import Decision
from nightscore.schemas.performance import MetricRecord

DECISION = Decision()


class Rows(NamedTuple):
    """Rows whose labels are positive in groups that the model does not tell apart."""

    features: pa.Table
    scores: Floats
    labels: Floats

    def sample(self, n_rows: int, *, labelled: bool = False) -> Sample:
        labels = self.labels[:n_rows] if labelled else None
        return Sample(
            features=self.features.slice(0, n_rows), scores=self.scores[:n_rows], labels=labels
        )


def make_rows(n_rows: int, seed: int, share_of_b: float = 0.3) -> Rows:
    """A score that is right on average in the baseline, but not in group b."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n_rows)
    is_b = rng.random(n_rows) < share_of_b
    scores = 1 / (1 + np.exp(-x))
    chances = 1 / (1 + np.exp(np.where(is_b, 0.5 * x + 0.5, -1.5 * x)))
    names = pa.array(np.where(is_b, "b", "a"))
    features = pa.table({"x": x, "group": names.dictionary_encode()})
    return Rows(features, scores, (rng.random(n_rows) < chances).astype(np.float64))


def calibrated(rows: Rows) -> Calibration:
    edges = Edges.from_values(rows.scores).with_edge(0.5)
    places = np.searchsorted(edges.both, rows.scores)
    n_bins = len(edges.both) + 1
    labelled = np.bincount(places, minlength=n_bins).astype(np.float64)
    shares = np.bincount(places, rows.labels, n_bins) / labelled
    return Calibration(
        edges=edges,
        labelled=labelled,
        shares=shares,
        variances=label_variances(labelled, shares),
        scores=np.bincount(places, rows.scores, n_bins) / labelled,
    )


def placed(rows: Rows, calibration: Calibration) -> Placement:
    places = np.searchsorted(calibration.edges.both, rows.scores)
    n_bins = len(calibration.shares)
    counts = np.bincount(places, minlength=n_bins).astype(np.float64)
    return Placement(
        np.tile(counts, (3, 1)), np.tile(np.bincount(places, rows.scores, n_bins), (3, 1)), True
    )


def accuracy(rows: Rows) -> float:
    return float(((rows.scores > 0.5) == rows.labels).mean())


BASELINE = make_rows(6_000, seed=1)
CALIBRATION = calibrated(BASELINE)


@pytest.mark.parametrize("share_of_b", [0.7, 0.1])
def test_adjusted_estimates_have_less_than_half_of_the_error_under_shift(share_of_b: float) -> None:
    day = make_rows(6_000, seed=2, share_of_b=share_of_b)
    placement = placed(day, CALIBRATION)
    plain = {one.name: one for one in estimate_metrics(placement, CALIBRATION, DECISION)}
    found = estimate_reweighted(
        BASELINE.sample(4_000, labelled=True), day.sample(1_000), placement, CALIBRATION, DECISION
    )
    adjusted = {one.name: one for one in found.metrics}
    assert found.is_shifted
    assert 200 < found.n_effective < 4_000

    truth = accuracy(day)
    own, other = adjusted["accuracy"], plain["accuracy"]
    assert own.value is not None
    assert other.value is not None
    assert abs(own.value - truth) < 0.5 * abs(other.value - truth)
    assert own.low is not None
    assert own.high is not None
    assert own.low <= truth <= own.high


def test_bands_count_that_weights_are_estimated() -> None:
    day = make_rows(6_000, seed=2, share_of_b=0.7)
    placement = placed(day, CALIBRATION)
    sample, of_day = BASELINE.sample(4_000, labelled=True), day.sample(1_000)
    found = estimate_reweighted(sample, of_day, placement, CALIBRATION, DECISION)
    ratio = density_ratio(sample.features, of_day.features, sample.scores, of_day.scores, 0)

    def accuracy_by(rows: Sample, weights: Floats) -> MetricRecord:
        calibration = reweight(CALIBRATION, rows, weights, placement)
        metrics = estimate_metrics(placement, calibration, DECISION)
        return next(metric for metric in metrics if metric.name == "accuracy")

    values = []
    for fold in range(3):
        chosen = ratio.folds == fold
        values.append(accuracy_by(sample.select(chosen), ratio.weights[chosen]).value)
    of_rows = accuracy_by(sample, ratio.weights)
    own = next(metric for metric in found.metrics if metric.name == "accuracy")

    assert own.value == of_rows.value
    assert own.low is not None
    assert of_rows.low is not None
    assert of_rows.value is not None
    of_weights = 1.96**2 * np.var(np.array(values, np.float64), ddof=1) / 3
    expected = (of_rows.value - of_rows.low) ** 2 + of_weights
    assert (own.value - own.low) ** 2 == pytest.approx(expected, rel=1e-3)


def test_without_a_shift_the_estimate_is_the_plain_one() -> None:
    day = make_rows(1_000, seed=3)
    placement = placed(day, CALIBRATION)
    found = estimate_reweighted(
        BASELINE.sample(4_000, labelled=True), day.sample(1_000), placement, CALIBRATION, DECISION
    )
    assert not found.is_shifted
    assert found.shift_auc == pytest.approx(0.5, abs=0.04)
    assert found.n_effective > 3_500
    assert found.metrics == estimate_metrics(placement, CALIBRATION, DECISION)


def test_equal_weights_change_no_share() -> None:
    sample = BASELINE.sample(2_000, labelled=True)
    placement = placed(BASELINE, CALIBRATION)
    same = reweight(CALIBRATION, sample, np.ones(2_000), placement)
    assert same.shares == pytest.approx(CALIBRATION.shares)
    assert same.labelled == pytest.approx(CALIBRATION.labelled)


def test_known_weights_give_the_shares_of_the_rows_that_they_stand_for() -> None:
    is_b = np.array(BASELINE.features["group"].to_pylist()) == "b"
    sample = BASELINE.sample(6_000, labelled=True)
    weights = np.where(is_b, 1e-9, 1.0)
    placement = placed(BASELINE, CALIBRATION)
    shares = reweight(CALIBRATION, sample, weights, placement).shares
    rows_of_a = Rows(BASELINE.features, BASELINE.scores[~is_b], BASELINE.labels[~is_b])
    # The mean over the bins of a group is exact, and there are 20 groups.
    counts = placed(rows_of_a, CALIBRATION).rows[0]
    assert (shares * counts).sum() == pytest.approx(rows_of_a.labels.sum(), rel=0.01)


def test_what_cannot_be_adjusted_says_so() -> None:
    day = make_rows(1_000, seed=4)
    placement = placed(day, CALIBRATION)
    few = estimate_reweighted(
        BASELINE.sample(4_000, labelled=True), day.sample(150), placement, CALIBRATION, DECISION
    )
    assert {metric.value for metric in few.metrics} == {None}
    assert few.metrics[0].note == "too few: a sample has 150 rows, at least 200 are needed"

    with pytest.raises(ValueError, match="has no labels"):
        reweight(CALIBRATION, day.sample(10), np.ones(10), placement)


def test_features_of_any_type_tell_rows_apart() -> None:
    n_rows, rng = 900, np.random.default_rng(5)

    def features(first: int) -> pa.Table:
        numbers = np.arange(first, first + n_rows)
        return pa.table(
            {
                "when": pa.array(numbers, pa.timestamp("us")),
                "date": pa.array(numbers.astype(np.int32), pa.date32()),
                "flag": pa.array([None, True, False] * (n_rows // 3)),
                "text": pa.array([None, *(str(i % 300) for i in range(n_rows - 1))]),
                "none": pa.nulls(n_rows),
            }
        )

    scores = rng.random(n_rows)
    ratio = density_ratio(features(0), features(n_rows), scores, scores, seed=0)
    assert ratio.auc > 0.99, "the times do not overlap"
    assert ratio.is_shifted
    again = density_ratio(features(0), features(n_rows), scores, scores, seed=0)
    assert (again.weights == ratio.weights).all()


def test_effective_rows() -> None:
    assert effective_rows(np.ones(7)) == pytest.approx(7)
    assert effective_rows(np.array([1.0, 0.0, 1.0, 0.0])) == pytest.approx(2)
    assert effective_rows(np.zeros(3)) == 0


FEATURES = {
    "null": pa.nulls(300, pa.float64()),
    "null text": pa.nulls(300, pa.string()),
    "constant": pa.array([1.0] * 300),
    "bytes": pa.array([b"\xff" + bytes([place % 7]) for place in range(300)]),
    "bytes of one length": pa.array([b"\xff\x00"] * 300, pa.binary(2)),
    "decimal": pa.array([Decimal(place) / 4 for place in range(300)], pa.decimal128(12, 2)),
    "zoned": pa.array(range(300), pa.timestamp("us", "Europe/Vienna")),
    "day": pa.array(range(300), pa.date32()),
    "time of day": pa.array(range(300), pa.time64("ns")),
    "duration": pa.array(range(300), pa.duration("s")),
    "text": pa.array([f"\u00fc{place}" for place in range(300)]),
    "infinite": pa.array([np.inf, -np.inf, np.nan] * 100),
}


def test_features_of_all_kinds_are_compared_with_each_other() -> None:
    features, scores = pa.table(FEATURES), np.linspace(0.01, 0.99, 300)
    ratio = density_ratio(features, features, scores, scores, seed=0)
    assert ratio.weights.shape == (300,)
    assert not ratio.is_shifted


@pytest.mark.parametrize("name", ["decimal", "bytes", "zoned", "text"])
def test_a_shift_is_seen_in_features_of_each_kind(name: str) -> None:
    features, scores = pa.table({name: FEATURES[name]}), np.full(300, 0.5)
    some = features.slice(0, 1).take(np.zeros(300, np.int64))
    assert density_ratio(features, some, scores, scores, seed=0).is_shifted


@pytest.mark.parametrize("other", ["text", "bytes", "zoned", "duration", "null text"])
def test_a_feature_of_another_kind_is_not_compared(other: str) -> None:
    own, others = pa.table({"x": FEATURES["decimal"]}), pa.table({"x": FEATURES[other]})
    scores = np.linspace(0.01, 0.99, 300)
    assert not density_ratio(own, others, scores, scores, seed=0).is_shifted
