"""Columns are measured many at once, to the bits that each has by itself."""

import pickle

import numpy as np
import pyarrow as pa
import pytest

from nightscore.monitoring.drift.statistics.shared.columns import (
    ColumnPair,
    fold_profiles,
    group_numbers,
)
from nightscore.profiles.edges import Edges
from nightscore.profiles.profile import NumberProfile

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
