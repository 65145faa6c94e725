"""What the columns of two profiles differ by, in numbers: all columns over equally many bins at once."""

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from nightscore.drift import statistics
from nightscore.profiles.bins import Counts, Floats
from nightscore.profiles.profile import CategoryProfile, NumberProfile

K = TypeVar("K", bound=Hashable)

TOP_CATEGORIES = 20

Numbers = tuple[NumberProfile, NumberProfile]
Categories = tuple[CategoryProfile, CategoryProfile]
Pair = Numbers | Categories
"""Of the reference, and what is compared with it."""


def measure_pairs(pairs: Mapping[K, Pair]) -> dict[K, dict[str, float]]:
    """The statistics of each column, nan where one is not known, in the order of the columns.

    Args:
        pairs: Column to profiles over the same bins.
    """
    found: dict[K, dict[str, float]] = {}
    alike: dict[tuple[int, int], dict[K, Numbers]] = {}
    for name, (reference, current) in pairs.items():
        if isinstance(reference, NumberProfile) and isinstance(current, NumberProfile):
            size = (len(reference.edges.fine), len(reference.edges.deciles))
            alike.setdefault(size, {})[name] = (reference, current)
        elif isinstance(reference, CategoryProfile) and isinstance(current, CategoryProfile):
            found[name] = _measure_categories(reference, current)
    for group in alike.values():
        found |= zip(group, _measure_numbers(list(group.values())), strict=True)
    return {name: found[name] for name in pairs}


def rate_p_values(pairs: Sequence[Pair]) -> list[tuple[float, float]]:
    """Of each column: how likely as different a rate of nulls is by accident, and of NaN and infinities.

    nan for the rates of a side without rows.
    """
    if not pairs:
        return []
    sides = [
        [(p.n_rows, p.n_null, p.n_odd if isinstance(p, NumberProfile) else 0) for p in pair]
        for pair in pairs
    ]
    found = np.array(sides, np.int64)
    rows, rates = found[:, :, :1], found[:, :, 1:]
    counts = np.stack([rates, rows - rates], axis=-1)
    _, p_values = statistics.chi2(counts[:, 0], counts[:, 1])
    return [(nulls, odd) for nulls, odd in np.asarray(p_values).tolist()]


def _measure_numbers(pairs: Sequence[Numbers]) -> list[dict[str, float]]:
    """Of columns with as many bins."""
    folds: dict[int, _Folded] = {}  # a column now has several references, and its bins are theirs
    for profile in (profile for pair in pairs for profile in pair):
        if id(profile) not in folds:
            folds[id(profile)] = _fold(profile)
    sides = [[folds[id(pair[side])] for pair in pairs] for side in (0, 1)]
    (fine, sums, deciles), (fine_now, sums_now, deciles_now) = (
        [np.stack(found) for found in zip(*side, strict=True)] for side in sides
    )
    edges = np.stack([reference.edges.fine for reference, _ in pairs])
    ks, ks_upper = statistics.kolmogorov_smirnov(fine, fine_now)
    distance = statistics.wasserstein(edges, fine, fine_now, sums, sums_now)
    columns: dict[str, Any] = {
        **_distances(fine, fine_now),
        "psi_deciles": statistics.psi(deciles, deciles_now),
        **_significance(deciles, deciles_now),
        "ks": ks,
        "ks_upper": ks_upper,
        "wasserstein": distance,
    }
    rows = [
        dict(zip(columns, row, strict=True))
        for row in np.stack([*columns.values()], axis=-1).tolist()
    ]
    for row, (reference, current) in zip(rows, pairs, strict=True):
        n, std = current.n_finite, reference.std
        row["wasserstein_over_std"] = row["wasserstein"] / std if std > 0 else math.nan
        is_known = n > 0 and _knows_range(reference, current)
        row["out_of_range_rate"] = current.n_outside / n if is_known else math.nan
        row["distinct_ratio"] = _distinct_ratio(reference, current)
    return rows


def _fold(profile: NumberProfile) -> "_Folded":
    """Rows and sums by fine bin, rows by decile."""
    edges = profile.edges
    fine, deciles = _starts(edges.both, edges.fine), _starts(edges.both, edges.deciles)
    with np.errstate(over="ignore", invalid="ignore"):
        sums = np.add.reduceat(profile.sums, fine)
    return np.add.reduceat(profile.counts, fine), sums, np.add.reduceat(profile.counts, deciles)


_Folded = tuple[Counts, Floats, Counts]


def _starts(edges: Floats, some: Floats) -> npt.NDArray[np.int64]:
    """Where, among the bins between all edges, those begin that are between some of them."""
    starts = np.zeros(len(some) + 1, np.int64)
    starts[1:] = edges.searchsorted(some) + 1
    return starts


def _measure_categories(reference: CategoryProfile, current: CategoryProfile) -> dict[str, float]:
    names = sorted({*reference.counts, *current.counts})
    everything = (_counts(reference, names), _counts(current, names))
    top = sorted(reference.counts, key=lambda name: (-reference.counts[name], name))[
        :TOP_CATEGORIES
    ]
    few = [_with_others(profile, top) for profile in (reference, current)]
    n = current.counts.total()
    unseen = sum(count for name, count in current.counts.items() if name not in reference.counts)
    found = {**_distances(*everything), **_significance(few[0], few[1])}
    return {name: float(value) for name, value in found.items()} | {
        "unseen_category_rate": unseen / n if n and reference.counts else math.nan,
        "distinct_ratio": _distinct_ratio(reference, current),
    }


def _distances(reference: Counts, current: Counts) -> dict[str, Any]:
    return {
        "psi": statistics.psi(reference, current),
        "js_distance": statistics.js_distance(reference, current),
        "hellinger": statistics.hellinger(reference, current),
        "tvd": statistics.total_variation(reference, current),
        "linf": statistics.largest_difference(reference, current),
    }


def _significance(reference: Counts, current: Counts) -> dict[str, Any]:
    laplace = statistics.psi_laplace(reference, current)
    chi2, p_value = statistics.chi2(reference, current)
    floor = statistics.psi_noise_floor(reference, current)
    return {
        "psi_laplace": laplace,
        "psi_adjusted": np.maximum(0.0, laplace - floor),
        "psi_noise_floor": floor,
        "chi2": chi2,
        "chi2_pvalue": p_value,
    }


def _with_others(profile: CategoryProfile, names: Sequence[str]) -> Counts:
    """Counts of these categories, and of all others together."""
    counts = _counts(profile, names)
    return np.append(counts, profile.counts.total() - counts.sum())


def _counts(profile: CategoryProfile, names: Sequence[str]) -> Counts:
    return np.array([profile.counts.get(name, 0) for name in names], np.int64)


def _knows_range(reference: NumberProfile, current: NumberProfile) -> bool:
    """Whether values outside the reference's range, and of no other's, were counted."""
    return reference.n_finite > 0 and current.bounds == reference.range


def _distinct_ratio(reference: Any, current: Any) -> float:
    """Distinct values now, over those that so many rows of the reference would have.

    Source: H. Sanders, "Marine benthic diversity" (1968), corrected by S. Hurlbert (1971): a value of share p is
    among m rows with the probability 1 - (1 - p)^m. What is in no spike is taken as equally frequent.
    """
    m = (
        current.n_rows
        - current.n_null
        - (current.n_odd if isinstance(current, NumberProfile) else 0)
    )
    expected = _expected_distinct(reference, m)
    return float(current.n_distinct / expected) if expected > 0 else math.nan


def _expected_distinct(reference: Any, m: int) -> float:
    if isinstance(reference, CategoryProfile):
        counts = np.fromiter(reference.counts.values(), np.float64, len(reference.counts))
        return float(_seen(counts / counts.sum(), m).sum()) if len(counts) else 0.0
    n = reference.n_finite
    if not n:
        return 0.0
    counts, edges = reference.counts, reference.edges.both
    is_spike = np.zeros(len(counts), np.bool_)
    is_spike[1:-1] = edges[:-1] == np.nextafter(edges[1:], -np.inf)
    spikes = counts[is_spike]
    found = float(_seen(spikes / n, m).sum()) if len(spikes) else 0.0
    n_others = reference.n_distinct - int((spikes > 0).sum())
    if n_others >= 1:
        rows = m * float((n - spikes.sum()) / n)
        found += (
            n_others * -math.expm1(rows * math.log1p(-1 / n_others))
            if n_others > 1
            else min(1.0, rows)
        )
    return found


def _seen(shares: npt.NDArray[np.float64], m: int) -> npt.NDArray[np.float64]:
    found: npt.NDArray[np.float64] = 1.0 - (1.0 - shares) ** m
    return found
