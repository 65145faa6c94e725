"""Stored profiles are compared as the data that they were made of."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nightscore.errors import InvalidJobError
from nightscore.inputs.dataset import Dataset
from nightscore.operations.compare_datasets import compare_datasets, open_side
from nightscore.profiles.profile_spec import ProfiledColumn, ProfileSpec, cut_column, match_column
from nightscore.profiles.profiler import Profiler
from nightscore.profiles.table import from_bytes, to_bytes
from nightscore.schemas.drift import DriftReport
from tests.profiles.test_profile import add

KINDS = {"x": pa.float64(), "c": pa.string()}


def data(folder: Path, name: str, seed: int, shift: float = 0.0) -> Path:
    rng = np.random.default_rng(seed)
    path = folder / f"{name}.parquet"
    pd.DataFrame(
        {"x": rng.normal(shift, 1, 3_000), "c": rng.choice(list("abc"), 3_000)}
    ).to_parquet(path)
    return path


def store(source: Path, target: Path, like: Path | None = None) -> Path:
    """Profile a file, over its own bins or those of a stored profile."""
    table = pq.read_table(source)
    if like is None:
        watched = [
            cut_column("feature", "x", [table.column("x")]),
            ProfiledColumn("feature", "c", None),
        ]
    else:
        known = {column.key: column for column in from_bytes(like.read_bytes())}
        watched = [
            c for name, kind in KINDS.items() if (c := match_column("feature", name, known, kind))
        ]
    profiler = Profiler(ProfileSpec(tuple(watched)))
    for start in range(0, table.num_rows, 700):
        add(profiler, table.slice(start, 700))
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(to_bytes(profiler.columns))
    return target


def values(report: DriftReport) -> dict[str, dict[str, float | None]]:
    return {column.name: column.statistics for column in report.columns}


@pytest.mark.parametrize("shift", [0.0, 0.4])
def test_profiles_say_what_their_data_say(tmp_path: Path, shift: float) -> None:
    then, now = data(tmp_path, "then", 1), data(tmp_path, "now", 2, shift)
    expected = compare_datasets(Dataset(str(then)), Dataset(str(now)))
    profile = store(then, tmp_path / "profiles" / "then.parquet")
    current = store(now, tmp_path / "today" / "now.parquet", like=profile)
    for side in (current, now):
        report = compare_datasets(open_side(str(profile)), open_side(str(side)))
        assert [c.severity for c in report.columns] == [c.severity for c in expected.columns]
        for name, statistics in values(expected).items():
            assert values(report)[name] == pytest.approx(statistics, rel=1e-9, nan_ok=True)


def test_a_folder_of_profiles_is_their_sum(tmp_path: Path) -> None:
    days = [data(tmp_path, f"day{i}", i) for i in range(3)]
    first = store(days[0], tmp_path / "profiles" / "0.parquet")
    for index, day in enumerate(days[1:], 1):
        store(day, tmp_path / "profiles" / f"{index}.parquet", like=first)
    report = compare_datasets(open_side(str(tmp_path / "profiles")), open_side(str(days[0])))
    assert {column.n_reference for column in report.columns} == {9_000}
    assert {column.n_current for column in report.columns} == {3_000}


def test_what_cannot_be_compared_says_why(tmp_path: Path) -> None:
    then, now = data(tmp_path, "then", 1), data(tmp_path, "now", 2)
    one, other = store(then, tmp_path / "a" / "1.parquet"), store(now, tmp_path / "b" / "2.parquet")
    with pytest.raises(InvalidJobError, match="its bins were cut before"):
        compare_datasets(open_side(str(then)), open_side(str(one)))
    report = compare_datasets(open_side(str(one)), open_side(str(other)))
    assert "other bins" in report.errors["x"]
    assert [column.name for column in report.columns] == ["c"]
    (tmp_path / "a" / "data.parquet").write_bytes(then.read_bytes())
    with pytest.raises(InvalidJobError, match="Some files are profiles"):
        open_side(str(tmp_path / "a"))
