"""Machine code counts a column as sorting does: the same counts, extremes and distinct values, and closer sums."""

import decimal
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nightscore.native.constants import BIN_COPIES, CELLS, COLUMNS_TOGETHER, STRIP_VALUES
from nightscore.native.machine_code import CODE_FOLDER, Kernels, load_kernels
from nightscore.native.search_trees import edge_cells, edge_tree
from nightscore.profiles import profile as profiles
from nightscore.profiles import profiler as profilers
from nightscore.profiles.bins import Floats
from nightscore.profiles.column_records import feature_records
from nightscore.profiles.counting import (
    CountSpec,
    NumberCounter,
    NumberCounts,
    count_by_sorting,
    count_categories,
)
from nightscore.profiles.edges import Edges
from nightscore.profiles.hashes import MAX_HASHES
from nightscore.profiles.numbers import as_numbers
from nightscore.profiles.profile import NumberProfile, add_together
from nightscore.profiles.profile_spec import ProfiledColumn, ProfileSpec
from nightscore.profiles.profiler import Profiler
from nightscore.profiles.running_profiles import MOST_RUNNING, RunningProfiles
from nightscore.profiles.sufficient_statistics.distinct import DistinctValues
from nightscore.profiles.table import ColumnProfile
from tests.support.shared import with_machine_code

EXACT = ("n_rows", "n_null", "n_nan", "n_high", "n_low", "n_outside", "least", "greatest")
ODD = [
    0.0,
    -0.0,
    5e-324,
    -5e-324,
    2.2e-308,
    1e308,
    -1e308,
    1.7976931348623157e308,
    math.inf,
    -math.inf,
    math.nan,
]
ROUNDINGS = 30
"""Of a sum: 16 additions a lane, 4 of the lanes, and what is left of compensated ones."""
NO_HASH_LEFT = float(np.uint64(0x61C8864680B583EB).view(np.float64))
"""The value whose hash is 0."""

NUMBERS = st.none() | st.sampled_from([*ODD, 1.0, 2.0, 3.0]) | st.floats()
KINDS = st.sampled_from(
    [
        pa.float64(),
        pa.float32(),
        pa.float16(),
        pa.bool_(),
        pa.decimal128(12, 3),
        pa.decimal256(40, 3),
    ]
    + [
        pa.int8(),
        pa.int16(),
        pa.int32(),
        pa.int64(),
        pa.uint8(),
        pa.uint16(),
        pa.uint32(),
        pa.uint64(),
    ]
    + [pa.date32(), pa.date64(), pa.time32("s"), pa.time32("ms"), pa.time64("us"), pa.time64("ns")]
    + [pa.timestamp(unit) for unit in ("s", "ms", "us", "ns")]
    + [pa.duration(unit) for unit in ("s", "ns")]
    + [pa.timestamp("us", "UTC"), pa.list_(pa.int8()), pa.dictionary(pa.int8(), pa.float64())]
)


@pytest.fixture(scope="session")
def kernels(tmp_path_factory: pytest.TempPathFactory, machine_code: Path) -> Kernels:
    cache = with_machine_code(tmp_path_factory.mktemp("code"), machine_code)
    return load_kernels(cache / CODE_FOLDER)


def values_of(kind: pa.DataType) -> st.SearchStrategy[Any]:
    """Python values that Arrow takes for a type."""
    if pa.types.is_dictionary(kind):
        return st.sampled_from([1.5, -0.0, math.nan])
    if pa.types.is_list(kind):
        return st.lists(st.just(1), max_size=4)
    if pa.types.is_boolean(kind):
        return st.booleans()
    if pa.types.is_decimal(kind):
        return st.integers(-(10**9), 10**9).map(lambda n: decimal.Decimal(n) / 1000)
    if pa.types.is_float16(kind):
        return st.floats(width=16).map(np.float16)
    if pa.types.is_floating(kind):
        return st.sampled_from(ODD) | st.floats(width=kind.bit_width)
    if pa.types.is_integer(kind):
        low = 0 if pa.types.is_unsigned_integer(kind) else -(2 ** (kind.bit_width - 1))
        return st.integers(low, low + 2**kind.bit_width - 1) | st.sampled_from([0, 1, 2])
    if pa.types.is_date32(kind):
        return st.integers(-(2**31), 2**31 - 1)
    if pa.types.is_date64(kind):
        return st.integers(-(10**6), 10**6).map(lambda days: days * 86_400_000)
    if pa.types.is_time(kind):
        return st.integers(0, 86_399)
    return st.integers(-(2**63) + 1, 2**63 - 1)


@st.composite
def columns(draw: st.DrawFn) -> pa.ChunkedArray:
    """Of any type of numbers, in chunks, each of which is a slice at any offset."""
    kind = draw(KINDS)
    chunks = []
    for _ in range(draw(st.integers(0, 3))):
        values = draw(st.lists(st.none() | values_of(kind), max_size=90))
        whole = (
            pa.array(values, pa.float64()).dictionary_encode().cast(kind)
            if pa.types.is_dictionary(kind)
            else None
        )
        whole = pa.array(values, kind) if whole is None else whole
        start = draw(st.integers(0, len(values)))
        chunks.append(whole.slice(start, draw(st.integers(0, len(values) - start))))
    return pa.chunked_array(chunks, kind)


def count(
    counter: NumberCounter, column: pa.ChunkedArray, distinct: DistinctValues | None
) -> list[NumberCounts]:
    """The counts of each chunk; their distinct values are added."""
    parts = []
    for chunk in column.chunks:
        parts.append(counter.count(chunk, None if distinct is None else distinct.hashes))
        if distinct is not None:
            distinct.add(parts[-1])
    return parts


def merged(parts: list[NumberCounts], n_bins: int) -> dict[str, Any]:
    """Of the chunks of a column."""
    counts: dict[str, Any] = {
        name: sum(getattr(part, name) for part in parts) for name in EXACT[:6]
    }
    counts["least"] = min([math.inf, *(part.least for part in parts)])
    counts["greatest"] = max([-math.inf, *(part.greatest for part in parts)])
    counts["counts"] = sum((part.counts for part in parts), np.zeros(n_bins, np.int64)).tolist()
    return counts


def check(kernels: Kernels, column: pa.ChunkedArray, by: CountSpec, batches: int = 1) -> None:
    """Both ways, and the sums against exactly rounded ones."""
    slow, fast = DistinctValues(), DistinctValues()
    counter = NumberCounter(by, kernels)
    for _ in range(batches):
        one = count_by_sorting(column, by, slow.hashes)
        slow.add(one)
        parts = count(counter, column, fast)
        assert fast.hashes.tolist() == slow.hashes.tolist()
        n_bins = len(by.edges) + 1
        assert merged(parts, n_bins) == merged([one], n_bins)
    values, _ = as_numbers(column)
    finite = values[np.isfinite(values)]
    bins = np.searchsorted(by.edges, finite, side="left")
    with np.errstate(over="ignore"):
        distances = finite - by.pivot
        if not np.isfinite(np.square(np.abs(distances).sum())) or not np.isfinite(
            np.abs(finite).sum()
        ):
            return  # beyond float64
    for i in range(len(by.edges) + 1):
        assert_close(sum(float(part.sums[i]) for part in parts), finite[bins == i])
    assert_close(sum(part.total for part in parts), finite)
    assert_close(sum(part.shifted for part in parts), distances)
    assert_close(sum(part.squares for part in parts), np.square(distances))


def assert_close(value: float, terms: Floats) -> None:
    size = math.fsum(np.abs(terms))
    assert abs(value - math.fsum(terms)) <= ROUNDINGS * 2.0**-53 * size + 5e-324


def neighbours(values: Floats) -> Floats:
    """Finite values, and the next ones on either side."""
    with np.errstate(over="ignore"):
        near = np.concatenate([values, np.nextafter(values, -np.inf), np.nextafter(values, np.inf)])
    return np.unique(near[np.isfinite(near)] + 0.0)


@given(columns(), st.data())
def test_any_column_is_counted_as_by_sorting(
    kernels: Kernels, column: pa.ChunkedArray, data: st.DataObject
) -> None:
    values = as_numbers(column)[0]
    near = neighbours(values)
    edges = np.array(
        data.draw(st.lists(st.sampled_from([0.0, *near.tolist()]), max_size=30)), np.float64
    )
    low, high = data.draw(st.tuples(*[st.sampled_from([-np.inf, np.inf, 0.0, *near.tolist()])] * 2))
    pivot = data.draw(st.sampled_from([0.0, 1.5, *near.tolist()[:1]]))
    check(
        kernels,
        column,
        CountSpec(np.unique(edges), pivot, (min(low, high), max(low, high))),
        batches=2,
    )


@given(
    st.lists(NUMBERS, max_size=40), st.integers(0, 3), st.integers(0, 20), st.integers(0, 2**32 - 1)
)
def test_long_columns_are_counted_as_by_sorting(
    kernels: Kernels, few: list[Any], n_strips: int, n_more: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    size = n_strips * STRIP_VALUES + n_more
    some = np.array([math.nan if value is None else value for value in few], np.float64)
    values = (
        rng.normal(size=size)
        if not len(few)
        else np.where(rng.random(size) < 0.5, rng.choice(some, size), 1.0)
    )
    column = pa.chunked_array(
        [pa.array(values, mask=rng.random(size) < rng.choice([0.0, 0.03, 0.9]))]
    )
    start = int(rng.integers(0, 70))
    edges = neighbours(rng.permutation(values)[:20])
    for part in (column, column.slice(start), column.slice(start, max(0, size - start - 5))):
        check(kernels, part, CountSpec(edges, 0.25, (-1.0, 1.0)))


@pytest.mark.parametrize("n_edges", [0, 1, 7, 8, 9, 79, 80, 81, 225, 728, 729])
def test_bins_of_any_number_of_edges(kernels: Kernels, n_edges: int) -> None:
    edges = np.unique(np.random.default_rng(n_edges).normal(size=n_edges))
    values = np.concatenate([neighbours(edges), [-np.inf, np.inf, np.nan]])
    check(kernels, pa.chunked_array([pa.array(values)]), CountSpec(edges, 0.0, (-1.0, 1.0)))
    tree, n_levels = edge_tree(edges)
    assert np.isfinite(tree).sum() == n_edges
    assert 9 ** (n_levels - 1) <= max(n_edges, 1) < 9**n_levels


def _skewed(values: Floats) -> Floats:
    return np.sort(np.exp(3.0 * values))


@pytest.mark.parametrize(
    ("edges", "has_cells"),
    [
        (np.linspace(-3.0, 3.0, 71), True),
        (Edges.from_values(np.random.default_rng(0).normal(size=5_000)).both, True),
        (np.array([1e-310, 1e300]), True),
        (np.array([-1e308, 1e308]), False),  # their distance is beyond float64
        (np.array([0.0, 5e-324]), False),
        (np.array([1.0]), False),
        (neighbours(np.arange(5.0)), False),
        (_skewed(np.random.default_rng(1).normal(size=71)), False),
        (np.linspace(0.0, 1.0, CELLS), False),
    ],
)
def test_cells_find_the_bins_that_bisection_finds(
    kernels: Kernels, edges: Floats, has_cells: bool
) -> None:
    assert bool(len(edge_cells(edges)[0])) == has_cells
    rng = np.random.default_rng(2)
    odd = [value for value in ODD if not math.isnan(value)]
    values = np.concatenate([neighbours(edges), rng.choice(edges, 600) + rng.normal(size=600), odd])
    check(kernels, pa.chunked_array([pa.array(values)]), CountSpec(edges, 0.0, (-1.0, 1.0)))


@pytest.mark.parametrize(
    "n_distinct", [1, 100, MAX_HASHES - 1, MAX_HASHES, 511, 512, 513, 5_000, 200_000]
)
def test_distinct_values_are_those_that_sorting_finds(kernels: Kernels, n_distinct: int) -> None:
    rng = np.random.default_rng(n_distinct)
    known = np.append(rng.normal(size=n_distinct - 1), NO_HASH_LEFT)
    slow, fast = DistinctValues(), DistinctValues()
    counter = NumberCounter(CountSpec(np.empty(0), 0.0, (-1.0, 1.0)), kernels)
    for size in (1, 700, 70_000, 200_000):
        batch = rng.choice(known, size)
        slow.add_sorted(np.sort(batch))
        count(counter, pa.chunked_array([pa.array(batch)]), fast)
        assert fast.hashes.tolist() == slow.hashes.tolist()
    assert (fast.hashes[0] == 0) == (NO_HASH_LEFT in batch)


def test_values_made_to_have_great_hashes_are_counted(kernels: Kernels) -> None:
    hashes = np.arange(2**64 - 2_000, 2**64, dtype=np.uint64)
    values = _unhash(hashes)
    values = values[np.isfinite(values)]
    fast = DistinctValues()
    counter = NumberCounter(CountSpec(np.empty(0), 0.0, (-1.0, 1.0)), kernels)
    count(counter, pa.chunked_array([pa.array(values)]), fast)
    slow = DistinctValues()
    slow.add_sorted(np.sort(values))
    assert fast.hashes.tolist() == slow.hashes.tolist()
    assert len(fast.hashes) == MAX_HASHES


def test_spikes_far_from_zero_are_summed_as_exactly_as_rounding_allows(kernels: Kernels) -> None:
    values = np.full(100_000, 0.1)
    values[::3] = 1e16
    counter = NumberCounter(CountSpec(np.array([1.0]), 1e16, (-1.0, 1.0)), kernels)
    counted = counter.count(pa.array(values), None)
    assert counted.sums.tolist() == pytest.approx(
        [math.fsum(values[values < 1]), 1e16 * (values > 1).sum()], rel=1e-15
    )
    assert counted.sums.shape == (2,)


@given(columns(), st.integers(0, 40))
@example(column=pa.chunked_array([pa.array([None, 1, -26, 3], pa.timestamp("ns"))]), cut=0)
def test_a_profile_is_the_same_with_machine_code(
    kernels: Kernels, column: pa.ChunkedArray, cut: int
) -> None:
    edges = Edges.from_values(np.arange(100.0))
    by_method = {}
    for name, code in (("machine code", kernels), ("sorting", None)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(profiles, "loaded_kernels", lambda code=code: code)
            by_method[name] = NumberProfile.empty(edges, (1.0, 2.0))
            for part in (column.slice(0, cut), column.slice(cut)):
                by_method[name].add(part)
    one, other = by_method["machine code"], by_method["sorting"]
    assert [getattr(one, name) for name in EXACT] == [getattr(other, name) for name in EXACT]
    assert one.counts.tolist() == other.counts.tolist()
    assert one.n_distinct == other.n_distinct
    # The variance is the difference of two numbers of this size, each rounded; of the pivot's
    # distance where all values are one.
    size = one.moments.squares / max(one.n_finite, 1)
    allowed = 1e-13 * size if math.isfinite(size) else 0.0
    assert one.std**2 == pytest.approx(other.std**2, rel=1e-9, abs=allowed, nan_ok=True)


def test_columns_are_counted_together_as_each_by_itself(kernels: Kernels) -> None:
    rng = np.random.default_rng(0)
    together: list[NumberProfile] = []
    alone: list[NumberProfile] = []
    at_once: list[NumberProfile] = []
    batches: list[list[pa.ChunkedArray]] = [[], []]
    for i in range(3 * COLUMNS_TOGETHER + 5):
        # Two in three have as many bins; some have other types, nulls, odd values, and chunks.
        edges = Edges.from_values(rng.normal(size=1_000 if i % 3 else 5 + i))
        for profiles_of in (together, alone, at_once):
            profiles_of.append(NumberProfile.empty(edges, (-1.0, 1.0), is_segment=i % 7 == 6))
        for batch in batches:
            values = rng.normal(size=700).astype(np.float32 if i % 5 == 4 else np.float64)
            values[rng.integers(0, 700, i)] = rng.choice([np.nan, np.inf, -np.inf, -0.0], i)
            column = pa.array(values, mask=rng.random(700) < (i % 4) / 8)
            chunks = [column] if i % 4 else [column.slice(0, 0), column.slice(3, 90), column]
            batch.append(pa.chunked_array([chunk.slice(i % 11) for chunk in chunks]))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(profiles, "loaded_kernels", lambda: kernels)
        for batch in batches:
            add_together(together, batch)
            for profile, column in zip(alone, batch, strict=True):
                profile.add(column)

    running = RunningProfiles(at_once, kernels)
    n_missing = np.sum([running.add(batch) for batch in batches], axis=0)
    for _ in range(2):
        running.finish()  # what was added is not added again
    assert n_missing.tolist() == [profile.n_missing for profile in alone]

    for one, other, third in zip(together, alone, at_once, strict=True):
        assert contents(one) == contents(other) == contents(third)


def contents(profile: NumberProfile) -> tuple[Any, ...]:
    """All that a profile has counted, to the bit."""
    rows = [
        {name: np.asarray(value).tobytes() for name, value in statistic.to_row().items()}
        for statistic in profile.statistics.values()
    ]
    return profile.n_rows, profile.n_null, rows


def test_columns_that_change_between_batches_are_counted_as_by_sorting(kernels: Kernels) -> None:
    rng = np.random.default_rng(0)
    names = ["a", "b", "c"]
    edges = Edges.from_values(rng.normal(size=500))
    spec = ProfileSpec(tuple(ProfiledColumn("feature", name, edges) for name in names))
    by_method: dict[str, list[ColumnProfile]] = {}
    missing: dict[str, list[dict[str, int]]] = {"machine code": [], "sorting": []}

    columns = [
        pa.array(rng.normal(size=90), mask=rng.random(90) < 0.2),
        pa.array(rng.integers(-3, 3, 90), mask=rng.random(90) < 0.2),
        pa.array(rng.normal(size=90).astype(np.float32)),
        pa.array(rng.integers(-3, 3, 90), pa.timestamp("s")),
    ]
    for name, code in (("machine code", kernels), ("sorting", None)):
        with pytest.MonkeyPatch.context() as patch:
            for module in (profiles, profilers):
                patch.setattr(module, "loaded_kernels", lambda code=code: code)
            profiler = Profiler(spec)
            for i in range(5):
                table = pa.table({name: columns[(i // 2 + k) % 4] for k, name in enumerate(names)})
                profiler.add(table, table.select([]), np.ones(90, np.bool_), table.select([]))
                missing[name].append(dict(profiler.missing))
                assert sum(column.profile.n_rows for column in profiler.columns) == 3 * 90 * (i + 1)
            by_method[name] = profiler.columns

    assert missing["machine code"] == missing["sorting"]
    for one, other in zip(by_method["machine code"], by_method["sorting"], strict=True):
        assert isinstance(one.profile, NumberProfile)
        assert isinstance(other.profile, NumberProfile)
        assert one.profile.counts.tolist() == other.profile.counts.tolist()
        assert one.profile.n_distinct == other.profile.n_distinct
        assert [getattr(one.profile, key) for key in EXACT] == [
            getattr(other.profile, key) for key in EXACT
        ]


def test_a_statistic_that_reads_values_is_counted_batch_by_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    profile = NumberProfile.empty(Edges.from_values(np.arange(3.0)))
    assert RunningProfiles.can_count([profile] * MOST_RUNNING)
    assert not RunningProfiles.can_count([profile] * (MOST_RUNNING + 1))
    monkeypatch.setattr(DistinctValues, "NEEDS_VALUES", True)
    assert not RunningProfiles.can_count([profile])


@given(columns())
def test_all_columns_are_counted_by_what_was_compiled_at_first(
    kernels: Kernels, column: pa.ChunkedArray
) -> None:
    counter = NumberCounter(CountSpec(np.arange(3.0), 0.0, (0.0, 1.0)), kernels)
    count(counter, column, DistinctValues())
    count(counter, column, None)
    assert len(kernels.count_columns._functions) == 1


@given(
    st.lists(st.none() | st.sampled_from(["a", "b", "", "ä"]), max_size=80),
    st.sampled_from([pa.int8(), pa.uint8(), pa.int32(), pa.uint64()]),
    st.sampled_from([pa.string(), pa.large_string()]),
    st.tuples(st.integers(0, 80), st.integers(0, 80)),
)
def test_categories_are_counted_by_their_places(
    values: list[Any], index: Any, kind: Any, cut: tuple[int, int]
) -> None:
    known = pa.array(["a", "", "never", "b", "ä", "a"], kind)  # one twice
    places = [None if value is None else known.to_pylist().index(value) for value in values]
    places = [5 if place == 0 and i % 2 else place for i, place in enumerate(places)]
    start, length = cut
    coded = pa.DictionaryArray.from_arrays(pa.array(places, index), known).slice(start, length)
    for column in (
        pa.chunked_array([coded]),
        pa.chunked_array([coded.slice(0, 3), coded.slice(3)]),
    ):
        counts: Counter[str] = Counter()
        for value, count in count_categories(column):
            assert count > 0
            counts[value] += count
        assert counts == Counter(value for value in values[start:][:length] if value is not None)


@pytest.mark.slow
@given(columns().filter(lambda column: pa.types.is_floating(column.type)), st.integers(0, 5))
def test_missing_floats_are_nulls_and_nan(column: pa.ChunkedArray, start: int) -> None:
    column = column.slice(start)
    (record,) = feature_records(pa.table({"x": column}), {}, {})
    assert record.missing == sum(value is None or math.isnan(value) for value in column.to_pylist())


def test_a_nan_in_the_place_of_null_is_counted_once() -> None:
    values = np.array([math.nan, math.nan, 1.0])
    array = pa.Array.from_buffers(
        pa.float64(), 3, [pa.py_buffer(bytes([0b110])), pa.py_buffer(values)]
    )
    (record,) = feature_records(pa.table({"x": array}), {}, {})
    assert record.missing == 2


def test_copies_are_a_power_of_two() -> None:
    assert BIN_COPIES & (BIN_COPIES - 1) == 0


def _unhash(hashes: Any) -> Floats:
    """Values that have these hashes: each step of splitmix64's finalizer backwards."""
    mask, numbers = 2**64 - 1, []
    for mixed in hashes.tolist():
        for shift, factor in ((31, 1), (27, 0x94D049BB133111EB), (30, 0xBF58476D1CE4E5B9)):
            mixed = mixed * pow(factor, -1, 2**64) & mask
            step = mixed
            for _ in range(64 // shift + 1):
                step = mixed ^ (step >> shift)
            mixed = step
        numbers.append((mixed - 0x9E3779B97F4A7C15) & mask)
    return np.array(numbers, np.uint64).view(np.float64)
