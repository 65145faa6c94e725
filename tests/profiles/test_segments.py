"""Segments are profiled in the same pass, and say which of them drive a finding."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from nightscore.monitoring.drift.drivers import find_drivers
from nightscore.monitoring.drift.statistics.total_variation import total_variation
from nightscore.profiles import profile_spec
from nightscore.profiles import profiler as profiler_module
from nightscore.profiles.profile import CategoryProfile, NumberProfile
from nightscore.profiles.profile_spec import (
    ProfiledColumn,
    ProfileSpec,
    SegmentColumn,
    cut_column,
    cut_segments,
    match_segments,
)
from nightscore.profiles.profiler import Profiler
from nightscore.profiles.table import ColumnProfile, Key, from_bytes, merge_profiles, to_bytes


def frame(n: int, seed: int, share: float = 0.5, shift: float = 0.0) -> pa.Table:
    """Carriers A and B, of which A's values lie about 0 and B's about 3 (and `shift` more)."""
    random = np.random.default_rng(seed)
    is_b = random.random(n) < share
    x = random.normal(size=n) + np.where(is_b, 3.0 + shift, 0.0)
    return pa.table({"x": x, "c": np.where(is_b, "B", "A").tolist()})


REFERENCE = frame(20_000, 0)
X = cut_column("feature", "x", [REFERENCE.column("x")])
CARRIERS = SegmentColumn("c", ("A", "B"))
SPEC = ProfileSpec((X, ProfiledColumn("feature", "c", None)), (CARRIERS,))


def profiled(
    table: pa.Table, spec: ProfileSpec = SPEC, batch: int = 7_000, **kept: Any
) -> dict[Key, ColumnProfile]:
    profiler = Profiler(spec)
    for start in range(0, table.num_rows, batch):
        rows = table.slice(start, batch)
        scored = np.ones(rows.num_rows, np.bool_)
        profiler.add(rows, rows, scored, pa.table({"p": rows.column("x")}))
    assert not profiler.errors
    return {column.key: column for column in profiler.columns}


@pytest.mark.parametrize("batch", [999, 20_000])
def test_segments_add_up_to_the_whole(batch: int) -> None:
    columns = profiled(REFERENCE, batch=batch)
    whole = columns["feature", "x", ""].profile
    parts = [columns["feature", "x", label].profile for label in ("c=A", "c=B")]
    assert isinstance(whole, NumberProfile)
    assert sum(part.n_rows for part in parts) == whole.n_rows == 20_000
    assert sum(part.counts for part in parts).tolist() == whole.counts.tolist()
    assert columns["feature", "c", "c=A"].profile.counts == {"A": parts[0].n_rows}
    stored, failed = merge_profiles([from_bytes(to_bytes(columns.values()))])
    assert not failed
    assert stored.keys() == columns.keys()
    assert match_segments("c", stored) == CARRIERS


def test_values_beyond_the_known_ones_and_missing_ones_are_segments_too() -> None:
    table = pa.table({"x": [1.0, 2.0, 3.0, 4.0], "c": ["A", "Z", None, "Y"]})
    columns = profiled(table)
    rows = {
        label: column.profile.n_rows
        for (_, name, label), column in columns.items()
        if name == "x" and label
    }
    assert rows == {"c=A": 1, "c=(other)": 2, "c=(missing)": 1}


def test_rows_that_were_not_scored_are_no_segment_of_the_predictions() -> None:
    table = pa.table({"x": [1.0, 2.0, 3.0], "c": ["A", "B", "B"]})
    profiler = Profiler(ProfileSpec((X, ProfiledColumn("prediction", "p", None)), (CARRIERS,)))
    is_scored = np.array([True, False, True])
    profiler.add(table, table.select([]), is_scored, pa.table({"p": ["yes", "no"]}))
    profiles = {column.key: column.profile for column in profiler.columns}
    assert profiles["prediction", "p", "c=A"].counts == {"yes": 1}
    assert profiles["prediction", "p", "c=B"].counts == {"no": 1}
    assert profiles["feature", "x", "c=B"].n_rows == 2


def test_segments_are_cut_at_the_most_frequent_values() -> None:
    values = [
        value for i in range(profile_spec.MAX_SEGMENTS + 5) for value in [f"v{i:02d}"] * (100 - i)
    ]
    segments = cut_segments("c", [pa.chunked_array([pa.array(values)])])
    assert segments.values == tuple(f"v{i:02d}" for i in range(profile_spec.MAX_SEGMENTS))
    by_number = cut_segments("month", [pa.chunked_array([pa.array([7, 6, 7, None])])])
    assert by_number.values == ("6", "7")
    assert by_number.codes(pa.chunked_array([pa.array([6, None, 9])])).tolist() == [0, 3, 2]


def test_more_rows_of_a_segment_are_mix() -> None:
    then, now = profiled(frame(40_000, 1)), profiled(frame(40_000, 2, share=0.9))
    drivers = find_drivers(then, now, "feature", "x")
    assert {driver.kind for driver in drivers} == {"mix"}
    assert {driver.segment for driver in drivers} == {"c=A", "c=B"}
    assert sum(driver.share for driver in drivers) == pytest.approx(1.0, abs=0.1)


def test_other_values_of_a_segment_are_within() -> None:
    then, now = profiled(frame(40_000, 1)), profiled(frame(40_000, 2, shift=2.0))
    first, *others = find_drivers(then, now, "feature", "x")
    assert (first.segment, first.kind) == ("c=B", "within")
    assert first.share == pytest.approx(1.0, abs=0.1)
    assert not others


def test_all_parts_are_the_total_variation_distance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nightscore.monitoring.drift.drivers.LEAST_SHARE", -1.0)
    monkeypatch.setattr("nightscore.monitoring.drift.drivers.MAX_DRIVERS", 100)
    monkeypatch.setattr("nightscore.monitoring.drift.drivers.LEAST_EXCESS", 0.0)
    for seed in range(5):
        then, now = profiled(frame(3_000, seed)), profiled(frame(2_000, seed + 9, 0.3, 1.0))
        for name in ("x", "c"):
            drivers = find_drivers(then, now, "feature", name)
            assert sum(driver.share for driver in drivers) == pytest.approx(1.0), (
                "nothing is left unexplained"
            )
    then, now = profiled(frame(3_000, 1)), profiled(frame(3_000, 2, share=0.0))
    gone = {d.segment: d for d in find_drivers(then, now, "feature", "c") if d.share > 0.01}
    assert {driver.kind for driver in gone.values()} == {"mix"}, (
        "a segment that went is no change within it"
    )
    assert find_drivers(then, then, "feature", "x") == ()
    assert total_variation(np.array([1, 1]), np.array([2, 0])) == 0.5


def test_counting_less_where_it_takes_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiler_module, "LEAST_JUDGED_S", 0.0)
    table = frame(50_000, 3)
    profiler = Profiler(ProfileSpec(SPEC.columns, max_share=1e-9))
    for start in range(0, 50_000, 1_001):
        rows = table.slice(start, 1_001)
        scored = np.ones(rows.num_rows, np.bool_)
        scored[::2] = False
        profiler.add(rows, rows, scored, pa.table({"p": rows.column("x")}).filter(pa.array(scored)))
    (x,) = (column.profile for column in profiler.columns if column.name == "x")
    assert profiler.stride == profiler_module.MAX_STRIDE
    assert 0 < x.n_rows < 10_000
    assert x.n_rows + profiler.n_skipped == 50_000
    assert not profiler.errors
    patient = Profiler(ProfileSpec(SPEC.columns, max_share=1.0))
    patient.add(table, table, np.ones(50_000, np.bool_), pa.table({"p": table.column("x")}))
    assert (patient.stride, patient.n_skipped) == (1, 0)


def test_identifiers_leave_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither by segment nor by the mean score of each: they are as many as rows, and may be people's."""
    monkeypatch.setattr(profiler_module, "MAX_CATEGORIES", 100)
    n = 400
    table = pa.table({"c": ["A", "B"] * (n // 2), "id": [f"id{i}" for i in range(n)]})
    columns = (ProfiledColumn("feature", "c", None), ProfiledColumn("feature", "id", None))
    profiler = Profiler(ProfileSpec(columns, (CARRIERS,), score="p"))
    for start in range(0, n, 50):
        rows = table.slice(start, 50)
        profiler.add(rows, rows, np.ones(50, np.bool_), pa.table({"p": np.full(50, 0.5)}))
    by_key = {column.key: column for column in profiler.columns}
    assert {key[2] for key in by_key if key[1] == "id"} == {""}
    assert by_key["feature", "id", ""].scores is None
    assert b"id17" not in to_bytes(by_key.values())
    assert by_key["feature", "c", "c=A"].profile.n_rows == n // 2


def test_labels_by_bin_of_the_score() -> None:
    score = cut_column("prediction", "p", [pa.chunked_array([np.linspace(0, 1, 1_001)])])
    profiler = Profiler(ProfileSpec((score,), score="p", label="y"))
    p = np.linspace(0, 1, 1_001)
    kept = pa.table({"y": p > 0.5})
    profiler.add(pa.table({"x": p}), kept, np.ones(1_001, np.bool_), pa.table({"p": p}))
    (column,) = profiler.columns
    assert column.scores
    assert column.scores.rows.total() == 1_001
    assert column.scores.mean == pytest.approx(500 / 1_001)
    assert isinstance(column.profile, NumberProfile)
    assert column.scores.sums["0"] == 0.0
    assert (
        column.scores.sums[str(len(column.profile.counts) - 1)]
        == column.scores.rows[str(len(column.profile.counts) - 1)]
    )
    assert not isinstance(column.profile, CategoryProfile)


def test_segments_of_a_column_that_cannot_be_coded_leave_the_whole() -> None:
    table = pa.table({"x": [1.0, 2.0], "c": [[1], [2]]})
    profiler = Profiler(ProfileSpec((X,), (CARRIERS,)))

    for _ in range(2):
        profiler.add(table, table, np.ones(2, np.bool_), pa.table({"p": table.column("x")}))

    assert list(profiler.errors) == ["segments of c"]
    assert [(column.name, column.profile.n_rows) for column in profiler.columns] == [("x", 4)]


def test_a_segment_s_values_that_cannot_be_counted_leave_the_other_columns() -> None:
    table = pa.table({"x": [1.0, 2.0], "y": ["a", "b"], "c": ["A", "B"]})
    y = ProfiledColumn("feature", "y", X.edges)
    profiler = Profiler(ProfileSpec((X, y), (CARRIERS,)))

    profiler.add(table, table, np.ones(2, np.bool_), pa.table({"p": table.column("x")}))

    assert list(profiler.errors) == ["y"]
    assert {column.name for column in profiler.columns} == {"x"}
