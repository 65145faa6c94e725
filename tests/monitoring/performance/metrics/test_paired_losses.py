"""Two models' losses on the same rows, beside scikit-learn's and SciPy's."""

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from nightscore.monitoring.decisions.mcnemar import mcnemar_exact
from nightscore.monitoring.decisions.nights import add_pairs, group_by_day
from nightscore.monitoring.performance.metrics import means, paired_areas
from nightscore.monitoring.performance.metrics.paired_areas import mean_areas
from nightscore.monitoring.performance.metrics.paired_losses import (
    NO_PROBABILITY,
    compare_binary,
    compare_classes,
    compare_numbers,
)
from nightscore.schemas.comparison import LossSums, PairedRecord

RNG = np.random.default_rng(6)
N_ROWS = 400
LABEL = RNG.random(N_ROWS) < 0.4
CHAMPION, CHALLENGER = (np.clip(LABEL * 0.4 + RNG.random(N_ROWS) * 0.6, 0, 1) for _ in range(2))


def _loss(pairs: PairedRecord, name: str) -> LossSums:
    return next(sums for sums in pairs.losses if sums.name == name)


def test_binary_losses() -> None:
    pairs = compare_binary(CHAMPION, CHALLENGER, LABEL, 0.5)

    for name, measure in (("log_loss", metrics.log_loss), ("brier", metrics.brier_score_loss)):
        champion, challenger = measure(LABEL, CHAMPION), measure(LABEL, CHALLENGER)
        assert _loss(pairs, name).champion == pytest.approx(champion)
        assert _loss(pairs, name).difference == pytest.approx(challenger - champion)

    rights = [metrics.accuracy_score(LABEL, score > 0.5) for score in (CHAMPION, CHALLENGER)]
    assert _loss(pairs, "error").difference == pytest.approx(rights[0] - rights[1])
    assert pairs.losses[0].name == "log_loss"

    table = stats.contingency.crosstab((CHAMPION > 0.5) == LABEL, (CHALLENGER > 0.5) == LABEL)
    assert pairs.only_champion_right == table.count[1, 0]
    assert pairs.only_challenger_right == table.count[0, 1]

    areas = {metric.name: metric.value for metric in pairs.areas}
    assert areas["challenger_roc_auc"] == pytest.approx(metrics.roc_auc_score(LABEL, CHALLENGER))
    assert areas["roc_auc_difference"] == pytest.approx(
        areas["challenger_roc_auc"] - areas["champion_roc_auc"]
    )


def test_scores_that_are_no_probabilities_are_compared_by_errors() -> None:
    pairs = compare_binary(CHAMPION * 3, CHALLENGER, LABEL, 0.5)
    assert [sums.name for sums in pairs.losses] == ["error"]
    assert pairs.notes == (NO_PROBABILITY,)


def test_losses_of_classes() -> None:
    label = RNG.integers(0, 3, N_ROWS)
    probabilities = tuple(RNG.dirichlet(np.ones(3) + np.eye(3)[1], N_ROWS) for _ in range(2))
    champion, challenger = (of_model.argmax(axis=1) for of_model in probabilities)
    pairs = compare_classes(champion, challenger, label, (probabilities[0], probabilities[1]))

    losses = [metrics.log_loss(label, of_model) for of_model in probabilities]
    assert _loss(pairs, "log_loss").difference == pytest.approx(losses[1] - losses[0])

    gaps = np.log(probabilities[0]) - np.log(probabilities[1])
    mean = (probabilities[0] + probabilities[1]) / 2
    expected = ((mean * gaps**2).sum(axis=1) - (mean * gaps).sum(axis=1) ** 2).mean()
    assert _loss(pairs, "log_loss").expected_variance == pytest.approx(expected)

    without = compare_classes(champion, challenger, label)
    assert without.losses == (_loss(pairs, "error"),)
    assert without.only_champion_right == np.sum((champion == label) & (challenger != label))


def test_losses_of_numbers() -> None:
    label = RNG.normal(size=N_ROWS)
    champion, challenger = label + RNG.normal(size=N_ROWS), label + 1
    pairs = compare_numbers(champion, challenger, label)

    squared = [metrics.mean_squared_error(label, some) for some in (champion, challenger)]
    assert _loss(pairs, "squared_error").difference == pytest.approx(squared[1] - squared[0])
    assert _loss(pairs, "absolute_error").champion == pytest.approx(
        metrics.mean_absolute_error(label, champion)
    )


def test_the_variance_that_is_expected_is_that_of_simulated_labels() -> None:
    """Labels as probable as the mean of both models says."""
    mean = (CHAMPION + CHALLENGER) / 2
    rng = np.random.default_rng(10)
    differences: dict[str, list[float]] = {"log_loss": [], "brier": []}

    for _ in range(400):
        pairs = compare_binary(CHAMPION, CHALLENGER, rng.random(N_ROWS) < mean, 0.5)
        for name, found in differences.items():
            found.append(_loss(pairs, name).difference)

    for name, found in differences.items():
        expected = _loss(pairs, name).expected_variance
        assert np.var(found) * N_ROWS == pytest.approx(expected, rel=0.25)


def test_a_model_that_is_too_sure_has_much_to_lose() -> None:
    label = np.ones(1_000, bool)
    pairs = compare_binary(np.full(1_000, 0.99), np.full(1_000, 0.99999), label, 0.5)

    sums = _loss(pairs, "log_loss")
    assert sums.difference < 0
    assert sums.variance < 1e-12
    assert sums.expected_variance == pytest.approx(0.005 * np.log(1_000) ** 2, rel=0.02)


def test_partitions_of_a_day_add_up_to_the_day() -> None:
    whole = compare_binary(CHAMPION, CHALLENGER, LABEL, 0.5)
    first, second = (
        compare_binary(CHAMPION[rows], CHALLENGER[rows], LABEL[rows], 0.5)
        for rows in (slice(0, 70), slice(70, None))
    )
    nights = group_by_day([("2026-03-02", first), ("2026-03-01", whole), ("2026-03-02", second)])

    assert [night.day for night in nights] == ["2026-03-01", "2026-03-02"]
    added = nights[1].pairs
    assert (added.n, added.only_champion_right) == (N_ROWS, whole.only_champion_right)
    for sums, of_whole in zip(added.losses, whole.losses, strict=True):
        assert sums.model_dump(exclude={"name"}) == pytest.approx(
            of_whole.model_dump(exclude={"name"})
        )

    assert add_pairs(PairedRecord(), whole).losses == whole.losses


def test_without_rows_there_is_nothing() -> None:
    none = np.zeros(0)
    codes = none.astype(int)
    assert compare_binary(none, none, none.astype(bool), 0.5) == PairedRecord()
    assert compare_classes(codes, codes, codes) == PairedRecord()
    assert compare_numbers(none, none, none) == PairedRecord()


@pytest.mark.parametrize(("one", "other"), [(0, 0), (0, 9), (9, 9), (31, 60), (4_900, 5_100)])
def test_mcnemar_is_the_binomial_test(one: int, other: int) -> None:
    expected = stats.binomtest(one, one + other).pvalue if one + other else 1.0
    assert mcnemar_exact(one, other) == pytest.approx(expected, rel=1e-9)
    assert mcnemar_exact(other, one) == mcnemar_exact(one, other)


def test_mcnemar_of_millions_of_rows() -> None:
    assert mcnemar_exact(1_000_000, 1_002_000) == pytest.approx(
        2 * stats.norm.sf(1_999 / np.sqrt(2_002_000)), rel=1e-3
    )
    assert mcnemar_exact(1_000, 1_000_000) == 0.0


def test_areas_of_nights_have_a_mean_and_its_band() -> None:
    areas = compare_binary(CHAMPION, CHALLENGER, LABEL, 0.5).areas
    found = {metric.name: metric for metric in mean_areas([areas] * 4)}

    for metric in areas:
        mean = found[metric.name]
        assert mean.value == pytest.approx(metric.value)
        assert mean.high - mean.low == pytest.approx((metric.high - metric.low) / 2)


def test_blocks_of_rows_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = compare_binary(CHAMPION, CHALLENGER, LABEL, 0.5)
    monkeypatch.setattr(means, "BLOCK_ROWS", 70)
    parts = compare_binary(CHAMPION, CHALLENGER, LABEL, 0.5)

    for sums, of_whole in zip(parts.losses, whole.losses, strict=True):
        assert sums.model_dump(exclude={"name"}) == pytest.approx(
            of_whole.model_dump(exclude={"name"})
        )


def test_of_many_rows_areas_are_of_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paired_areas, "MOST_ROWS", 150)
    areas = compare_binary(CHAMPION, CHALLENGER, LABEL, 0.5).areas

    assert {metric.n for metric in areas} == {134}
    assert areas[1].value == pytest.approx(metrics.roc_auc_score(LABEL[::3], CHALLENGER[::3]))
