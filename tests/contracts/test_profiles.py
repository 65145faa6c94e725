"""What every sufficient statistic promises, and profiles and tables that hold one: also one that tests add."""

import copy
import math
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightscore.profiles import profile as profiles
from nightscore.profiles import table as tables
from nightscore.profiles.counting import CountSpec, NumberCounts, count_by_sorting
from nightscore.profiles.edges import Edges
from nightscore.profiles.hashes import no_hashes
from nightscore.profiles.profile import NumberProfile
from nightscore.profiles.sufficient_statistic_catalog import SufficientStatistic, all_statistics
from nightscore.profiles.table import ColumnProfile, from_bytes, merge_profiles, to_bytes

EDGES = Edges.from_values(np.arange(-50.0, 50.0))
SPEC = CountSpec(EDGES.both, EDGES.pivot, (-10.0, 10.0))
VALUES = st.lists(
    st.none() | st.floats(-1e6, 1e6) | st.sampled_from([math.nan, math.inf, -math.inf])
)


@dataclass(slots=True)
class Negatives:
    """Finite values below 0: no statistic of nightscore's, and not counted by machine code."""

    n_negative: int = 0

    FIELDS: ClassVar[tuple[pa.Field, ...]] = (pa.field("n_negative", pa.int64()),)
    IS_REQUIRED: ClassVar[bool] = False
    COUNTS_SEGMENTS: ClassVar[bool] = True
    NEEDS_VALUES: ClassVar[bool] = True

    @classmethod
    def empty(cls, spec: CountSpec) -> Self:
        return cls()

    def add(self, counts: NumberCounts) -> None:
        self.n_negative += int((counts.finite < 0).sum())

    def merge(self, other: Self) -> None:
        self.n_negative += other.n_negative

    def to_row(self) -> dict[str, Any]:
        return {"n_negative": self.n_negative}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self | None:
        return None if row["n_negative"] is None else cls(row["n_negative"])


STATISTICS: dict[str, type[SufficientStatistic]] = {**all_statistics(), "negatives": Negatives}
each = pytest.mark.parametrize("statistic", STATISTICS.values(), ids=STATISTICS)


@pytest.fixture
def with_negatives(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module `negatives` among those of the statistics."""
    for module in (profiles, tables):
        monkeypatch.setattr(module, "all_statistics", lambda: STATISTICS)


def count(values: list[float | None]) -> NumberCounts:
    column = pa.chunked_array([pa.array(values, pa.float64())])
    return count_by_sorting(column, SPEC, no_hashes())


def summed(statistic: type[SufficientStatistic], *parts: list[float | None]) -> SufficientStatistic:
    """The statistic of all parts, added one after another."""
    total = statistic.empty(SPEC)
    for part in parts:
        total.add(count(part))
    return total


def merged(*parts: SufficientStatistic) -> SufficientStatistic:
    """The parts, merged from the left. They stay as they are."""
    before = [pickle.dumps(part) for part in parts]
    total = copy.copy(parts[0])
    for part in parts[1:]:
        total.merge(part)
    assert [pickle.dumps(part) for part in parts] == before
    return total


def assert_same(one: SufficientStatistic, other: SufficientStatistic) -> None:
    """Whole numbers, and what is not rounded, to the last bit; sums but for their rounding."""
    rows = one.to_row(), other.to_row()
    assert rows[0].keys() == rows[1].keys() == {field.name for field in one.FIELDS}
    for field in one.FIELDS:
        values, expected = (np.asarray(row[field.name]) for row in rows)
        assert values.shape == expected.shape
        if values.dtype.kind == "f":
            assert np.allclose(values, expected, rtol=1e-9, atol=1e-3, equal_nan=True)
        else:
            assert values.tolist() == expected.tolist()


@each
@given(VALUES, VALUES, VALUES)
def test_merging_is_associative_and_commutative(
    statistic: type[SufficientStatistic],
    a: list[float | None],
    b: list[float | None],
    c: list[float | None],
) -> None:
    one, other, third = (summed(statistic, part) for part in (a, b, c))
    assert_same(merged(one, other), merged(other, one))
    assert_same(merged(merged(one, other), third), merged(one, merged(other, third)))


@each
@given(VALUES)
def test_empty_is_the_identity_of_merging(
    statistic: type[SufficientStatistic], values: list[float | None]
) -> None:
    some, empty = summed(statistic, values), statistic.empty(SPEC)
    assert_same(merged(some, empty), some)
    assert_same(merged(empty, some), some)


@each
@given(VALUES, st.integers(0, 20))
def test_any_split_gives_the_same(
    statistic: type[SufficientStatistic], values: list[float | None], cut: int
) -> None:
    whole = summed(statistic, values)
    parts = values[:cut], values[cut:]
    assert_same(summed(statistic, *parts), whole)
    assert_same(merged(*(summed(statistic, part) for part in parts)), whole)


@each
@given(VALUES)
def test_it_pickles(statistic: type[SufficientStatistic], values: list[float | None]) -> None:
    some = summed(statistic, values)
    restored = pickle.loads(pickle.dumps(some))
    assert type(restored) is type(some)
    assert_same(restored, some)


@each
def test_its_columns_are_its_own(statistic: type[SufficientStatistic]) -> None:
    others = [one for one in STATISTICS.values() if one is not statistic]
    taken = {field.name for one in others for field in one.FIELDS}
    taken |= {field.name for field in tables.COLUMN_FIELDS}
    assert taken.isdisjoint(field.name for field in statistic.FIELDS)


def profile(values: list[float | None]) -> ColumnProfile:
    numbers = NumberProfile.empty(EDGES, SPEC.bounds)
    numbers.add(pa.chunked_array([pa.array(values, pa.float64())]))
    return ColumnProfile(role="feature", name="x", profile=numbers)


def numbers_of(columns: list[ColumnProfile]) -> NumberProfile:
    (column,) = columns
    assert isinstance(column.profile, NumberProfile)
    return column.profile


@pytest.mark.usefixtures("with_negatives")
@pytest.mark.parametrize("values", [[], [None, math.nan], [-1.0, -2.0, 3.0, math.inf, None]])
def test_a_table_gives_every_statistic_back(values: list[float | None]) -> None:
    before = profile(values)
    restored = numbers_of(from_bytes(to_bytes([before])))

    assert restored.statistics.keys() == STATISTICS.keys()
    for name, statistic in numbers_of([before]).statistics.items():
        assert_same(restored.statistics[name], statistic)


@pytest.mark.usefixtures("with_negatives")
def test_a_new_statistic_is_counted_merged_and_stored() -> None:
    parts = [[profile([-1.0, 2.0])], from_bytes(to_bytes([profile([-3.0, -4.0, None])]))]
    columns, failed = merge_profiles(parts)

    assert not failed
    total = numbers_of(list(columns.values()))
    assert total.statistics["negatives"] == Negatives(3)
    assert total.n_finite == 4


def test_what_an_older_version_did_not_count_is_not_known_of_a_sum(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    older = to_bytes([profile([-1.0, 2.0])])
    assert "n_negative" not in pq.read_schema(pa.BufferReader(older)).names
    for module in (profiles, tables):
        monkeypatch.setattr(module, "all_statistics", lambda: STATISTICS)

    before = from_bytes(older)
    columns, failed = merge_profiles([before, [profile([-3.0])]])

    assert "negatives" not in numbers_of(before).statistics
    assert not failed
    total = numbers_of(list(columns.values()))
    assert total.statistics.keys() == all_statistics().keys()
    assert total.n_finite == 3


def test_a_segment_has_the_statistics_that_are_counted_for_segments() -> None:
    segment = NumberProfile.empty(EDGES, is_segment=True)
    counted = {name for name, one in all_statistics().items() if one.COUNTS_SEGMENTS}
    assert segment.statistics.keys() == counted
    assert all_statistics().keys() - counted == {"distinct"}
