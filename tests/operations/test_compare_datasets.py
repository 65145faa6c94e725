"""Two datasets compared: silent where nothing changed, loud where something did, and never stopped by one column."""

import datetime as dt
import decimal
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nightscore.errors import InvalidJobError, LocationNotFoundError
from nightscore.inputs.dataset import Dataset
from nightscore.operations.compare_datasets import compare_datasets
from nightscore.schemas.drift import ColumnDrift, DriftReport
from tests.support.warm_commands import run_command

Values = Any


def compare(folder: Path, reference: dict[str, Values], current: dict[str, Values]) -> DriftReport:
    paths = []
    for name, columns in (("reference", reference), ("current", current)):
        path = folder / f"{name}.parquet"
        pq.write_table(pa.table(columns), path, row_group_size=1_000)
        paths.append(Dataset(str(path)))
    return compare_datasets(*paths)


def one(folder: Path, reference: Values, current: Values) -> ColumnDrift:
    (column,) = compare(folder, {"x": reference}, {"x": current}).columns
    return column


SAME: dict[str, Callable[[np.random.Generator, int], Values]] = {
    "normal": lambda rng, n: rng.normal(size=n),
    "lognormal": lambda rng, n: rng.lognormal(sigma=3, size=n),
    "integers": lambda rng, n: rng.poisson(3, n),
    "spiked": lambda rng, n: np.where(rng.random(n) < 0.7, 0.0, rng.normal(size=n)),
    "categories": lambda rng, n: rng.choice(
        list("abcdefgh"), n, p=[0.4, 0.2, 0.1, 0.1, 0.05, 0.05, 0.05, 0.05]
    ),
    "zipf": lambda rng, n: pa.array(rng.zipf(1.3, n) % 2_000).cast(pa.string()),
    "flags": lambda rng, n: rng.random(n) < 0.03,
    "nulls": lambda rng, n: pa.array(rng.normal(size=n), mask=rng.random(n) < 0.1),
}


@pytest.mark.parametrize(
    ("n_rows", "n_pairs"),
    [
        (200, 200),
        pytest.param(1_000, 200, marks=pytest.mark.slow),
        pytest.param(20_000, 200, marks=pytest.mark.slow),
        pytest.param(100_000, 20, marks=pytest.mark.slow),
    ],
)
def test_no_alarm_where_nothing_changed(
    tmp_path: Path, n_rows: int, n_pairs: int, thorough: bool
) -> None:
    """In a sample: a quarter of the pairs."""
    alarms = []
    for seed in range(n_pairs if thorough else n_pairs // 4):
        rng = np.random.default_rng(seed)
        reference, current = (
            {name: draw(rng, n_rows) for name, draw in SAME.items()} for _ in range(2)
        )
        report = compare(tmp_path, reference, current)
        alarms += [
            (seed, c.name, c.severity, c.reasons)
            for c in report.columns
            if c.severity in ("warning", "critical")
        ]
    assert not alarms


SKEWED: dict[str, Callable[[np.random.Generator, int], Values]] = {
    "rare flag": lambda rng, n: (rng.random(n) < 0.0005).astype(float),
    "mostly zeros": lambda rng, n: np.where(rng.random(n) < 0.95, 0.0, rng.normal(size=n)),
    "zipf categories": lambda rng, n: pa.array(rng.zipf(1.6, n) % 5_000).cast(pa.string()),
    "zipf numbers": lambda rng, n: (rng.zipf(1.6, n) % 5_000).astype(float),
}


@pytest.mark.slow
def test_no_alarm_where_one_side_has_many_more_rows(tmp_path: Path, thorough: bool) -> None:
    """A baseline is a quarter of a year, a partition a day."""
    alarms = []
    for seed in range(40 if thorough else 10):
        rng = np.random.default_rng(seed)
        draws = SAME | SKEWED
        reference, current = (
            {name: draw(rng, n) for name, draw in draws.items()} for n in (40_000, 2_000)
        )
        report = compare(tmp_path, reference, current)
        alarms += [
            (seed, c.name, c.reasons)
            for c in report.columns
            if c.severity in ("warning", "critical")
        ]
    assert not alarms


RNG = np.random.default_rng(1)
N = 5_000
SHIFTS: dict[str, tuple[Values, Values, str]] = {
    "a mean that moves": (RNG.normal(size=N), RNG.normal(size=N) + 0.5, "critical"),
    "a spread that doubles": (RNG.normal(size=N), 2 * RNG.normal(size=N), "warning"),
    "another unit": (RNG.lognormal(size=N), 1_000 * RNG.lognormal(size=N), "critical"),
    "a spike at zero": (
        RNG.normal(size=N),
        np.where(RNG.random(N) < 0.3, 0, RNG.normal(size=N)),
        "warning",
    ),
    "a constant that moves": (np.full(N, 5.0), np.full(N, 4.0), "critical"),
    "a column that becomes constant": (RNG.normal(size=N), np.full(N, 0.1), "critical"),
    "nulls": (
        pa.array(RNG.normal(size=N), mask=RNG.random(N) < 0.05),
        pa.array(RNG.normal(size=N), mask=RNG.random(N) < 0.40),
        "critical",
    ),
    "all null": (RNG.normal(size=N), pa.nulls(N, pa.float64()), "critical"),
    "new categories": (RNG.choice(list("abc"), N), RNG.choice(list("abcd"), N), "critical"),
    "shares of categories": (
        RNG.choice(list("abc"), N, p=[0.5, 0.3, 0.2]),
        RNG.choice(list("abc"), N, p=[0.2, 0.3, 0.5]),
        "critical",
    ),
    "half of it NaN": (
        RNG.normal(size=N),
        np.where(RNG.random(N) < 0.5, np.nan, RNG.normal(size=N)),
        "critical",
    ),
    "half of it infinite": (
        RNG.normal(size=N),
        np.where(RNG.random(N) < 0.5, np.inf, RNG.normal(size=N)),
        "critical",
    ),
    "all NaN": (RNG.normal(size=N), np.full(900, np.nan), "critical"),
    "all null in few rows": (RNG.normal(size=N), pa.nulls(190, pa.float64()), "critical"),
    "half null in few rows": (
        RNG.normal(size=N),
        pa.array(RNG.normal(size=190), mask=np.arange(190) % 2 == 0),
        "critical",
    ),
    "nothing but nulls, without a type": (RNG.normal(size=N), pa.nulls(N), "critical"),
    "a share from 2 to 5 %": (
        RNG.choice(list("abc"), N, p=[0.02, 0.48, 0.5]),
        RNG.choice(list("abc"), N, p=[0.05, 0.45, 0.5]),
        "info",
    ),
}


@pytest.mark.parametrize("shift", SHIFTS)
def test_what_changed_is_seen(tmp_path: Path, shift: str) -> None:
    reference, current, severity = SHIFTS[shift]
    column = one(tmp_path, reference, current)
    order = ("ok", "info", "warning", "critical")
    if severity == "info":
        assert column.severity == "info"
    else:
        assert order.index(column.severity) >= order.index(severity), column
    assert column.reasons


def test_the_numbers_are_those_of_their_definitions(tmp_path: Path) -> None:
    reference, current = RNG.normal(size=3_000), RNG.normal(0.2, 1.1, size=2_000)
    statistics = one(tmp_path, reference, current).statistics
    distance = statistics["wasserstein"]
    assert distance
    assert statistics["wasserstein_over_std"] == pytest.approx(distance / reference.std(), rel=1e-9)
    outside = ((current < reference.min()) | (current > reference.max())).mean()
    assert statistics["out_of_range_rate"] == pytest.approx(outside)
    assert set(statistics) >= {
        "psi",
        "psi_deciles",
        "psi_laplace",
        "psi_adjusted",
        "js_distance",
        "ks",
        "ks_upper",
        "chi2",
    }
    assert set(statistics) >= {"chi2_pvalue", "hellinger", "tvd", "linf", "wasserstein"}
    names = one(
        tmp_path, ["a"] * 300 + ["b"] * 100 + [None] * 100, ["a"] * 200 + ["c"] * 50 + [None] * 250
    )
    assert names.type == "category"
    assert names.null_rate_difference == pytest.approx(0.3)
    assert names.statistics["unseen_category_rate"] == pytest.approx(0.2)
    assert names.statistics["linf"] == pytest.approx(0.25)
    assert names.statistics["tvd"] == pytest.approx(0.25)


def test_affine_maps_change_nothing_but_the_unit(tmp_path: Path) -> None:
    reference, current = RNG.normal(size=2_000), RNG.normal(0.3, 1, size=2_000)
    plain, mapped = (
        one(tmp_path, reference, current),
        one(tmp_path, reference * 8 + 32, current * 8 + 32),
    )
    for name in ("psi", "psi_adjusted", "js_distance", "ks", "chi2", "wasserstein_over_std"):
        assert plain.statistics[name] == pytest.approx(mapped.statistics[name], rel=1e-6)
    assert mapped.statistics["wasserstein"] == pytest.approx(8 * plain.statistics["wasserstein"])  # type: ignore[operator]


KINDS: dict[str, Values] = {
    "dates": pa.array([dt.date(2024, 1, 1) + dt.timedelta(days=i % 60) for i in range(500)]),
    "timestamps": pa.array([dt.datetime(2024, 1, 1) + dt.timedelta(hours=i) for i in range(500)]),
    "decimals": pa.array([decimal.Decimal(i) / 100 for i in range(500)]),
    "flags": pa.array([i % 3 == 0 for i in range(500)]),
    "dictionary": pa.array(["a", "b"] * 250).dictionary_encode(),
    "large strings": pa.array(["a", "b"] * 250, pa.large_string()),
    "lists": pa.array([list(range(i % 5)) for i in range(500)]),
    "half floats": pa.array(np.arange(500, dtype=np.float16)),
    "unsigned": pa.array(np.arange(500, dtype=np.uint64)),
    "one row": pa.array([1.0]),
    "no rows": pa.array([], pa.float64()),
    "all null": pa.nulls(300, pa.float64()),
    "not finite": pa.array([float("nan"), float("inf"), float("-inf"), 1.0] * 100),
    "tiny": pa.array(np.arange(500) * 1e-6),
    "huge": pa.array(np.arange(500) * 1e12),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_compared_with_itself_without_alarm(tmp_path: Path, kind: str) -> None:
    column = one(tmp_path, KINDS[kind], KINDS[kind])
    assert column.severity in ("ok", "insufficient data")
    assert column.n_reference == column.n_current == len(KINDS[kind])
    for name in ("psi", "js_distance", "tvd", "chi2", "ks", "wasserstein"):
        value = column.statistics.get(name)
        assert value is None or value == pytest.approx(0, abs=1e-6), name


def test_schemas_that_differ_are_told_and_stop_nothing(tmp_path: Path) -> None:
    numbers = np.arange(500.0)
    blobs = [b"x"] * 500
    then = {
        "same": numbers,
        "gone": numbers,
        "text": numbers,
        "wider": pa.array([1] * 500, pa.int32()),
        "blob": blobs,
    }
    now = then | {"new": numbers, "text": ["a"] * 500, "wider": pa.array([1] * 500, pa.int64())}
    del now["gone"]
    report = compare(tmp_path, then, now)
    assert [column.name for column in report.columns] == ["same", "wider"]
    assert (report.missing_columns, report.new_columns) == (("gone",), ("new",))
    assert report.changed_types == {"text": "double, string", "wider": "int32, int64"}
    assert set(report.errors) == {"text", "blob"}
    assert report.verdict == "critical"


@pytest.mark.parametrize("offset", [0.0, 1e6, 1e9, 1.7e9, 1e12])
def test_the_standard_deviation_of_values_far_from_zero(tmp_path: Path, offset: float) -> None:
    reference, current = offset + RNG.normal(size=4_000), offset + 0.5 + RNG.normal(size=4_000)
    distance = one(tmp_path, reference, current).statistics["wasserstein_over_std"]
    assert distance == pytest.approx(0.5, abs=0.1)


def test_what_cannot_be_compared_is_not_all_right(tmp_path: Path) -> None:
    report = compare(tmp_path, {"x": [1.0] * 300}, {"x": ["a"] * 300})
    assert report.verdict == "warning"
    assert "cannot be compared" in report.errors["x"]


def test_folders_of_files_are_one_dataset(tmp_path: Path) -> None:
    whole = RNG.normal(size=900)
    (tmp_path / "parts" / "ds=2024-01-01").mkdir(parents=True)
    for i in range(3):
        pq.write_table(
            pa.table({"x": whole[i::3]}), tmp_path / "parts" / "ds=2024-01-01" / f"p{i}.parquet"
        )
    pq.write_table(pa.table({"x": whole}), tmp_path / "whole.parquet")
    report = compare_datasets(
        Dataset(str(tmp_path / "whole.parquet")), Dataset(str(tmp_path / "parts"))
    )
    assert report.columns[0].statistics["psi"] == pytest.approx(0, abs=1e-12)
    with pytest.raises(InvalidJobError, match="in neither dataset"):
        compare_datasets(
            Dataset(str(tmp_path / "whole.parquet")), Dataset(str(tmp_path / "parts")), ["y"]
        )
    with pytest.raises(LocationNotFoundError, match="no Parquet file"):
        Dataset(str(tmp_path / "nothing"))


@pytest.mark.slow
def test_by_command(tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}.parquet" for name in ("then", "now")]
    for path, shift in zip(paths, (0.0, 1.0), strict=True):
        pq.write_table(
            pa.table({"a": RNG.normal(size=2_000) + shift, "b": RNG.normal(size=2_000)}), path
        )

    done = run_command("drift", *map(str, paths), "--format", "json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert {column["name"]: column["severity"] for column in report["columns"]} == {
        "a": "critical",
        "b": "ok",
    }
    assert report["verdict"] == "critical"
    done = run_command("drift", *map(str, paths), "--columns", "b")
    assert done.returncode == 0, done.stderr
    assert "verdict: ok" in done.stdout
    assert "\na " not in done.stdout
