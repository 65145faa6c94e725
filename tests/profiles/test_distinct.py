"""Distinct values are counted the same under any split: exactly while they are few, within bounds beyond."""

import itertools
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightscore.native.machine_code import CODE_FOLDER, load_kernels
from nightscore.profiles.counting import CountSpec, NumberCounter
from nightscore.profiles.hashes import MAX_HASHES
from nightscore.profiles.sufficient_statistics.distinct import DistinctValues
from tests.support.shared import with_machine_code


def counted(*parts: list[float]) -> DistinctValues:
    distinct = DistinctValues()
    for part in parts:
        distinct.add_sorted(np.sort(np.array(part, np.float64)))
    return distinct


@given(
    st.lists(st.floats(allow_nan=False, allow_infinity=False)),
    st.lists(st.integers(0, 60), max_size=4),
)
def test_few_are_exact_whatever_the_split(values: list[float], cuts: list[int]) -> None:
    places = [0, *sorted(cuts), max(len(values), 60)]
    parts = [values[start:end] for start, end in itertools.pairwise(places)]
    whole, split, merged = counted(values), counted(*parts), DistinctValues()
    for part in parts:
        merged.merge(counted(part))
    assert whole.hashes.tolist() == split.hashes.tolist() == merged.hashes.tolist()
    if len(set(values)) < MAX_HASHES:
        assert whole.estimate == len(set(values))


@pytest.mark.parametrize("n", [127, 128, 1_000, 30_000, 1_000_000])
def test_many_are_estimated(n: int) -> None:
    values = np.random.default_rng(n).permutation(np.arange(n) * 0.37 - 5)
    twice = np.concatenate([values, values])
    whole = counted(values.tolist())
    parts = [counted(part.tolist()) for part in np.array_split(twice, 7)]
    merged = DistinctValues()
    for part in reversed(parts):
        merged.merge(part)
    assert whole.hashes.tolist() == merged.hashes.tolist()
    assert whole.estimate == pytest.approx(n, rel=0.3)  # three standard errors


def test_a_batch_of_many_equal_values_keeps_the_least_hashes() -> None:
    ties = np.repeat(np.arange(200.0), 50)
    assert (
        counted(ties.tolist()).hashes.tolist() == counted(np.arange(200.0).tolist()).hashes.tolist()
    )
    assert counted([0.0], [-0.0]).estimate == 1


def test_machine_code_and_numpy_give_the_same_hashes(tmp_path: Path, machine_code: Path) -> None:
    kernels = load_kernels(with_machine_code(tmp_path, machine_code) / CODE_FOLDER)
    counter = NumberCounter(CountSpec(np.empty(0), 0.0, (0.0, 1.0)), kernels)
    values = np.sort(
        np.concatenate([np.random.default_rng(0).normal(size=20_000), [-0.0, 0.0, 5e-324, 1e308]])
    )
    for limit in (MAX_HASHES - 1, 2**60, 2**64 - 1):
        before = np.array([limit * i // (MAX_HASHES - 1) for i in range(MAX_HASHES)], np.uint64)
        by_code, by_numpy = DistinctValues(before), DistinctValues(before)
        by_code.add(counter.count(pa.array(values), by_code.hashes))
        by_numpy.add_sorted(values)
        assert by_code.hashes.tolist() == by_numpy.hashes.tolist()
        assert (by_numpy.hashes.tolist() == before.tolist()) == (limit < MAX_HASHES)
