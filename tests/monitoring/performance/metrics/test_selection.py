"""Labelled rows that are not like all rows, and their weights."""

import numpy as np
import pytest
from scipy import stats

from nightscore.monitoring.performance.metrics.binary import binary_metrics
from nightscore.monitoring.performance.metrics.selection import (
    bins_of_scores,
    label_weights,
    score_edges,
    selection_by_score,
)

RNG = np.random.default_rng(15)
SCORES = RNG.beta(2, 3, 20_000)
EDGES = score_edges(SCORES)
BINS = bins_of_scores(SCORES, EDGES)


def counts(is_counted: np.ndarray) -> np.ndarray:
    return np.bincount(BINS[is_counted], minlength=len(EDGES) + 1)


def test_a_selection_by_score_is_a_finding() -> None:
    is_labelled = RNG.random(20_000) < SCORES
    selection = selection_by_score(counts(BINS >= 0), counts(is_labelled))

    table = np.array([counts(is_labelled), counts(~is_labelled)])
    assert selection.p_value == pytest.approx(stats.chi2_contingency(table).pvalue, abs=1e-12)
    whole = stats.ks_2samp(SCORES[is_labelled], SCORES[~is_labelled]).statistic
    assert selection.distance == pytest.approx(whole, abs=0.03)
    assert selection.is_finding

    share = selection.n_labelled / (selection.n_labelled + selection.n_others)
    from_all = np.abs(
        np.cumsum(counts(is_labelled)) / is_labelled.sum()
        - np.cumsum(counts(BINS >= 0)) / len(BINS)
    )
    assert selection.distance_from_all == pytest.approx(from_all.max())
    assert selection.distance_from_all == pytest.approx(selection.distance * (1 - share))


def test_labels_by_chance_are_none() -> None:
    n_findings = 0
    for _ in range(200):
        is_labelled = RNG.random(20_000) < 0.02
        n_findings += selection_by_score(counts(BINS >= 0), counts(is_labelled)).is_finding

    assert n_findings <= 1


def test_a_small_difference_is_none_however_certain() -> None:
    n_rows = np.full(10, 10_000_000)
    selection = selection_by_score(n_rows, n_rows // 2 + np.arange(10) * 1_000)

    assert selection.p_value is not None
    assert selection.p_value < 0.001
    assert not selection.is_finding


@pytest.mark.parametrize("share", [0, 1])
def test_all_or_none_are_labelled(share: int) -> None:
    n_rows = np.full(10, 100)
    selection = selection_by_score(n_rows, share * n_rows)

    assert (selection.distance, selection.p_value, selection.is_finding) == (None, None, False)


def test_scores_that_are_not_finite_have_a_bin() -> None:
    scores = np.array([-np.inf, 0.5, np.nan, np.inf])

    assert score_edges(scores, 2).tolist() == [0.5]
    assert bins_of_scores(scores, np.array([0.5])).tolist() == [0, 0, 1, 1]
    assert selection_by_score(np.zeros(1, int), np.zeros(1, int)).distance is None


def test_weights_undo_the_selection() -> None:
    """Of early labels high scores are more likely."""
    label = RNG.random(20_000) < SCORES
    is_labelled = RNG.random(20_000) < 0.05 + 0.9 * SCORES

    found = label_weights(counts(BINS >= 0), counts(is_labelled))
    assert found is not None
    weights = found.weights[BINS][is_labelled]

    assert found.n_united == 0
    assert weights.sum() == pytest.approx(20_000)

    def of(rows: np.ndarray, weights: np.ndarray | None = None) -> dict[str, float]:
        records = binary_metrics(SCORES[rows], label[rows], threshold=0.5, weights=weights)
        return {record.name: record.value or 0.0 for record in records}

    of_all, of_labelled, of_weighted = of(BINS >= 0), of(is_labelled), of(is_labelled, weights)
    for name in ("roc_auc", "average_precision", "brier", "log_loss", "recall"):
        wrong = abs(of_labelled[name] - of_all[name])
        assert abs(of_weighted[name] - of_all[name]) < max(0.3 * wrong, 0.005), name


UNITED = {
    "some": ([5, 15, 50, 10], [10, 10, 200 / 60, 200 / 60], 3),
    "all into one": ([0, 0, 25, 0], [16, 16, 16, 16], 3),
    "none": ([20, 25, 50, 100], [5, 4, 2, 1], 0),
}


@pytest.mark.parametrize("name", UNITED)
def test_bins_with_few_labels_are_united(name: str) -> None:
    n_labelled, weights, n_united = UNITED[name]
    found = label_weights(np.full(4, 100), np.array(n_labelled))

    assert found is not None
    assert found.weights.tolist() == weights
    assert found.n_united == n_united


def test_too_few_labels_have_no_weights() -> None:
    assert label_weights(np.full(4, 100), np.array([3, 3, 3, 3])) is None
    assert label_weights(np.zeros(4, int), np.zeros(4, int)) is None


def test_few_rows_are_not_compared() -> None:
    selection = selection_by_score(np.array([500, 500]), np.array([0, 49]))

    assert selection.p_value is not None
    assert selection.p_value < 0.001
    assert not selection.is_finding
