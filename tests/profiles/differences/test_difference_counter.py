import gzip

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightscore.arrow.row_hashes import row_hashes
from nightscore.profiles.class_counter import ClassColumns
from nightscore.profiles.differences.difference_counter import DifferenceCounter, Scored
from nightscore.profiles.differences.difference_counts import DifferenceCounts
from nightscore.profiles.differences.difference_spec import (
    LEAST_SAMPLED,
    DifferenceSpec,
    grain_of,
    grid_of,
    sample_bits,
)
from nightscore.profiles.differences.exact_sums import to_fraction
from nightscore.profiles.differences.stored_counts import from_file, from_text, to_file, to_text
from tests.profiles.differences.compared import DELAY, binary_spec, count_rows, make_rows

ROWS = make_rows(400, seed=1)


def merged(parts: list[DifferenceCounts]) -> DifferenceCounts:
    whole = parts[0]
    for part in parts[1:]:
        both = whole.plus(part)
        assert both is not None
        whole = both
    return whole


@settings(max_examples=25)
@given(
    st.lists(st.integers(0, 400), max_size=4).map(sorted),
    st.lists(st.integers(0, 400), max_size=2).map(sorted),
    st.integers(0, 2),
    st.randoms(use_true_random=False),
)
def test_counts_are_the_same_under_any_split(
    shards: list[int], batches: list[int], bits: int, random: "np.random.Generator"
) -> None:
    spec = binary_spec(sample_bits=bits)
    expected = to_text(count_rows(ROWS, spec))
    assert to_text(count_rows(ROWS, spec, batches)) == expected

    parts = []
    for start, end in zip((0, *shards), (*shards, 400), strict=True):
        parts.append(from_text(to_text(count_rows(ROWS.slice(start, end - start), spec))))
    random.shuffle(parts)  # type: ignore[arg-type]

    assert to_text(merged(parts)) == expected
    assert to_text(merged([DifferenceCounts.empty(spec), *parts])) == expected


def test_counts_are_numpys() -> None:
    counts = count_rows(ROWS, binary_spec())
    champion, challenger = (ROWS.column(name).to_numpy() for name in ("champion", "challenger"))
    deltas = challenger - champion

    assert counts.n_rows == counts.n_compared == 400
    assert float(to_fraction(counts.total)) == pytest.approx(deltas.sum(), abs=1e-12)
    assert (counts.least, counts.greatest) == (deltas.min(), deltas.max())

    expected = np.histogram2d(champion > 0.5, challenger > 0.5, bins=2)[0]
    assert counts.decisions.tolist() == expected.tolist()
    assert counts.deltas.sum() == 400


def test_groups_are_numpys() -> None:
    counts = count_rows(ROWS, binary_spec())
    groups = counts.groups["dep_delay"]
    assert groups is not None

    delay = ROWS.column("dep_delay").to_numpy(zero_copy_only=False)
    champion, challenger = (ROWS.column(name).to_numpy() for name in ("champion", "challenger"))
    codes = np.where(np.isnan(delay), 4, np.digitize(delay, DELAY.edges, right=True))
    deltas = challenger - champion

    assert groups.rows == np.bincount(codes, minlength=5).tolist()
    for name, values in (("totals", deltas), ("absolutes", abs(deltas)), ("squares", deltas**2)):
        found = [float(to_fraction(total)) for total in getattr(groups, name)]
        assert found == pytest.approx(np.bincount(codes, weights=values).tolist(), abs=1e-5)

    is_raised = (champion <= 0.5) & (challenger > 0.5)
    assert groups.to_positive == np.bincount(codes[is_raised], minlength=5).tolist()

    carriers = counts.groups["carrier"]
    assert carriers is not None
    values = ROWS.column("carrier").to_pylist()
    assert carriers.rows == [values.count("AA"), values.count("UA"), values.count("B6"), 0]


def test_joint_counts_are_those_of_the_bins() -> None:
    counts = count_rows(ROWS, binary_spec())
    assert counts.joint is not None
    edges = np.array(counts.joint.champion.edges)

    champion, challenger = (ROWS.column(name).to_numpy() for name in ("champion", "challenger"))
    bins = [np.digitize(scores, edges) for scores in (champion, challenger)]
    expected = np.zeros_like(counts.joint.rows)
    np.add.at(expected, tuple(bins), 1)
    assert (counts.joint.rows == expected).all()


def test_the_highest_scores_and_the_greatest_differences_are_kept() -> None:
    rows = make_rows(3_000, seed=2)
    counts = count_rows(rows, binary_spec(), cuts=[700, 1_500, 1_501])
    hashes = row_hashes([rows.column("flight"), rows.column("leg")])

    champion, challenger = (rows.column(name).to_numpy() for name in ("champion", "challenger"))
    for top, scores in (
        (counts.champion_top, champion),
        (counts.challenger_top, challenger),
    ):
        expected = np.lexsort((hashes, -scores))[:1_000]
        assert top.hashes.tolist() == hashes[expected].tolist()
        assert top.scores.tolist() == scores[expected].tolist()

    far = np.lexsort((hashes, -abs(challenger - champion)))[:20]
    assert [row.hash for row in counts.most] == hashes[far].tolist()
    assert [row.keys[0] for row in counts.most] == rows.column("flight").take(far).to_pylist()


def test_rows_that_one_refuses_are_counted_and_not_compared() -> None:
    counts = count_rows(ROWS, binary_spec(), refused=([0, 1, 2], [2, 3]))

    assert counts.n_refused_by_champion == 2
    assert counts.n_refused_by_challenger == 1
    assert counts.n_refused_by_both == 1

    others = count_rows(ROWS.slice(4), binary_spec())
    assert counts.n_rows == others.n_rows == 396
    assert counts.total == others.total
    assert counts.most == others.most
    assert counts.groups == others.groups


def test_missing_and_infinite_scores_are_not_compared() -> None:
    champion = pa.array([0.1, None, float("nan"), float("inf"), 0.5])
    challenger = pa.array([0.2, 0.3, 0.1, 0.1, 0.5])
    rows = ROWS.slice(0, 5)
    for name, scores in (("champion", champion), ("challenger", challenger)):
        rows = rows.set_column(rows.column_names.index(name), name, scores)

    counts = count_rows(rows, binary_spec())
    assert (counts.n_rows, counts.n_not_compared) == (5, 3)
    assert counts.decisions.sum() == 2
    assert [row.keys[0] for row in counts.most] == ["F0"], "equal predictions do not differ"


def test_a_sample_stands_for_all_rows() -> None:
    rows = make_rows(4_096, seed=3)
    counts = count_rows(rows, binary_spec(sample_bits=3))
    whole = count_rows(rows, binary_spec())

    assert counts.n_sampled == pytest.approx(512, abs=2), "multiples of the golden ratio are even"
    assert counts.joint is not None
    assert counts.joint.rows.sum() == 8 * counts.n_sampled
    assert counts.total == whole.total, "only groups and ranks are of a sample"
    assert counts.decisions.tolist() == whole.decisions.tolist()


@pytest.mark.parametrize(
    ("n_rows", "n_columns", "n_sampled"),
    [(1, 5, 1), (60_000, 8, 60_000), (1_000_000, 8, 62_500), (10_000_000, 3_000, 9_765)],
)
def test_fewer_rows_of_wide_partitions_are_grouped(
    n_rows: int, n_columns: int, n_sampled: int
) -> None:
    assert n_rows >> sample_bits(n_rows, n_columns) == n_sampled
    assert n_sampled > LEAST_SAMPLED // 2 or n_sampled == n_rows


def test_classes_are_counted_against_each_other() -> None:
    classes = ClassColumns(("a", "b"))
    spec = DifferenceSpec(classes=classes, keys=("id",), champion_grid=grid_of("", None))
    counter = DifferenceCounter(spec)

    ids = pa.table({"id": pa.array([1, 2, 3])})
    everyone = np.ones(3, np.bool_)
    champion = ids.append_column("prediction", pa.array(["a", "b", "b"]))
    challenger = ids.append_column("prediction", pa.array(["a", "a", "b"]))
    for name, one, other in (
        ("probability_a", [0.9, 0.4, 0.2], [0.8, 0.7, 0.2]),
        ("probability_b", [0.1, 0.6, 0.8], [0.2, 0.3, 0.8]),
    ):
        champion = champion.append_column(name, pa.array(one))
        challenger = challenger.append_column(name, pa.array(other))

    counter.add(
        ids,
        ids,
        np.arange(3),
        champion=Scored(everyone, champion),
        challenger=Scored(everyone, challenger),
    )
    counts = counter.counts()

    assert counts.confusion.tolist() == [[1, 0, 0], [1, 1, 0], [0, 0, 0]]
    assert float(to_fraction(counts.total)) == pytest.approx(-0.4), "of the champion's classes"
    assert (counts.most[0].champion, counts.most[0].challenger) == (0.6, 0.3)


def test_numbers_of_any_size_are_compared() -> None:
    grid = grid_of("prediction", None)
    assert grid is None, "without a baseline the range of a regression is not known"
    spec = DifferenceSpec(
        score="probability", grain=grain_of(grid), columns=(DELAY,), keys=("leg",)
    )

    rows = ROWS.slice(0, 3)
    for name, scores in (("champion", [1e20, -1e-20, 3.0]), ("challenger", [0.0, 0.0, 3.0])):
        rows = rows.set_column(rows.column_names.index(name), name, pa.array(scores))

    counts = count_rows(rows, spec)
    assert to_fraction(counts.total) == to_fraction(0) + int(-1e20) + to_fraction(
        count_rows(rows.slice(1), spec).total
    )
    assert counts.joint is None


@pytest.mark.parametrize("text", ["", "é", "e30=", "H4sI"])
def test_damaged_texts_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no counts of differences"):
        from_text(text)


def test_counts_that_do_not_fit_each_other_are_refused() -> None:
    stored = gzip.decompress(to_file(count_rows(ROWS, binary_spec())))
    for old, new in (
        (b'"edges":[0.0,15.0,60.0]', b'"edges":[0.0,15.0]'),
        (b'"hashes":[', b'"hashes":[1,'),
        (b'"places":[', b'"places":[99999999,'),
        (b'"decisions":{"places":[0', b'"decisions":{"places":[-1'),
    ):
        assert old in stored
        with pytest.raises(ValueError, match="no counts of differences"):
            from_file(gzip.compress(stored.replace(old, new)))


def test_differences_beyond_the_scale_change_no_other_row() -> None:
    """Far ones are added as they are, near ones to 56 bits of the scale, under any split."""
    scores = np.array([0.1 + 2.0**-70, 3e9, 1e-17, 0.3, 5e8])
    rows = ROWS.slice(0, 5)
    for name, column in (("champion", np.zeros(5)), ("challenger", scores)):
        rows = rows.set_column(rows.column_names.index(name), name, pa.array(column))

    whole = count_rows(rows, binary_spec())
    parts = [count_rows(rows.slice(place, 1), binary_spec()) for place in range(5)]
    assert to_text(merged(parts)) == to_text(whole)
    assert float(to_fraction(whole.total)) == pytest.approx(scores.sum(), rel=1e-15)
