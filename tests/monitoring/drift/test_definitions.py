"""What `nightscore drift` says of whole datasets, against the definitions written down once more with SciPy."""

import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import stats
from scipy.spatial.distance import jensenshannon

from nightscore.inputs.dataset import Dataset
from nightscore.operations.compare_datasets import compare_datasets
from nightscore.schemas.drift import ColumnDrift

RNG = np.random.default_rng(11)
MANY = [f"c{i}" for i in range(100_000)]

NUMBERS: dict[str, tuple[Any, Any]] = {
    "a shift": (RNG.normal(size=4_000), RNG.normal(0.3, 1, 3_000)),
    "tiny": (1e-6 * RNG.normal(size=3_000), 1e-6 * RNG.normal(0.5, 1, 3_000)),
    "huge": (1e12 * RNG.lognormal(size=3_000), 1e12 * RNG.lognormal(0.2, 1, 2_500)),
    "ties": (RNG.poisson(2.0, 3_000).astype(float), RNG.poisson(2.4, 3_000).astype(float)),
    "a spike": (
        np.where(RNG.random(3_000) < 0.6, 0.0, RNG.normal(size=3_000)),
        RNG.normal(size=2_000),
    ),
    "a constant that moves": (np.full(1_500, 5.0), np.full(1_500, 4.0)),
    "a constant that stays": (np.full(1_500, 5.0), np.full(1_200, 5.0)),
    "one row": (np.array([1.0]), np.array([2.0])),
    "one row now": (RNG.normal(size=500), np.array([0.1])),
    "not finite": (
        np.where(RNG.random(2_000) < 0.1, np.nan, RNG.normal(size=2_000)),
        np.where(RNG.random(2_000) < 0.1, np.inf, RNG.normal(size=2_000)),
    ),
}
NAMES: dict[str, tuple[list[str | None], list[str | None]]] = {
    "shares": (list("aaaabbbccd") * 100, list("aabbbbccde") * 90),
    "new and missing ones": (["a"] * 500 + ["b"] * 500, ["b"] * 600 + ["c"] * 300),
    "nulls": (["a"] * 300 + [None] * 100 + ["b"] * 100, ["a"] * 100 + [None] * 300),
    "100,000 of them": (MANY, MANY[50_000:] + MANY[:20_000]),
    "more than twenty": (
        [f"k{i % 40}" for i in range(4_000)],
        [f"k{(i * i) % 37}" for i in range(4_000)],
    ),
}


def compared(folder: Path, then: Any, now: Any, kind: pa.DataType) -> ColumnDrift:
    sides = []
    for name, values in (("then", then), ("now", now)):
        path = folder / f"{name}.parquet"
        pq.write_table(pa.table({"x": pa.array(values, kind)}), path, row_group_size=700)
        sides.append(Dataset(str(path)))
    (column,) = compare_datasets(*sides).columns
    return column


def edges_of(finite: np.ndarray, n_bins: int) -> np.ndarray:
    at = np.quantile(finite, [i / n_bins for i in range(n_bins + 1)], method="linear")
    counts = Counter(finite.tolist())
    atoms = [v for v in at.tolist() if counts[v] >= 2]
    return np.unique([*at[1:-1], *atoms, *(np.nextafter(v, -np.inf) for v in atoms)])


def binned(edges: np.ndarray, finite: np.ndarray) -> np.ndarray:
    return np.bincount(np.searchsorted(edges, finite, side="left"), minlength=len(edges) + 1)


def distances(c: np.ndarray, d: np.ndarray) -> dict[str, float]:
    p, q = c / c.sum(), d / d.sum()
    floored_p, floored_q = np.clip(p, 1e-4, None), np.clip(q, 1e-4, None)
    return {
        "psi": float(((floored_q - floored_p) * np.log(floored_q / floored_p)).sum()),
        "js_distance": float(np.nan_to_num(jensenshannon(p, q, base=2))),
        "hellinger": math.sqrt(max(0.0, 1 - float(np.sqrt(p * q).sum()))),
        "tvd": float(np.abs(p - q).sum() / 2),
        "linf": float(np.abs(p - q).max()),
    }


def significance(c: np.ndarray, d: np.ndarray) -> dict[str, float]:
    k, n, m = len(c), c.sum(), d.sum()
    p, q = (c + 0.5) / (n + 0.5 * k), (d + 0.5) / (m + 0.5 * k)
    laplace = float(((q - p) * np.log(q / p)).sum())
    table = np.array([c, d])[:, (c + d) > 0]
    chi2, p_value = 0.0, 1.0
    if table.shape[1] > 1:
        test = stats.chi2_contingency(table, correction=False)
        chi2, p_value = float(test.statistic), float(test.pvalue)
    adjusted = max(0.0, laplace - (k - 1) * (1 / n + 1 / m))
    return {"psi_laplace": laplace, "psi_adjusted": adjusted, "chi2": chi2, "chi2_pvalue": p_value}


def assert_same(column: ColumnDrift, expected: dict[str, float]) -> None:
    for name, value in expected.items():
        assert column.statistics[name] == pytest.approx(value, rel=1e-9, abs=1e-7), name


@pytest.mark.parametrize("case", NUMBERS)
def test_numbers(tmp_path: Path, case: str) -> None:
    then, now = NUMBERS[case]
    column = compared(tmp_path, then, now, pa.float64())
    x, y = then[np.isfinite(then)], now[np.isfinite(now)]
    fine = edges_of(x, 64)
    c, d = binned(fine, x), binned(fine, y)
    gaps = np.abs(np.cumsum(c / c.sum()) - np.cumsum(d / d.sum()))
    deciles = [binned(edges_of(x, 10), side) for side in (x, y)]
    outside = float(((y < x.min()) | (y > x.max())).mean())
    assert_same(
        column,
        distances(c, d)
        | significance(*deciles)
        | {
            "ks": float(gaps.max()),
            "psi_deciles": distances(*deciles)["psi"],
            "out_of_range_rate": outside,
        },
    )
    exact, unit = stats.wasserstein_distance(x, y), max(float(x.std()), 1e-300)
    distance = column.statistics["wasserstein"]
    assert distance is not None
    assert distance <= exact * (1 + 1e-9) + 1e-12 * unit
    if len(x) > 100 and len(y) > 100:
        assert distance == pytest.approx(exact, rel=0.05, abs=0.02 * unit)
    upper = stats.ks_2samp(x, y).statistic
    ks, bound = column.statistics["ks"], column.statistics["ks_upper"]
    assert ks is not None
    assert bound is not None
    assert ks - 1e-12 <= upper <= bound + 1e-12


@pytest.mark.parametrize("case", NAMES)
def test_categories(tmp_path: Path, case: str) -> None:
    then, now = NAMES[case]
    column = compared(tmp_path, then, now, pa.string())
    x, y = (Counter(value for value in side if value is not None) for side in (then, now))
    names = sorted({*x, *y})
    c, d = (np.array([counts[name] for name in names]) for counts in (x, y))
    top = sorted(x, key=lambda name: (-x[name], name))[:20]
    few = [
        np.array([*(counts[n] for n in top), counts.total() - sum(counts[n] for n in top)])
        for counts in (x, y)
    ]
    unseen = sum(count for name, count in y.items() if name not in x) / y.total()
    rates = [sum(value is None for value in side) / len(side) for side in (then, now)]
    assert_same(column, distances(c, d) | significance(*few) | {"unseen_category_rate": unseen})
    assert column.null_rate_difference == pytest.approx(rates[1] - rates[0])
    assert (column.n_reference, column.n_current) == (len(then), len(now))


@pytest.mark.parametrize("empty", ["then", "now", "both", "all null"])
def test_nothing_is_no_distance(tmp_path: Path, empty: str) -> None:
    some: list[float | None] = [1.0, 2.0, 3.0] * 100
    none: list[float | None] = [] if empty != "all null" else [None] * 300
    then, now = (none if empty in ("then", "both") else some), (none if empty != "then" else some)
    column = compared(tmp_path, then, now, pa.float64())
    for name in ("psi_laplace", "js_distance", "ks", "wasserstein", "chi2"):
        assert column.statistics[name] is None, name
    expected = "critical" if empty == "all null" else "insufficient data"
    assert column.severity == expected


def test_the_order_of_the_rows_says_nothing(tmp_path: Path) -> None:
    then, now = RNG.normal(size=3_000), RNG.normal(0.1, 1, 3_000)
    (tmp_path / "a").mkdir()
    first = compared(tmp_path / "a", then, now, pa.float64())
    second = compared(tmp_path, RNG.permutation(then), RNG.permutation(now), pa.float64())
    for name, value in first.statistics.items():
        assert second.statistics[name] == pytest.approx(value, rel=1e-12), name
    assert first.severity == second.severity
