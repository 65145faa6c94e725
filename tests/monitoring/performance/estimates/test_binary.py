"""Records of estimates: placement in the baseline's bins, what is approximate, and what is too few."""

from itertools import chain

import numpy as np
import pytest

from nightscore.monitoring.performance.estimates.binary import (
    AT_ONCE,
    OF_DECISIONS,
    OF_THRESHOLD,
    baseline_metrics,
    estimate_each,
    estimate_metrics,
)
from nightscore.monitoring.performance.estimates.calibration import Calibration
from nightscore.monitoring.performance.estimates.placement import (
    HIGH,
    LIKELY,
    LOW,
    add_up,
    place,
    predicted_positive,
)
from nightscore.profiles.bins import Floats
from nightscore.profiles.edges import Edges
from nightscore.profiles.profile import CategoryProfile, NumberProfile
from nightscore.profiles.scores import Scores
from nightscore.profiles.table import ColumnProfile
from nightscore.schemas.decision import Decision, DecisionValues
from nightscore.schemas.performance import MetricRecord

DECISION = Decision(threshold=0.5, values=DecisionValues(tp=10.0, fp=-1.0))
Records = dict[str, MetricRecord]


def profile_of(scores: Floats, edges: Edges) -> NumberProfile:
    import pyarrow as pa

    profile = NumberProfile.empty(edges)
    profile.add(pa.chunked_array([scores]))
    return profile


def baseline_of(scores: Floats, labels: Floats, edges: Edges) -> ColumnProfile:
    """As `nightscore baseline --label` logs it."""
    profile = profile_of(scores, edges)
    places = np.searchsorted(edges.both, scores)
    by_bin = Scores()
    for place_ in np.unique(places).tolist():
        is_here = places == place_
        by_bin.add(str(place_), int(is_here.sum()), float(labels[is_here].sum()))
    return ColumnProfile(role="prediction", name="probability", profile=profile, scores=by_bin)


def draw(n: int, seed: int, alpha: float = 2.0) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    scores = rng.beta(alpha, 3.0, n)
    return scores, (rng.random(n) < scores).astype(np.float64)


@pytest.fixture(scope="module")
def edges() -> Edges:
    return Edges.from_values(draw(4_000, seed=1)[0]).with_edge(0.5)


@pytest.fixture(scope="module")
def calibration(edges: Edges) -> Calibration:
    return Calibration.of(baseline_of(*draw(4_000, seed=1), edges))


def by_name(records: list[MetricRecord]) -> Records:
    return {record.name: record for record in records}


def estimated(calibration: Calibration, profile: NumberProfile, **changes: float) -> Records:
    decision = DECISION.model_copy(update=changes)
    return by_name(estimate_metrics(place(profile, calibration), calibration, decision))


def test_an_estimate_has_a_band_around_its_value(calibration: Calibration, edges: Edges) -> None:
    scores, labels = draw(3_000, seed=2)
    found = estimated(calibration, profile_of(scores, edges))
    assert [*found][:4] == ["roc_auc", "average_precision", "log_loss", "brier"]
    for record in found.values():
        assert (record.n, record.note) == (3_000, ""), record
        assert record.low is not None
        assert record.high is not None
        assert record.value is not None
        assert record.low < record.value < record.high, record

    accuracy = float(((scores > 0.5) == labels).mean())
    low, high = found["accuracy"].low, found["accuracy"].high
    assert low is not None
    assert high is not None
    assert low < accuracy < high
    outcomes = [found[name].value or 0.0 for name in ("tp", "fp", "fn", "tn")]
    assert sum(outcomes) == pytest.approx(3_000)
    assert found["value"].value == pytest.approx((10 * outcomes[0] - outcomes[1]) / 3_000)


def test_days_added_up_are_one_estimate(calibration: Calibration, edges: Edges) -> None:
    scores, _ = draw(3_000, seed=3)
    parts = [profile_of(part, edges) for part in np.array_split(scores, 3)]
    together = add_up(place(part, calibration) for part in parts)
    whole = place(profile_of(scores, edges), calibration)
    for mine, others in zip(
        estimate_metrics(together, calibration, DECISION),
        estimate_metrics(whole, calibration, DECISION),
        strict=True,
    ):
        assert mine.value == pytest.approx(others.value, rel=1e-12)
        assert mine.low == pytest.approx(others.low, rel=1e-12)

    alone = estimate_metrics(place(parts[0], calibration), calibration, DECISION)
    assert by_name(alone)["precision"].note or alone, "a part has an estimate of its own"


def test_many_partitions_at_once_are_estimated_as_each_alone(
    calibration: Calibration, edges: Edges
) -> None:
    others = Edges.from_values(draw(500, seed=5)[0])
    sizes = [3_000, 50, 1_200, 400] * 20
    placements = []
    for seed, size in enumerate(sizes):
        profile = profile_of(draw(size, seed)[0], others if seed % 3 == 1 else edges)
        placements.append(place(profile, calibration))
    assert len(placements) > AT_ONCE

    for threshold in (0.5, 0.123456):
        decision = Decision(threshold=threshold, values=DecisionValues(tp=3.0))
        together = estimate_each(placements, calibration, decision)
        alone = [estimate_metrics(one, calibration, decision) for one in placements]

        assert [*map(len, together)] == [*map(len, alone)]
        for mine, other in zip(chain(*together), chain(*alone), strict=True):
            assert (mine.name, mine.n, mine.note) == (other.name, other.n, other.note)
            np.testing.assert_allclose(numbers_of(mine), numbers_of(other), rtol=1e-12, atol=1e-12)


def numbers_of(record: MetricRecord) -> Floats:
    """NaN: not known."""
    return np.array([record.value, record.low, record.high], np.float64)


def test_other_bins_are_approximate_and_the_band_is_wider(
    calibration: Calibration, edges: Edges
) -> None:
    scores, _ = draw(3_000, seed=4)
    exact = estimated(calibration, profile_of(scores, edges))
    other = Edges.from_values(draw(500, seed=5)[0])
    rough = estimated(calibration, profile_of(scores, other))

    for name, record in rough.items():
        sharp = exact[name]
        assert None not in (record.value, record.low, record.high, sharp.low, sharp.high)
        assert record.value == pytest.approx(sharp.value, rel=0.03), name
        assert record.high - record.low > sharp.high - sharp.low, name  # type: ignore[operator]
    assert rough["roc_auc"].note == "approximate: the scores were counted over other bins"


def test_rows_of_other_bins_are_conserved_and_the_truth_is_between_the_cases(
    calibration: Calibration, edges: Edges
) -> None:
    for seed, n in ((6, 1), (7, 40), (8, 5_000)):
        scores, _ = draw(n, seed=seed, alpha=4.0)
        other = Edges.from_values(draw(300, seed=9)[0])
        rows = place(profile_of(scores, other), calibration).rows
        assert rows.sum(1) == pytest.approx([n, n, n])
        assert (rows >= -1e-9).all()

        below = np.cumsum(rows, axis=1)
        truth = np.cumsum(profile_of(scores, edges).counts)
        assert (below[HIGH] - 1e-9 <= truth).all()
        assert (truth <= below[LOW] + 1e-9).all()


def test_a_threshold_within_a_bin_is_approximate(calibration: Calibration, edges: Edges) -> None:
    scores, _ = draw(3_000, seed=10)
    inside = float((edges.both[30] + edges.both[31]) / 2)
    shares = predicted_positive(calibration, inside)
    assert shares[:, 31].tolist() == pytest.approx([0.5, 0.0, 1.0])
    assert (shares[:, :31] == 0).all()
    assert (shares[:, 32:] == 1).all()

    profile = profile_of(scores, edges)
    found = estimated(calibration, profile, threshold=inside)
    cases = [estimated(calibration, profile, threshold=float(edges.both[i])) for i in (30, 31)]
    for name in OF_THRESHOLD:
        assert found[name].note.startswith(f"approximate: the threshold {inside:g} is no edge")
        lows, highs = [[one[name].low for one in cases], [one[name].high for one in cases]]
        assert found[name].low == pytest.approx(min(lows), abs=1e-12), name  # type: ignore[type-var]
        assert found[name].high == pytest.approx(max(highs), abs=1e-12), name  # type: ignore[type-var]
    assert found["roc_auc"].note == ""
    assert LIKELY == 0


@pytest.mark.parametrize("threshold", [0.0, 0.999_999])
def test_a_threshold_beyond_all_edges_is_no_error(
    calibration: Calibration, threshold: float
) -> None:
    shares = predicted_positive(calibration, threshold)
    assert shares.shape == (3, len(calibration.shares))
    assert ((shares >= 0) & (shares <= 1)).all()


def test_few_rows_are_no_number(calibration: Calibration, edges: Edges) -> None:
    found = estimated(calibration, profile_of(draw(500, seed=11)[0], edges))
    for name in OF_DECISIONS:
        assert (found[name].value, found[name].low) == (None, None)
        assert found[name].note == "too few: 500 rows, at least 1,000 are needed"
    assert found["roc_auc"].value is not None

    found = estimated(calibration, profile_of(draw(99, seed=11)[0], edges))
    assert all(record.value is None for record in found.values())
    found = estimated(calibration, profile_of(np.empty(0), edges))
    assert all(record.note.startswith("too few: 0 rows") for record in found.values())


def test_a_baseline_with_few_positive_rows_gives_no_number(edges: Edges) -> None:
    scores, labels = draw(4_000, seed=12)
    labels[np.flatnonzero(labels)[30:]] = 0
    rare = Calibration.of(baseline_of(scores, labels, edges))
    found = estimated(rare, profile_of(scores, edges))
    assert found["roc_auc"].note == (
        "too few: the baseline has 30 positive rows, at least 50 are needed"
    )


def test_the_baseline_has_what_came_true_in_it(calibration: Calibration) -> None:
    from sklearn import metrics

    scores, labels = draw(4_000, seed=1)
    found = by_name(baseline_metrics(calibration, DECISION))
    assert {record.low for record in found.values()} == {None}
    assert found["accuracy"].value == pytest.approx(((scores > 0.5) == labels).mean())
    assert found["roc_auc"].value == pytest.approx(metrics.roc_auc_score(labels, scores), abs=2e-3)
    assert found["log_loss"].value == pytest.approx(metrics.log_loss(labels, scores), rel=1e-2)
    assert found["brier"].value == pytest.approx(metrics.brier_score_loss(labels, scores), rel=1e-2)


def test_a_bin_without_labels_is_between_its_neighbours(edges: Edges) -> None:
    column = baseline_of(*draw(4_000, seed=1), edges)
    assert column.scores is not None
    for key in ("10", "11"):
        del column.scores.rows[key], column.scores.sums[key]
    shares = Calibration.of(column).shares
    assert shares[5] <= shares[10] <= shares[11] <= shares[20]


def test_what_is_no_class_of_0_and_1_is_refused(edges: Edges) -> None:
    scores, labels = draw(1_000, seed=1)
    column = baseline_of(scores, labels * 2.5, edges)
    with pytest.raises(ValueError, match="not 0 and 1"):
        Calibration.of(column)
    column.scores = Scores()
    with pytest.raises(ValueError, match="none of its rows has a label"):
        Calibration.of(column)
    column.scores = None
    with pytest.raises(ValueError, match="no labels"):
        Calibration.of(column)
    names = ColumnProfile(role="prediction", name="probability", profile=CategoryProfile())
    with pytest.raises(ValueError, match="no labels"):
        Calibration.of(names)
