"""Columns are measured many at once, to the bits that each has by itself."""

import pickle
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from nightscore.monitoring.drift.compare_profiles import compare_profiles, compare_several
from nightscore.monitoring.drift.statistics.shared.columns import (
    ColumnPair,
    fold_profiles,
    group_numbers,
)
from nightscore.profiles.edges import Edges
from nightscore.profiles.profile import CategoryProfile, NumberProfile
from nightscore.profiles.table import ColumnProfile

RNG = np.random.default_rng(3)


def _profile(edges: Edges, values: list[float]) -> NumberProfile:
    profile = NumberProfile.empty(edges)
    profile.add(pa.chunked_array([values], pa.float64()))
    return profile


def _profiles() -> list[NumberProfile]:
    """Over three sets of bins of one number, the last with sums beyond float64."""
    profiles = []
    for scale in (1.0, 1e-3, 1e305):
        edges = Edges.from_values(np.arange(1.0, 1_001.0) * scale)
        profiles.append(_profile(edges, (RNG.uniform(-1, 1.7, 500) * scale).tolist()))
        profiles.append(_profile(edges, (RNG.normal(size=300) * scale).tolist()))
    return profiles


def test_profiles_are_folded_together_as_each_by_itself() -> None:
    profiles = _profiles()

    folded = fold_profiles(profiles)

    for place, profile in enumerate(profiles):
        alone = fold_profiles([profile])
        assert folded.fine[place].tolist() == profile.fine.tolist() == alone.fine[0].tolist()
        assert folded.deciles[place].tolist() == profile.deciles.tolist()
        assert folded.sums[place].tobytes() == alone.sums[0].tobytes()


def test_a_damaged_profile_does_not_borrow_the_bins_of_the_next() -> None:
    damaged, sound, *_ = _profiles()
    damaged.binned.counts = damaged.counts[:-1]

    with pytest.raises(ValueError, match="another number of counts than of bins"):
        fold_profiles([damaged, sound])


def test_a_group_has_each_side_of_each_pair() -> None:
    one, two, three, four, *_ = _profiles()

    group = group_numbers([ColumnPair(one, two), ColumnPair(one, one), ColumnPair(three, four)])

    assert group.bins[0].tolist() == [p.fine.tolist() for p in (one, one, three)]
    assert group.bins[1].tolist() == [p.fine.tolist() for p in (two, one, four)]
    assert group.coarse_bins[1].tolist() == [p.deciles.tolist() for p in (two, one, four)]
    assert group.edges is not None
    assert group.edges.tolist() == [p.edges.fine.tolist() for p in (one, one, three)]


def test_spikes_are_the_bins_that_hold_a_single_value() -> None:
    edges = Edges.from_values(np.array([0.0] * 50 + [1.0, 2.0, 3.0] + [7.5] * 50))
    counts = _profile(edges, [0.0, 7.5, 7.5, 1.0, 2.0, 8.0]).counts

    assert counts[edges.spikes].tolist() == [1, 2]


def test_equal_edges_are_one_object_once_they_have_crossed_a_process_boundary() -> None:
    edges = Edges.from_values(RNG.normal(size=1_000))

    one, other = pickle.loads(pickle.dumps(edges)), pickle.loads(pickle.dumps(edges))

    assert one is other
    assert one.equals(edges)
    assert one.both.tobytes() == edges.both.tobytes()


def _day(seed: int) -> list[ColumnProfile]:
    """Numbers over two kinds of bins, names, a segment, and a column that only some days have."""
    rng = np.random.default_rng(seed)
    values = np.arange(1.0, 1_001.0)
    few, many = Edges.from_values(values[:5]), Edges.from_values(values / 500 - 1)
    columns = []
    for place, edges in enumerate((few, many, many, few)):
        values = rng.normal(seed / 2, 1 + place, 1_500).round(2).tolist()
        profile = _profile(edges, [*values, float("nan")] if place else values)
        columns.append(ColumnProfile(role="feature", name=f"x{place}", profile=profile))

    counts = Counter({"a": 1_400 + seed, "b": 100, f"only {seed}": 3})
    names = CategoryProfile(1_503 + seed, 0, counts)
    columns.append(ColumnProfile(role="feature", name="name", profile=names))

    part = _profile(few, rng.normal(0, 1, 80).tolist())
    columns.append(ColumnProfile(role="feature", name="x0", profile=part, segment="name=a"))
    if seed % 2:
        columns.append(ColumnProfile(role="feature", name="odd", profile=_profile(few, [1.0])))
    return columns


def test_several_partitions_are_compared_at_once_as_each_by_itself() -> None:
    days = [_day(seed) for seed in range(7)]
    partitions: list[tuple[list[ColumnProfile], dict[str, list[ColumnProfile]]]] = []
    for place in range(2, 7):
        references = {"baseline": days[0], "previous": days[place - 1]}
        partitions.append((days[place], references if place % 3 else {"previous": days[1]}))
    partitions.append((days[1], {}))

    at_once = compare_several(partitions)
    assert at_once == [compare_profiles(*partition) for partition in partitions]
    severities = [drift.severity for drift in at_once[0]["baseline"].columns.values()]
    assert {"critical", "ok"} <= {*severities}
    assert at_once[-1] == {}
