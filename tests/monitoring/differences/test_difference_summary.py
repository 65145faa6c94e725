from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from nightscore.monitoring.differences.difference_summary import summarise_difference
from nightscore.monitoring.differences.rank_correlation import rank_correlation
from nightscore.monitoring.differences.wording import (
    describe_difference,
    describe_sample,
    show_group,
)
from nightscore.schemas.difference import DifferenceRecord, GroupRecord
from tests.profiles.differences.compared import binary_spec, count_rows, make_rows

ROWS = make_rows(5_000, seed=4)


def test_differences_are_numpys_within_the_error_stated() -> None:
    record = summarise_difference(count_rows(ROWS, binary_spec()))
    delta = record.delta
    assert delta is not None

    deltas = ROWS.column("challenger").to_numpy() - ROWS.column("champion").to_numpy()
    assert delta.mean == pytest.approx(deltas.mean(), rel=1e-9)
    assert (delta.least, delta.greatest) == (deltas.min(), deltas.max())

    root_mean_square = np.sqrt(np.mean(deltas**2))
    assert delta.spread == pytest.approx(
        deltas.std(ddof=1), abs=delta.relative_error * root_mean_square
    )
    assert delta.mean_absolute == pytest.approx(abs(deltas).mean(), rel=delta.relative_error)

    for quantile in delta.quantiles:
        expected = np.quantile(deltas, quantile.p, method="inverted_cdf")
        assert quantile.value == pytest.approx(expected, rel=delta.relative_error)

    assert delta.n_equal == (deltas == 0).sum()
    assert delta.n_higher == (deltas > 0).sum()
    assert delta.n_lower == (deltas < 0).sum()


@pytest.mark.parametrize("value", [0.0, 1.0, -2.5])
def test_a_bin_of_one_value_is_shown_as_that_value(value: float) -> None:
    below = float(np.nextafter(value, -np.inf))
    group = GroupRecord(kind="feature", column="visits", above=below, up_to=value)
    assert show_group(group) == f"visits = {value:g}"


@settings(max_examples=40)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(2, 300),
    st.sampled_from([0.0, 0.05, 0.5, 5.0]),
    st.integers(2, 20),
    st.booleans(),
)
def test_the_rank_correlation_is_within_its_bounds(
    seed: int, n: int, noise: float, n_bins: int, has_ties: bool
) -> None:
    rng = np.random.default_rng(seed)
    one = rng.normal(size=n)
    other = one + noise * rng.normal(size=n)
    if has_ties:
        one, other = np.round(one, 1), np.round(other, 1)

    edges = np.linspace(-2, 2, n_bins)
    joint = np.zeros((n_bins + 1, n_bins + 1), np.int64)
    np.add.at(joint, (np.digitize(one, edges), np.digitize(other, edges)), 1)
    found = rank_correlation(joint, n_sampled=0)

    if found is not None:
        expected = spearmanr(one, other).statistic
        assert found.low - 1e-9 <= expected <= found.high + 1e-9


def test_ranks_of_many_bins_are_known_to_two_hundredths() -> None:
    record = summarise_difference(count_rows(ROWS, binary_spec()))
    ranks = record.ranks
    assert ranks is not None
    assert ranks.spearman is not None
    assert ranks.low is not None
    assert ranks.high is not None

    expected = spearmanr(ROWS.column("champion").to_numpy(), ROWS.column("challenger").to_numpy())
    assert ranks.spearman == pytest.approx(expected.statistic, abs=0.001)
    assert ranks.high - ranks.low < 0.04


def test_the_part_that_differs_most_is_found() -> None:
    record = summarise_difference(count_rows(ROWS, binary_spec()))
    where = record.where
    assert where is not None
    assert (where.column, where.above, where.up_to) == ("dep_delay", 60.0, None)

    delay = ROWS.column("dep_delay").to_numpy(zero_copy_only=False)
    sizes = abs(ROWS.column("challenger").to_numpy() - ROWS.column("champion").to_numpy())
    expected = sizes[delay > 60].mean() / sizes[~(delay > 60)].mean()
    assert where.ratio == pytest.approx(expected, rel=1e-4)
    assert where.ratio > 4
    assert {group.column for group in record.groups} <= {"dep_delay", "carrier"}


def test_no_part_is_named_where_differences_are_even() -> None:
    rng = np.random.default_rng(5)
    rows = make_rows(5_000, seed=5)
    champion = rows.column("champion").to_numpy()
    even = pa.array(np.clip(champion + 0.03 * rng.normal(size=5_000), 0, 1))
    rows = rows.set_column(rows.column_names.index("challenger"), "challenger", even)

    assert summarise_difference(count_rows(rows, binary_spec())).where is None


def test_equal_models_do_not_differ() -> None:
    champion = ROWS.column("champion")
    rows = ROWS.set_column(ROWS.column_names.index("challenger"), "challenger", champion)
    record = summarise_difference(count_rows(rows, binary_spec()))

    assert record.delta is not None
    assert (record.delta.mean, record.delta.spread, record.delta.n_equal) == (0.0, 0.0, 5_000)
    assert record.flips is not None
    assert (record.flips.n01, record.flips.n10) == (0, 0)
    assert record.ranks is not None
    assert record.ranks.spearman == pytest.approx(1.0)
    assert [(top.k, top.n_common) for top in record.top] == [(10, 10), (100, 100), (1000, 1000)]
    assert record.where is None
    assert record.keys == ()


def test_flips_overlaps_and_keys_are_those_of_the_rows() -> None:
    record = summarise_difference(count_rows(ROWS, binary_spec()))
    champion, challenger = (ROWS.column(name).to_numpy() for name in ("champion", "challenger"))

    assert record.flips is not None
    assert record.flips.n01 == ((champion <= 0.5) & (challenger > 0.5)).sum()
    assert record.flips.n10 == ((champion > 0.5) & (challenger <= 0.5)).sum()

    for top in record.top:
        highest = [set(np.argsort(-scores)[: top.k].tolist()) for scores in (champion, challenger)]
        # The noise is cut at 1, and equal scores of 1 are ordered by hash.
        is_ordered = len(np.unique(np.sort(challenger)[-top.k - 1 :])) == top.k + 1
        if is_ordered:
            assert top.n_common == len(highest[0] & highest[1])

    far = np.argsort(-abs(challenger - champion))[0]
    assert record.keys[0].key["flight"] == f"F{far}"
    assert record.keys[0].champion == champion[far]


@pytest.mark.parametrize("has_bins", [True, False])
def test_groups_of_a_sample_say_of_how_many_rows(has_bins: bool) -> None:
    whole = binary_spec(sample_bits=2)
    spec = whole if has_bins else replace(whole, champion_grid=None, challenger_grid=None)
    record = summarise_difference(count_rows(ROWS, spec))

    assert record.n_sampled == pytest.approx(1_250, abs=2)
    assert sum(group.n for group in record.groups if group.column == "carrier") <= record.n_sampled
    assert describe_sample(record) == f"This is a sample: {record.n_sampled:,} of 5,000 rows."
    assert any("of the sampled rows" in sentence for sentence in describe_difference(record))

    of_all = summarise_difference(count_rows(ROWS, binary_spec()))
    assert (of_all.n_sampled, describe_sample(of_all)) == (5_000, "")
    older = record.model_copy(update={"n_sampled": None})
    assert "not stored" in describe_sample(older)


def test_models_of_different_outputs_are_said_not_to_be_compared() -> None:
    spec = replace(binary_spec(), score="", threshold=None)
    record = summarise_difference(count_rows(ROWS, spec, refused=([], [1, 2])))

    first, refused = describe_difference(record)
    assert first.startswith("The two models have no score in common")
    assert refused.startswith("The challenger alone refused 2 rows")
    assert (record.n, record.delta, record.top, record.groups) == (4_998, None, (), ())


def test_records_survive_json() -> None:
    record = summarise_difference(count_rows(ROWS, binary_spec()))
    assert DifferenceRecord.model_validate_json(record.model_dump_json()) == record
