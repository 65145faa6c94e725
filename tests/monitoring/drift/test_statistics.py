"""Each statistic against SciPy or its definition written out, on generated counts and values."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from scipy.spatial.distance import jensenshannon

from nightscore.monitoring.drift.statistics.chi_squared import benjamini_hochberg
from nightscore.monitoring.drift.statistics.hellinger import hellinger
from nightscore.monitoring.drift.statistics.jensen_shannon import js_distance
from nightscore.monitoring.drift.statistics.kolmogorov_smirnov import (
    kolmogorov_smirnov,
    kolmogorov_smirnov_upper,
)
from nightscore.monitoring.drift.statistics.largest_difference import largest_difference
from nightscore.monitoring.drift.statistics.psi import psi, psi_laplace, psi_noise_floor
from nightscore.monitoring.drift.statistics.shared.contingency import chi2, chi2_tail
from nightscore.monitoring.drift.statistics.total_variation import total_variation
from nightscore.monitoring.drift.statistics.wasserstein import wasserstein
from nightscore.profiles.bins import (
    DECILE_BINS,
    FINE_BINS,
    count_bins,
    quantile_edges,
    sorted_quantiles,
)

counts = st.integers(1, 40).flatmap(
    lambda k: st.tuples(*[arrays(np.int64, k, elements=st.integers(0, 10_000)) for _ in range(2)])
)
values = arrays(np.float64, st.integers(1, 400), elements=st.floats(-1e12, 1e12, allow_nan=False))
few = arrays(
    np.float64, st.integers(1, 400), elements=st.sampled_from([-3.0, 0.0, 1e-6, 4.0, 5.0, 1e12])
)


def both(pair: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    assume(pair[0].sum() and pair[1].sum())
    return pair


@given(counts)
def test_distances_are_those_of_their_definitions(pair: tuple[np.ndarray, np.ndarray]) -> None:
    n, m = both(pair)
    p, q = n / n.sum(), m / m.sum()
    floored = np.maximum(p, 1e-4), np.maximum(q, 1e-4)
    expected = sum((b - a) * math.log(b / a) for a, b in zip(*floored, strict=True))
    assert psi(n, m) == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert js_distance(n, m) == pytest.approx(jensenshannon(p, q, base=2), rel=1e-6, abs=1e-7)
    assert hellinger(n, m) == pytest.approx(
        math.sqrt(max(0, 1 - np.sqrt(p * q).sum())), rel=1e-6, abs=1e-7
    )
    assert total_variation(n, m) == pytest.approx(np.abs(p - q).sum() / 2)
    assert largest_difference(n, m) == pytest.approx(max(abs(p - q)))
    k = len(n)
    a, b = (n + 0.5) / (n.sum() + k / 2), (m + 0.5) / (m.sum() + k / 2)
    assert psi_laplace(n, m) == pytest.approx(((b - a) * np.log(b / a)).sum(), rel=1e-9, abs=1e-12)
    assert psi_noise_floor(n, m) == pytest.approx((k - 1) * (1 / n.sum() + 1 / m.sum()))


@given(counts)
def test_all_are_symmetric_and_zero_for_the_same(pair: tuple[np.ndarray, np.ndarray]) -> None:
    n, m = both(pair)
    for distance in (
        psi,
        psi_laplace,
        js_distance,
        hellinger,
        total_variation,
        largest_difference,
    ):
        assert distance(n, m) == pytest.approx(distance(m, n), abs=1e-12)
        assert distance(n, n) == pytest.approx(0, abs=1e-7)


@given(counts)
def test_chi2_is_scipy_s(pair: tuple[np.ndarray, np.ndarray]) -> None:
    n, m = both(pair)
    table = np.array([n, m])[:, n + m > 0]
    assume(table.shape[1] > 1)
    expected = stats.chi2_contingency(table, correction=False)
    chi2_value, p_value = chi2(n, m)
    assert chi2_value == pytest.approx(expected.statistic)
    assert p_value == pytest.approx(expected.pvalue)


def test_nothing_to_compare_is_no_distance() -> None:
    none, some = np.zeros(3, np.int64), np.array([1, 2, 3])
    for pair in ((none, some), (some, none), (none, none)):
        assert math.isnan(psi(*pair))
        assert math.isnan(psi_laplace(*pair))
        assert math.isnan(js_distance(*pair))
        assert math.isnan(hellinger(*pair))
        assert math.isnan(chi2(*pair)[1])
        assert math.isnan(kolmogorov_smirnov(*pair))
    assert chi2(np.array([5, 0]), np.array([7, 0])) == (0.0, 1.0)


@given(st.one_of(values, few), st.one_of(values, few))
def test_kolmogorov_smirnov_is_bounded_on_both_sides(
    reference: np.ndarray, current: np.ndarray
) -> None:
    edges = quantile_edges(np.sort(reference), FINE_BINS)
    n, m = (count_bins(sample, edges)[0] for sample in (reference, current))
    least, most = kolmogorov_smirnov(n, m), kolmogorov_smirnov_upper(n, m)
    points = np.concatenate([reference, current])
    ranks = (
        np.searchsorted(np.sort(sample), points, "right") / len(sample)
        for sample in (reference, current)
    )
    exact = np.abs(np.subtract(*ranks)).max()
    assert least - 1e-9 <= exact <= most + 1e-9


@given(few, few)
def test_wasserstein_is_exact_where_each_value_has_its_bin(
    reference: np.ndarray, current: np.ndarray
) -> None:
    edges = np.unique(np.concatenate([reference, current]))
    edges = np.unique(np.concatenate([edges, np.nextafter(edges, -np.inf)]))
    (n, n_sums), (m, m_sums) = (count_bins(values, edges) for values in (reference, current))
    expected = stats.wasserstein_distance(reference, current)
    assert wasserstein(edges, n, m, n_sums, m_sums) == pytest.approx(expected, rel=1e-6, abs=1e-3)


def test_wasserstein_of_a_shift_is_the_shift() -> None:
    rng = np.random.default_rng(0)
    reference = rng.normal(size=20_000)
    edges = quantile_edges(np.sort(reference), FINE_BINS)
    for scale in (1e-6, 1.0, 1e12):
        (n, n_sums), (m, m_sums) = (
            count_bins(values, edges * scale)
            for values in (reference * scale, (reference + 0.5) * scale)
        )
        assert wasserstein(edges * scale, n, m, n_sums, m_sums) == pytest.approx(
            0.5 * scale, rel=1e-6
        )


def test_false_discoveries_are_controlled_and_what_is_unknown_stays_so() -> None:
    q_values = benjamini_hochberg(np.array([0.01, np.nan, 0.04, 0.03]))
    assert q_values[[0, 2, 3]] == pytest.approx([0.03, 0.04, 0.04])
    assert np.isnan(q_values[1])


@given(
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=300),
    st.integers(2, 70),
)
def test_quantiles_are_numpy_s(values: list[float], n_bins: int) -> None:
    ordered, at = np.sort(np.array(values)), np.arange(n_bins + 1) / n_bins
    with np.errstate(over="ignore", invalid="ignore"):
        expected = np.quantile(ordered, at, method="linear")
        assert np.array_equal(sorted_quantiles(ordered, at), expected, equal_nan=True)


def test_edges_follow_the_definition() -> None:
    ramp = np.arange(1_000.0)
    assert quantile_edges(ramp, DECILE_BINS) == pytest.approx(
        np.quantile(ramp, np.arange(1, 10) / 10)
    )
    constant = np.full(50, 5.0)
    assert quantile_edges(constant, FINE_BINS).tolist() == [np.nextafter(5.0, -np.inf), 5.0]
    spiked = np.concatenate([np.zeros(500), ramp])
    edges = quantile_edges(np.sort(spiked), DECILE_BINS)
    assert {0.0, np.nextafter(0.0, -np.inf)} <= set(edges)
    counts, sums = count_bins(spiked, edges)
    assert counts[np.searchsorted(edges, 0.0)] == 501
    assert sums.sum() == spiked.sum()
    assert len(quantile_edges(np.empty(0), FINE_BINS)) == 0


@given(st.one_of(values, few), st.integers(0, 400))
def test_counts_are_the_same_under_any_split(values: np.ndarray, cut: int) -> None:
    edges = quantile_edges(np.sort(values), FINE_BINS)
    whole, _ = count_bins(values, edges)
    parts = sum(count_bins(part, edges)[0] for part in (values[:cut], values[cut:]))
    assert whole.tolist() == parts.tolist()
    assert whole.sum() == len(values)


@given(
    st.integers(1, 12).flatmap(lambda k: arrays(np.int64, (2, 5, k), elements=st.integers(0, 50)))
)
def test_many_columns_at_once_are_each_by_itself(sides: np.ndarray) -> None:
    """Those without rows among them."""
    for distance in (
        psi,
        psi_laplace,
        psi_noise_floor,
        js_distance,
        hellinger,
        total_variation,
        largest_difference,
        lambda n, m: chi2(n, m)[1],
        kolmogorov_smirnov,
        kolmogorov_smirnov_upper,
    ):
        alone = [float(distance(n, m)) for n, m in zip(*sides, strict=True)]
        assert np.array_equal(np.asarray(distance(*sides)), alone, equal_nan=True)


@given(st.integers(1, 400), st.floats(0, 2_000))
def test_the_tail_of_chi_squared_is_scipy_s(freedom: int, statistic: float) -> None:
    assert chi2_tail(statistic, freedom) == pytest.approx(
        stats.chi2.sf(statistic, freedom), rel=1e-9, abs=1e-300
    )
