"""Profiles add up to the same under any split, and come back from Parquet as they were."""

import decimal
import itertools
import math
import sys
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nightscore.monitoring.drift.compare_profiles import Comparison
from nightscore.monitoring.drift.findings import Context, judge
from nightscore.monitoring.drift.impact import impact
from nightscore.profiles.bins import count_bins, distinct
from nightscore.profiles.column_records import feature_records
from nightscore.profiles.edges import Edges
from nightscore.profiles.numbers import as_numbers
from nightscore.profiles.profile import CategoryProfile, NumberProfile
from nightscore.profiles.profile_spec import (
    BinsToCut,
    ProfiledColumn,
    ProfileSpec,
    cut_column,
    cut_segments,
)
from nightscore.profiles.profiler import Profiler
from nightscore.profiles.table import (
    ColumnProfile,
    Key,
    Scores,
    from_bytes,
    from_stream,
    merge_profiles,
    read_stream,
    to_bytes,
    to_profile_table,
    with_recent,
    write_parquet,
    write_stream,
)
from nightscore.schemas.drift import ColumnDrift
from nightscore.schemas.manifest import DriftRecord, FindingRecord

FLOATS = st.none() | st.floats(allow_nan=True, allow_infinity=True)


def chunked(values: Any, kind: pa.DataType | None = None) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(values, kind)])


def add(profiler: Profiler, features: pa.Table, predictions: pa.Table | None = None) -> None:
    """A batch all of whose rows are scored."""
    if predictions is None:
        predictions = pa.table({"p": pa.nulls(features.num_rows, pa.float64())})
    profiler.add(features, features, np.ones(features.num_rows, np.bool_), predictions)


def exact(profile: NumberProfile) -> tuple[Any, ...]:
    """All that must be the same to the last count."""
    counts = (
        profile.n_rows,
        profile.n_null,
        profile.n_nan,
        profile.n_high,
        profile.n_low,
        profile.n_outside,
    )
    assert profile.distinct is not None
    return (
        *counts,
        profile.least,
        profile.greatest,
        *profile.counts.tolist(),
        *profile.distinct.hashes.tolist(),
    )


@example([-sys.float_info.max, 0.0], [1], [-sys.float_info.max] * 2)
@given(
    st.lists(FLOATS, max_size=60),
    st.lists(st.integers(0, 60), max_size=4),
    st.lists(FLOATS, max_size=30),
)
def test_any_split_gives_the_same_counts(
    values: list[Any], cuts: list[int], reference: list[Any]
) -> None:
    column = cut_column("feature", "x", [chunked(reference, pa.float64())])
    assert column.edges is not None
    whole = NumberProfile.empty(column.edges, column.bounds)
    whole.add(chunked(values, pa.float64()))
    merged = NumberProfile.empty(column.edges, column.bounds)
    places = [0, *sorted(cuts), len(values)]
    for start, end in itertools.pairwise(places):
        part = NumberProfile.empty(column.edges, column.bounds)
        part.add(chunked(values[start:end], pa.float64()))
        merged.merge(part)
    assert exact(merged) == exact(whole)
    there = np.array([v for v in values if v is not None], np.float64)
    finite = there[np.isfinite(there)]
    assert whole.n_finite == len(finite)
    assert (whole.n_nan, whole.n_null) == (int(np.isnan(there).sum()), len(values) - len(there))
    assert (whole.n_high, whole.n_low) == (
        int((there == np.inf).sum()),
        int((there == -np.inf).sum()),
    )
    for edges, counts in ((column.edges.fine, whole.fine), (column.edges.deciles, whole.deciles)):
        codes = np.searchsorted(edges, finite, side="left")
        assert counts.tolist() == np.bincount(codes, minlength=len(edges) + 1).tolist()


@given(st.lists(st.none() | st.sampled_from(["a", "b", "", "ä"]), max_size=40), st.integers(0, 40))
def test_categories_add_up_whatever_their_encoding(values: list[str | None], cut: int) -> None:
    whole, merged, encoded = CategoryProfile(), CategoryProfile(), CategoryProfile()
    whole.add(chunked(values, pa.string()))
    for part in (values[:cut], values[cut:]):
        some = CategoryProfile()
        some.add(chunked(part, pa.large_string()))
        merged.merge(some)
        encoded.add(pa.chunked_array([pa.array(part, pa.string()).dictionary_encode()]))
    assert whole == merged == encoded
    assert whole.counts.total() + whole.n_null == len(values)


def test_an_identifier_is_cut_under_any_split() -> None:
    names = [str(i) for i in range(101)]
    whole, parts = CategoryProfile(limit=100), [CategoryProfile(limit=100) for _ in range(2)]
    whole.add(chunked(names))
    parts[0].add(chunked(names[:60]))
    parts[1].add(chunked(names[60:]))
    assert not parts[0].is_cut
    parts[0].merge(parts[1])
    assert whole == parts[0]
    assert (whole.is_cut, whole.n_rows, len(whole.counts)) == (True, 101, 0)


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (chunked([1, None, 3], pa.int8()), [1, 3]),
        (chunked([True, False]), [1, 0]),
        (chunked([decimal.Decimal("1.5")]), [1.5]),
        (chunked([86_400_000], pa.date64()), [1]),
        (chunked([2], pa.date32()), [2]),
        (chunked([1_500], pa.timestamp("ms")), [1.5]),
        (chunked([1_500], pa.duration("ms")), [1.5]),
        (chunked([90], pa.time32("s")), [90]),
        (chunked([90_000_000], pa.time64("us")), [90]),
        (chunked([[1, 2], None, []], pa.list_(pa.int64())), [2, 0]),
        (chunked([[1, 2], None], pa.list_(pa.int64(), 2)), [2]),
        (chunked(np.array([1.5], np.float16)), [1.5]),
    ],
)
def test_each_type_is_a_number_in_its_unit(column: pa.ChunkedArray, expected: list[float]) -> None:
    values, n_null = as_numbers(column)
    assert values.tolist() == expected
    assert n_null == column.null_count


def test_a_table_comes_back_as_it_was() -> None:
    number = cut_column("feature", "x", [chunked([1.0, 1.0, 5.0])])
    profiler = Profiler(
        ProfileSpec((number, ProfiledColumn("feature", "c", None, type="string")), score="p")
    )
    table = pa.table({"x": [1.0, None, 9.0, np.inf], "c": ["a", "b", None, "a"]})
    add(profiler, table, pa.table({"p": [0.1, 0.2, 0.3, 0.4]}))
    stored = from_bytes(to_bytes(profiler.columns))
    stream = write_stream(to_profile_table(profiler.columns))
    streamed = from_stream(stream)
    assert to_bytes(streamed) == to_bytes(stored), "a worker's profile is the stored one"

    for recent in ({}, {"2024-02-28": {"psi": 0.5}}):
        streamed[0].recent = recent
        completed = with_recent(read_stream(stream), streamed)
        assert write_parquet(completed) == to_bytes(streamed), "whatever was found since"

    columns = {column.key: column for column in stored}
    x, c = columns["feature", "x", ""], columns["feature", "c", ""]
    assert isinstance(x.profile, NumberProfile)
    (before,) = (column.profile for column in profiler.columns if column.name == "x")
    assert isinstance(before, NumberProfile)
    assert exact(x.profile) == exact(before)
    assert (x.profile.n_outside, x.profile.bounds) == (1, (1.0, 5.0))
    assert x.scores
    assert x.scores.rows.total() == 4
    assert x.scores.sums[None] == pytest.approx(0.6)
    assert c.scores
    assert c.type == "string"
    assert x.profile.n_distinct == 2
    assert c.scores.sums == pytest.approx({"a": 0.5, "b": 0.2, None: 0.3})
    with pytest.raises(ValueError, match="no Parquet"):
        from_bytes(b"nothing")


def test_bins_that_are_cut_at_the_first_batch_are_those_of_a_sample_of_it() -> None:
    first = pa.table({"x": [1.0, 1.0, None, 5.0], "s": ["a", None, "b", "a"]})
    second = pa.table({"x": [0.0, 9.0], "s": ["c", "a"]})
    predictions = [pa.table({"p": [0.1, 0.2, 0.2, 0.4]}), pa.table({"p": [0.9, 0.1]})]
    numbers = (("feature", "x", first), ("prediction", "p", predictions[0]))
    category = ProfiledColumn("feature", "s", None, type="string")

    sampled = ProfileSpec(
        (category, *(cut_column(role, name, [of.column(name)]) for role, name, of in numbers)),
        (cut_segments("s", [first.column("s")]),),
        score="p",
    )
    to_cut = BinsToCut(tuple(ProfiledColumn(role, name, None) for role, name, _ in numbers), ("s",))
    in_the_pass = ProfileSpec((category,), score="p", to_cut=to_cut)

    contents = []
    for spec in (sampled, in_the_pass):
        profiler = Profiler(spec)
        for features, predicted in zip((first, second), predictions, strict=True):
            add(profiler, features, predicted)
        assert profiler.errors == {}
        contents.append(to_bytes(profiler.columns))
    assert contents[0] == contents[1]


def test_a_column_that_gets_no_bins_is_reported() -> None:
    texts = pa.table({"x": ["a", "b"], "y": [1.0, 2.0]})
    columns = tuple(ProfiledColumn("feature", name, None) for name in ("x", "y"))
    profiler = Profiler(ProfileSpec(to_cut=BinsToCut(columns)))
    add(profiler, texts)
    assert [*profiler.errors] == ["x"]
    assert [column.name for column in profiler.columns] == ["y"]


def stored_profile() -> pa.Table:
    profiler = Profiler(ProfileSpec((cut_column("feature", "x", [chunked([1.0, 5.0])]),)))
    add(profiler, pa.table({"x": [1.0, 2.0]}))
    return pq.read_table(pa.BufferReader(to_bytes(profiler.columns)))


def as_parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def test_parquet_that_is_no_profile_is_refused() -> None:
    stored = stored_profile()

    with pytest.raises(ValueError, match="columns counts, sums are missing"):
        from_bytes(as_parquet(stored.drop_columns(["sums", "counts"])))

    index = stored.schema.get_field_index("counts")
    without = stored.set_column(index, stored.field(index), pa.nulls(1, stored.field(index).type))
    with pytest.raises(ValueError, match="no profile: TypeError: a list is missing"):
        from_bytes(as_parquet(without))


def test_a_profile_without_columns_comes_back_without_columns() -> None:
    assert from_bytes(as_parquet(stored_profile().slice(0, 0))) == []


def test_numbers_and_categories_are_not_added_up() -> None:
    edges = Edges.from_values(np.arange(3.0))
    number = ColumnProfile(role="feature", name="x", profile=NumberProfile.empty(edges))
    category = ColumnProfile(role="feature", name="x", profile=CategoryProfile())

    merged, failed = merge_profiles([[number], [category]])

    assert not merged
    assert failed == {"x": "profiles of numbers and of categories cannot be added"}


def test_the_mean_of_no_scores_is_not_a_number() -> None:
    assert math.isnan(Scores().mean)


def test_what_one_part_did_not_count_is_not_known_of_the_sum() -> None:
    edges = Edges.from_values(np.arange(3.0))
    whole, part = NumberProfile.empty(edges), NumberProfile.empty(edges)
    name = next(iter(part.statistics))
    del part.statistics[name]

    whole.merge(part)

    assert name not in whole.statistics


def test_a_column_that_cannot_be_counted_leaves_the_others() -> None:
    watched = [
        ProfiledColumn("feature", "x", Edges.from_values(np.arange(3.0))),
        ProfiledColumn("feature", "c", None),
    ]
    profiler = Profiler(ProfileSpec(tuple(watched)))
    add(profiler, pa.table({"x": ["text"], "c": ["a"]}))
    assert [column.name for column in profiler.columns] == ["c"]
    assert list(profiler.errors) == ["x"]


def test_missing_values_of_a_batch_are_told_where_all_rows_were_counted() -> None:
    features = pa.table(
        {
            "x": [1.0, None, math.nan],
            "n": [1, None, 2],
            "odd": ["a", "b", None],
            "free": [1.0, None, 2.0],
        }
    )
    bins = Edges.from_values(np.arange(3.0))
    profiler = Profiler(
        ProfileSpec(tuple(ProfiledColumn("feature", name, bins) for name in ("x", "n", "odd")))
    )
    for _ in range(2):
        add(profiler, features)
        assert profiler.missing == {"x": 2}
    one, other = (feature_records(features, {}, missing) for missing in (profiler.missing, {}))
    assert one == other
    assert [record.missing for record in one] == [2, 1, 1, 1]
    profiler.stride = 2
    add(profiler, features)
    assert profiler.missing == {}


def test_other_bins_are_not_added_up() -> None:
    columns = [cut_column("feature", "x", [chunked(values)]) for values in ([1.0, 2.0], [3.0, 4.0])]
    parts = []
    for column in columns:
        assert column.edges is not None
        parts.append(
            [ColumnProfile(role="feature", name="x", profile=NumberProfile.empty(column.edges))]
        )
    merged, failed = merge_profiles(parts)
    assert not merged
    assert "different bins" in failed["x"]


def test_the_impact_is_what_a_shift_of_shares_does_to_the_mean() -> None:
    scores = Scores()
    scores.add("a", 60, 6.0)  # mean 0.1
    scores.add("b", 30, 15.0)  # mean 0.5
    scores.add(None, 10, 9.0)  # mean 0.9
    now = CategoryProfile()
    now.add(chunked(["a"] * 30 + ["b"] * 60 + [None] * 10))
    assert impact(scores, ColumnProfile(role="feature", name="c", profile=now)) == pytest.approx(
        -0.3 * 0.1 + 0.3 * 0.5
    )
    same = CategoryProfile()
    same.add(chunked(["a"] * 6 + ["b"] * 3 + [None]))
    assert impact(scores, ColumnProfile(role="feature", name="c", profile=same)) == pytest.approx(
        0.0
    )


def test_a_null_among_a_dictionary_s_values_is_no_category() -> None:
    profile = CategoryProfile()
    column = pa.DictionaryArray.from_arrays(
        pa.array([0, 1, 1, None], pa.int32()), pa.array(["a", None])
    )
    profile.add(pa.chunked_array([column]))
    assert profile.counts == {"a": 1}
    assert (profile.n_rows, profile.n_null) == (4, 3)


NULLS = ColumnDrift(
    name="x",
    type="number",
    n_reference=9_000,
    n_current=900,
    null_rate_difference=1.0,
    statistics={},
    severity="critical",
    reasons=("all values are null",),
    signals={"nulls": "critical"},
)
WILD = {f"2024-01-{day:02d}": {"nulls": day / 32} for day in range(1, 29)}


@pytest.mark.parametrize(
    ("habit", "is_usual"), [(WILD, False), (WILD | {"2024-01-29": {"nulls": 1.0}}, True)]
)
def test_what_was_never_so_is_not_usual_however_wild_a_column_is(
    habit: Any, is_usual: bool
) -> None:
    key: Key = ("feature", "x", "")
    _, (finding,), _ = judge(
        {"baseline": Comparison({key: NULLS})},
        Context(partition="2024-02-01", habits={key: habit}),
    )
    assert finding.is_seasonal == is_usual


@pytest.mark.parametrize(("n_weekdays", "is_seasonal"), [(1, False), (2, True)])
def test_one_weekday_explains_nothing(n_weekdays: int, is_seasonal: bool) -> None:
    key: Key = ("feature", "x", "")
    calm = NULLS.model_copy(update={"severity": "ok", "signals": {}})
    comparisons = {"baseline": Comparison({key: NULLS}), "weekdays": Comparison({key: calm})}
    _, (finding,), _ = judge(comparisons, Context(partition="2024-02-01", n_weekdays=n_weekdays))
    assert finding.is_seasonal == is_seasonal


def test_a_column_that_the_baseline_lacks_is_compared_with_the_day_before() -> None:
    key: Key = ("pass_through", "x", "")
    comparisons = {"baseline": Comparison({}), "previous": Comparison({key: NULLS})}
    verdict, (finding,), _ = judge(comparisons, Context(partition="2024-02-01"))
    assert (verdict, finding.reference) == ("critical", "previous")
    assert (
        judge({"baseline": Comparison({})}, Context(partition="2024-02-01"))[0]
        == "insufficient data"
    )


def test_what_was_not_compared_is_not_resolved() -> None:
    drift = ColumnDrift(
        name="x",
        type="number",
        n_reference=1_000,
        n_current=1_000,
        null_rate_difference=0.0,
        statistics={},
        severity="ok",
        reasons=(),
    )
    before = [
        FindingRecord(column=c, role="feature", reference="baseline", severity="critical")
        for c in "xy"
    ]
    previous = DriftRecord(verdict="critical", findings=tuple(before))
    comparison = Comparison(columns={("feature", "x", ""): drift}, errors={"y": "other bins"})
    context = Context(partition="2024-02-29", previous=previous)
    verdict, findings, resolved = judge({"baseline": comparison}, context)
    assert (verdict, findings, resolved) == ("ok", (), ("x",))
    assert judge({}, context) == ("insufficient data", (), ())


@given(
    st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=80),
    st.lists(st.floats(-1e9, 1e9), max_size=20),
)
def test_counting_sorted_is_counting(values: list[float], edges: list[float]) -> None:
    finite, cuts = np.array(values), np.unique(np.array(edges, np.float64))
    counts, sums = count_bins(finite, cuts)
    codes = np.searchsorted(cuts, finite, side="left")
    assert counts.tolist() == np.bincount(codes, minlength=len(cuts) + 1).tolist()
    assert sums == pytest.approx(
        np.bincount(codes, weights=finite, minlength=len(cuts) + 1), abs=1e-3
    )


def test_a_sum_leaves_its_parts_as_they_are() -> None:
    watched = (
        cut_column("feature", "x", [chunked([1.0, 2.0, 5.0])]),
        ProfiledColumn("feature", "c", None),
    )
    parts = []
    for values in ([1.0, 2.0], [3.0, 9.0]):
        profiler = Profiler(ProfileSpec(watched))
        add(profiler, pa.table({"x": values, "c": [str(value) for value in values]}))
        parts.append(from_bytes(to_bytes(profiler.columns)))
    before = [to_bytes(part) for part in parts]
    merged, failed = merge_profiles(parts)
    assert not failed
    assert {column.profile.n_rows for column in merged.values()} == {4}
    assert [to_bytes(part) for part in parts] == before
    number = parts[0][0].profile
    assert isinstance(number, NumberProfile)
    with pytest.raises(ValueError, match="read-only"):
        number.counts[0] += 1


@pytest.mark.parametrize("values", [[], [1.0], [2.0, -1.0, 2.0, 2.0, 0.5, -1.0], [1e308, -1e308]])
def test_distinct_values_are_those_of_numpy(values: list[float]) -> None:
    array = np.array(values, np.float64)
    assert distinct(array).tolist() == np.unique(array).tolist()
