"""What every drift statistic promises, and that a new one needs no change anywhere else."""

import dataclasses
import importlib
import json
import math
import pkgutil
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import stats
from scipy.spatial.distance import jensenshannon
from typer.testing import CliRunner

from nightscore.cli.app import build_app
from nightscore.flows.ui.drift import drift_rows
from nightscore.inputs.dataset import Dataset
from nightscore.monitoring.drift import statistic_catalog, statistics
from nightscore.monitoring.drift.compare_profiles import compare_profiles
from nightscore.monitoring.drift.findings import Context, judge
from nightscore.monitoring.drift.grade import compare_columns
from nightscore.monitoring.drift.measure import pair_up
from nightscore.monitoring.drift.statistics.shared.columns import ColumnGroup, ColumnPair
from nightscore.monitoring.drift.statistics.shared.statistic import Statistic
from nightscore.operations.compare_datasets import compare_sides
from nightscore.profiles.bins import Floats
from nightscore.profiles.edges import Edges
from nightscore.profiles.profile import CategoryProfile, NumberProfile, Profile
from nightscore.profiles.table import ColumnProfile
from nightscore.reports.dataset_page import dataset_page
from nightscore.reports.page import render
from nightscore.schemas.drift import ColumnType

RNG = np.random.default_rng(7)
REFERENCE = RNG.normal(3.0, 2.0, 4_000)
CURRENT = RNG.normal(3.4, 2.4, 3_000)
ROUNDED = np.round(REFERENCE[(REFERENCE > 0) & (REFERENCE < 6)])
NAMES = ["a"] * 1_500 + ["b"] * 1_000 + ["c"] * 500
NAMES_NOW = ["a"] * 900 + ["b"] * 1_000 + ["d"] * 300

Values = list[float | None] | list[str | None] | np.ndarray


def number_pair(reference: Values, current: Values) -> ColumnPair:
    known = np.array([value for value in reference if value is not None], np.float64)
    edges = Edges.from_values(known[np.isfinite(known)])
    before = NumberProfile.empty(edges)
    before.add(pa.chunked_array([pa.array(reference, pa.float64(), from_pandas=False)]))
    now = NumberProfile.empty(edges, before.range)
    now.add(pa.chunked_array([pa.array(current, pa.float64(), from_pandas=False)]))
    return pair_up(before, now)


def category_pair(reference: Values, current: Values) -> ColumnPair:
    sides: list[Profile] = [CategoryProfile(), CategoryProfile()]
    for side, values in zip(sides, (reference, current), strict=True):
        side.add(pa.chunked_array([pa.array(values, pa.string())]))
    return pair_up(*sides)


PAIRS: dict[str, ColumnPair] = {
    "numbers": number_pair(REFERENCE, CURRENT),
    "equal numbers": number_pair(ROUNDED, ROUNDED),
    "repeated numbers": number_pair([1.0, 1.0, 2.0, 3.0] * 250, [1.0, 1.0, 1.0, 2.0] * 250),
    "a constant": number_pair([5.0] * 300, [5.0] * 300),
    "no reference": number_pair([], CURRENT),
    "nothing now": number_pair(REFERENCE, []),
    "no numbers at all": number_pair([], []),
    "nulls only": number_pair(REFERENCE, [None] * 400),
    "nulls on both sides": number_pair([None] * 400, [None] * 400),
    "NaN and infinities only": number_pair(REFERENCE, [math.nan, math.inf, -math.inf] * 100),
    "denormal numbers": number_pair([5e-324, 0.0, -5e-324] * 200, [1e-310] * 500),
    "huge numbers": number_pair([-1e308, 1e308] * 200, [1.7e308] * 500),
    "categories": category_pair(NAMES, NAMES_NOW),
    "equal categories": category_pair(NAMES, NAMES),
    "no categories before": category_pair([], NAMES),
    "no categories now": category_pair(NAMES, []),
    "no categories at all": category_pair([], []),
    "null categories only": category_pair(NAMES, [None] * 400),
}
MUTUAL = {
    "numbers": number_pair(CURRENT, REFERENCE),
    "categories": category_pair(NAMES_NOW, NAMES),
}
every_statistic = pytest.mark.parametrize(
    "statistic", statistic_catalog.STATISTICS, ids=lambda statistic: statistic.name
)


def value_of(statistic: Statistic, pair: ColumnPair) -> float | None:
    (drift,) = compare_columns({"x": pair})
    return drift.statistics[statistic.name]


def pairs_for(statistic: Statistic) -> dict[str, ColumnPair]:
    return {name: pair for name, pair in PAIRS.items() if pair.type in statistic.applies_to}


def test_the_catalog_has_every_statistic_of_every_module() -> None:
    modules = [
        importlib.import_module(f"{statistics.__name__}.{module.name}")
        for module in pkgutil.iter_modules(statistics.__path__)
    ]
    declared = {
        id(value): value.name
        for module in modules
        for value in vars(module).values()
        if isinstance(value, Statistic)
    }
    listed = {id(statistic): statistic.name for statistic in statistic_catalog.STATISTICS}
    assert declared == listed, "a new statistic is a line of the catalog too"
    assert len(listed) == len(statistic_catalog.STATISTICS)


def test_names_and_labels_are_told_apart() -> None:
    figures = [*statistic_catalog.STATISTICS, *statistic_catalog.OF_A_COLUMN]
    for texts in (
        [f.name for f in figures],
        [f.label for f in figures],
        [f.title for f in figures],
    ):
        assert len(set(texts)) == len(texts)


@every_statistic
def test_it_says_what_it_is(statistic: Statistic) -> None:
    assert re.fullmatch(r"[a-z0-9_]+", statistic.name), "stored names are identifiers"
    assert "_" not in statistic.label + statistic.title
    assert statistic.meaning.endswith(".")
    assert len(statistic.meaning) < 100
    assert statistic.source
    assert (statistic.measure is None) != (statistic.across is None)
    assert (statistic.warning is None) == (statistic.critical is None)
    is_grading = statistic.grade is not None or statistic.warning is not None
    assert bool(statistic.thresholds) == is_grading
    for other in (statistic.p_value, statistic.q_value, statistic.noise_floor):
        assert not other or statistic_catalog.find(other)


@every_statistic
def test_it_is_finite_or_unknown_whatever_the_profiles(statistic: Statistic) -> None:
    """Warnings are errors: nothing divides by zero on the way."""
    for name, pair in pairs_for(statistic).items():
        value = value_of(statistic, pair)
        assert value is None or math.isfinite(value), name


@pytest.mark.parametrize(
    "statistic",
    [statistic for statistic in statistic_catalog.STATISTICS if not math.isnan(statistic.of_equal)],
    ids=lambda statistic: statistic.name,
)
def test_it_is_neutral_for_equal_profiles(statistic: Statistic) -> None:
    for name in ("equal numbers", "equal categories", "a constant"):
        if name in pairs_for(statistic):
            value = value_of(statistic, PAIRS[name])
            if value is None:
                assert (statistic.name, name) == ("wasserstein_over_std", "a constant")
                continue
            assert value == pytest.approx(statistic.of_equal, abs=0.02), name


@every_statistic
def test_it_is_symmetric_if_it_says_so(statistic: Statistic) -> None:
    """Over the same bins: swapped sides keep them."""
    for name in MUTUAL:
        pair = PAIRS[name]
        if not statistic.is_symmetric or pair.type not in statistic.applies_to:
            continue
        if pair.type == "category" and statistic.name.startswith(("chi2", "psi_")):
            continue  # the reference's most frequent categories are its bins
        swapped = dataclasses.replace(pair, reference=pair.current, current=pair.reference)
        assert value_of(statistic, swapped) == pytest.approx(value_of(statistic, pair)), name


def numbers_counts() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Counts in the fine bins and in the deciles, cut and counted here once more."""
    sides = []
    for n_bins in (64, 10):
        cuts = np.quantile(REFERENCE, np.arange(1, n_bins) / n_bins)
        for values in (REFERENCE, CURRENT):
            places = np.searchsorted(cuts, values, side="left")
            sides.append(np.bincount(places, minlength=n_bins))
    return sides[0], sides[1], sides[2], sides[3]


def psi_of(p: np.ndarray, q: np.ndarray) -> float:
    return float(((q - p) * np.log(q / p)).sum())


def laplace_of(c: np.ndarray, d: np.ndarray) -> float:
    return psi_of((c + 0.5) / (c.sum() + len(c) / 2), (d + 0.5) / (d.sum() + len(d) / 2))


def expected_values() -> Mapping[str, float]:
    """Each statistic of the numbers, by SciPy or by its definition."""
    c, d, e, f = numbers_counts()
    p, q = c / c.sum(), d / d.sum()
    n, m = len(REFERENCE), len(CURRENT)
    floor = 9 * (1 / n + 1 / m)
    chi2 = stats.chi2_contingency(np.array([e, f]), correction=False)
    outside = ((REFERENCE.min() > CURRENT) | (REFERENCE.max() < CURRENT)).mean()
    gaps = np.abs(np.cumsum(p) - np.cumsum(q))
    floored = np.maximum(p, 1e-4), np.maximum(q, 1e-4)
    deciles = np.maximum(e / e.sum(), 1e-4), np.maximum(f / f.sum(), 1e-4)
    distance = stats.wasserstein_distance(REFERENCE, CURRENT)
    return {
        "psi_adjusted": laplace_of(e, f) - floor,
        "psi": psi_of(*floored),
        "psi_deciles": psi_of(*deciles),
        "psi_laplace": laplace_of(e, f),
        "psi_noise_floor": floor,
        "ks": float(gaps.max()),
        "ks_upper": float(gaps.max() + max(p.max(), q.max())),
        "linf": float(np.abs(p - q).max()),
        "js_distance": float(jensenshannon(p, q, base=2)),
        "hellinger": math.sqrt(1 - float(np.sqrt(p * q).sum())),
        "tvd": float(np.abs(p - q).sum() / 2),
        "wasserstein": distance,
        "wasserstein_over_std": distance / float(REFERENCE.std()),
        "chi2": float(chi2.statistic),
        "chi2_pvalue": float(chi2.pvalue),
        "chi2_qvalue": float(chi2.pvalue),
        "null_rate_difference": 0.0,
        "not_finite_rate_difference": 0.0,
        "out_of_range_rate": float(outside),
    }


def expected_of_others() -> Mapping[str, tuple[str, float]]:
    """Pair and value of those that want other columns."""
    shares = np.array([0.5, 0.25, 0.25])
    expected_distinct = float((1 - (1 - shares) ** 1_000).sum())
    return {
        "unseen_category_rate": ("categories", 300 / 2_200),
        "distinct_ratio": ("repeated numbers", 2 / expected_distinct),
    }


TOLERANCE: Mapping[str, float] = {
    "wasserstein": 0.02,
    "wasserstein_over_std": 0.02,
}
"""Within the bins the distance is a little less."""


@every_statistic
def test_it_agrees_with_an_independent_implementation(statistic: Statistic) -> None:
    others = expected_of_others()
    if statistic.name in others:
        name, expected = others[statistic.name]
    else:
        name, expected = "numbers", expected_values()[statistic.name]
    tolerance = TOLERANCE.get(statistic.name, 1e-6)
    assert value_of(statistic, PAIRS[name]) == pytest.approx(expected, rel=tolerance, abs=1e-12)


def test_rates_of_missing_and_odd_values() -> None:
    pair = number_pair([1.0, 2.0, None, 4.0] * 900, [1.0, math.nan, math.inf, None, None] * 900)
    (drift,) = compare_columns({"x": pair})
    assert drift.statistics["null_rate_difference"] == pytest.approx(0.4 - 0.25)
    assert drift.statistics["not_finite_rate_difference"] == pytest.approx(0.4)
    assert drift.null_rate_difference == drift.statistics["null_rate_difference"]
    assert drift.reasons[:2] == (
        "nulls rose from 25.0% to 40.0%",
        "NaN or infinite values rose from 0.0% to 40.0%",
    )


def test_a_value_is_met_with_its_name_and_threshold() -> None:
    critical, warning = (statistic_catalog.PRIMARY.grade_value(value) for value in (0.393, 0.12))
    assert critical
    assert warning
    assert critical.reason == "population stability index 0.39 (critical above 0.25)"
    assert warning.reason == "population stability index 0.12 (warning above 0.1)"
    assert statistic_catalog.PRIMARY.grade_value(0.05) is None


def furthest_mean(group: ColumnGroup) -> Floats:
    """Distance of the means, in shares of the larger one: a tiny statistic."""
    means = []
    for pair in group.pairs:
        assert isinstance(pair.reference, NumberProfile)
        assert isinstance(pair.current, NumberProfile)
        means.append((pair.reference.mean, pair.current.mean))
    before, now = np.array(means).T
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.abs(now - before) / np.maximum(np.abs(before), np.abs(now))


TINY_TYPES: frozenset[ColumnType] = frozenset({"number"})
TINY = Statistic(
    name="mean_distance",
    label="Δ mean",
    title="relative distance of the means",
    meaning="How far the mean moved, as a share of the larger mean.",
    source="|n - m| / max(|n|, |m|)",
    applies_to=TINY_TYPES,
    measure=furthest_mean,
    is_symmetric=True,
    warning=0.05,
    critical=0.5,
    views=frozenset({"page", "drift", "history", "prefect", "segments"}),
)


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> Statistic:
    monkeypatch.setattr(statistic_catalog, "STATISTICS", (*statistic_catalog.STATISTICS, TINY))
    return TINY


@pytest.fixture
def sides(tmp_path: Path) -> tuple[str, str]:
    paths = tmp_path / "reference.parquet", tmp_path / "current.parquet"
    for path, values in zip(paths, (REFERENCE, CURRENT), strict=True):
        pq.write_table(pa.table({"x": values}), path)
    return str(paths[0]), str(paths[1])


REASON = r"relative distance of the means 0\.\d\d \(warning above 0\.05\)"


def test_a_new_one_is_found_in_the_findings(registered: Statistic) -> None:
    before, now = (
        ColumnProfile(role="feature", name="x", profile=side)
        for side in (PAIRS["numbers"].reference, PAIRS["numbers"].current)
    )
    comparisons = compare_profiles([now], {"baseline": [before]})
    _, (finding,), _ = judge(comparisons, Context(partition="2024-03-01"))
    assert any(re.search(REASON, reason) for reason in finding.reasons), finding.reasons


def test_a_new_one_is_on_the_page(registered: Statistic, sides: tuple[str, str]) -> None:
    report, profiles = compare_sides(*map(Dataset, sides))
    html = render(dataset_page("x", report, profiles))
    assert re.search(REASON, html)
    assert f">{TINY.title}</th>" in html, "in the figures of the column"
    assert f"<dt>{TINY.title}</dt><dd>{TINY.meaning}" in html, "in the glossary"


def test_a_new_one_is_in_the_terminal(registered: Statistic, sides: tuple[str, str]) -> None:
    shown = CliRunner().invoke(build_app(), ["drift", *sides], env={"COLUMNS": "400"})
    assert shown.exit_code == 0, shown.output
    assert f"{TINY.label}: {TINY.title} ({TINY.thresholds})" in shown.output
    machine = CliRunner().invoke(build_app(), ["drift", *sides, "--json"])
    (column,) = json.loads(machine.output)["columns"]
    expected = abs(CURRENT.mean() - REFERENCE.mean()) / CURRENT.mean()
    assert column["statistics"][TINY.name] == pytest.approx(expected)


def test_a_new_one_is_in_prefect_s_table(registered: Statistic) -> None:
    row = {
        "segment": "",
        "reference": "baseline",
        "role": "feature",
        "column": "x",
        "severity": "ok",
        "status": "",
        "statistic": TINY.name,
        "value": 0.125,
    }
    (shown,) = drift_rows([row])
    assert shown[TINY.label] == "0.12"
