"""Population stability index: plain, over deciles, smoothed, and adjusted for sampling noise."""

import numpy as np

from nightscore.monitoring.drift.statistics.shared.columns import ColumnGroup
from nightscore.monitoring.drift.statistics.shared.proportions import (
    has_rows,
    proportions,
    sum_bins,
    where_known,
)
from nightscore.monitoring.drift.statistics.shared.statistic import NUMBERS, Statistic
from nightscore.profiles.bins import Counts, Floats

LEAST_PROPORTION = 1e-4
_SIDDIQI = 'sum of (q - p) ln(q / p); N. Siddiqi, "Credit Risk Scorecards" (2006)'


def psi(reference: Counts, current: Counts) -> Floats:
    """Population stability index, natural logarithm.

    Shares below 1e-4 count as 1e-4, without renormalising.

    Source: N. Siddiqi, "Credit Risk Scorecards" (2006), sum of (q - p) ln(q / p).
    """
    p = np.maximum(proportions(reference), LEAST_PROPORTION)
    q = np.maximum(proportions(current), LEAST_PROPORTION)
    return sum_bins((q - p) * np.log(q / p))


def psi_laplace(reference: Counts, current: Counts) -> Floats:
    """The index of the shares (c + 1/2) / (N + K/2), which need no floor.

    Source: H. Jeffreys' prior for multinomial proportions, "Theory of Probability" (1961).
    """
    p, q = _smoothed(reference), _smoothed(current)
    return where_known(has_rows(reference, current), sum_bins((q - p) * np.log(q / p)))


def psi_noise_floor(reference: Counts, current: Counts) -> Floats:
    """The mean index of two samples of one distribution: (K - 1)(1/n + 1/m).

    Source: B. Yurdakul, J. Naranjo, "Statistical properties of the population stability index"
    (2020), section 2.
    """
    n, m = reference.sum(axis=-1), current.sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        floor = (reference.shape[-1] - 1) * (1 / n + 1 / m)
    return where_known(has_rows(reference, current), floor)


def _smoothed(counts: Counts) -> Floats:
    n_bins = counts.shape[-1]
    with np.errstate(invalid="ignore"):
        return np.asarray((counts + 0.5) / (counts.sum(axis=-1, keepdims=True) + 0.5 * n_bins))


def _laplace(group: ColumnGroup) -> Floats:
    return group.once("psi_laplace", lambda columns: psi_laplace(*columns.coarse_bins))


def _noise_floor(group: ColumnGroup) -> Floats:
    return group.once("psi_noise_floor", lambda columns: psi_noise_floor(*columns.coarse_bins))


def _adjusted(group: ColumnGroup) -> Floats:
    return np.maximum(0.0, _laplace(group) - _noise_floor(group))


PSI_ADJUSTED = Statistic(
    name="psi_adjusted",
    label="PSI",
    title="population stability index",
    meaning="How much the shares of the bins changed, beyond what sampling noise explains.",
    source="psi_laplace less psi_noise_floor, at least 0",
    measure=_adjusted,
    is_symmetric=True,
    warning=0.1,
    critical=0.25,
    views=frozenset({"page", "drift", "history", "prefect", "segments"}),
    habit="distribution",
    p_value="chi2_pvalue",
    q_value="chi2_qvalue",
    noise_floor="psi_noise_floor",
)
PSI = Statistic(
    name="psi",
    label="raw PSI",
    title="population stability index, not adjusted for noise",
    meaning="How much the shares of the bins changed, sampling noise included.",
    source=_SIDDIQI,
    measure=lambda group: psi(*group.bins),
    is_symmetric=True,
    views=frozenset({"page"}),
)
PSI_DECILES = Statistic(
    name="psi_deciles",
    label="decile PSI",
    title="population stability index over deciles",
    meaning="How much the shares of the reference's ten deciles changed.",
    source=_SIDDIQI,
    applies_to=NUMBERS,
    measure=lambda group: psi(*group.coarse_bins),
    is_symmetric=True,
)
PSI_LAPLACE = Statistic(
    name="psi_laplace",
    label="smoothed PSI",
    title="population stability index, smoothed",
    meaning="How much the shares changed, with half a row added to each bin.",
    source='shares (c + 1/2) / (N + K/2); H. Jeffreys, "Theory of Probability" (1961)',
    measure=_laplace,
    is_symmetric=True,
)
PSI_NOISE_FLOOR = Statistic(
    name="psi_noise_floor",
    label="PSI noise",
    title="noise floor of the population stability index",
    meaning="The index that two samples of one distribution have on average.",
    source="(K - 1)(1/n + 1/m); B. Yurdakul, J. Naranjo (2020), section 2",
    measure=_noise_floor,
    is_symmetric=True,
    of_equal=float("nan"),
)
