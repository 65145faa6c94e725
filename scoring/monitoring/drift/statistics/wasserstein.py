"""Wasserstein distance of the first order, in the column's unit and in standard deviations."""

import numpy as np

from nightscore.monitoring.drift.statistics.shared.columns import ColumnGroup
from nightscore.monitoring.drift.statistics.shared.proportions import (
    has_rows,
    sum_bins,
    where_known,
)
from nightscore.monitoring.drift.statistics.shared.statistic import NUMBERS, Statistic
from nightscore.profiles.bins import Counts, Floats
from nightscore.profiles.profile import NumberProfile


def wasserstein(
    edges: Floats, reference: Counts, current: Counts, reference_sums: Floats, current_sums: Floats
) -> Floats:
    """Distance of the first order in the column's own unit, from the bins' counts and sums.

    It is exact where the difference of the distribution functions keeps its sign within each
    bin, else a little less. In a bin, the integral of D = F - G is hi D(hi) - lo D(lo), minus
    the difference of the shares of the bin's means.

    Source: L. Vaserstein (1969): the integral of |F - G|.
    """
    n = reference.sum(axis=-1, keepdims=True)
    m = current.sum(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        difference = (np.cumsum(reference, axis=-1) / n - np.cumsum(current, axis=-1) / m)[..., :-1]
        at_edges = edges * difference

        ends = np.zeros((*at_edges.shape[:-1], 1))
        steps = np.diff(np.concatenate([ends, at_edges, ends], axis=-1), axis=-1)
        distance = sum_bins(np.abs(steps - (reference_sums / n - current_sums / m)))

    return where_known(has_rows(reference, current), distance)


def _wasserstein(group: ColumnGroup) -> Floats:
    assert group.edges is not None  # noqa: S101
    assert group.sums is not None  # noqa: S101
    return wasserstein(group.edges, *group.bins, *group.sums)


def _distance(group: ColumnGroup) -> Floats:
    return group.once("wasserstein", _wasserstein)


def _over_std(group: ColumnGroup) -> Floats:
    deviations = np.array([_std(pair.reference) for pair in group.pairs])
    with np.errstate(over="ignore"):
        return np.asarray(_distance(group) / deviations)


def _std(profile: object) -> float:
    """The standard deviation; nan without any spread."""
    std = profile.std if isinstance(profile, NumberProfile) else 0.0
    if std > 0:
        return std
    return float("nan")


WASSERSTEIN_OVER_STD = Statistic(
    name="wasserstein_over_std",
    label="Wasserstein (σ)",
    title="Wasserstein distance in standard deviations",
    meaning="How far the values moved on average, in standard deviations of the reference.",
    source="wasserstein over the reference's standard deviation",
    applies_to=NUMBERS,
    measure=_over_std,
    views=frozenset({"page", "drift"}),
    habit="shift",
)
WASSERSTEIN = Statistic(
    name="wasserstein",
    label="Wasserstein",
    title="Wasserstein distance",
    meaning="How far the values moved on average, in the unit of the column.",
    source="integral of |F - G|; L. Vaserstein (1969)",
    applies_to=NUMBERS,
    measure=_distance,
    is_symmetric=True,
)
