"""A confidence sequence of the mean of days: it holds at every look, however often one looks.

The day is the unit. Rows of one day share what happened that day, so a million of them are no
million pieces of evidence. And days are not independent of the days before. So the days' means are
taken as an autoregressive series with unknown mean, spread and correlation.

A mean is refused when what was seen is `1 / ERROR` times as probable under other means as under
this one. For each correlation that ratio is a test martingale, so that it ever gets so great has at
most the probability `ERROR` (Ville's inequality). The correlation is not known, so the one under
which the mean fares best is taken. The ratio can only be smaller then.

Sources: T. Lai, "On Confidence Sequences" (1976), and H. Wang, A. Ramdas, "Anytime-Valid t-Tests
and Confidence Sequences for Gaussian Means with Unknown Variance" (2024), for unknown spreads;
L. Wasserman, A. Ramdas, S. Balakrishnan, "Universal Inference" (2020), for the unknown correlation;
M. Pérez-Ortiz, T. Lardy, R. de Heide, P. Grünwald, "E-Statistics, Group Invariance and
Anytime-Valid Testing" (2024), for the prior of the spread; I. Waudby-Smith, D. Arbour, R. Sinha,
E. Kennedy, A. Ramdas, "Time-Uniform Central Limit Theory and Asymptotic Confidence Sequences"
(2024), for the rows within days.
"""

import numpy as np
import numpy.typing as npt

from nightscore.profiles.bins import Floats

ERROR = 0.1
"""The interval misses the mean at any look with at most this probability, each side with half of
it: so at most 5 % of models that are no better are ever called better."""
LEAST_NIGHTS = 7
"""Each day of the week has been seen: a model may be good on working days alone."""
CORRELATIONS = np.linspace(0.0, 0.7, 8)
"""Of a day with the day before, those that may be. With up to 0.7, models with a correlation of 0.5
and skewed days keep the 5 %. With up to 0.6 they do not; with up to 0.8 great differences take 2 to
10 more nights."""
SPREADS = (0.5, 2.0)
"""How great differences may be, in standard deviations of days: the evidence grows fastest for
means of about this size. Two of them cost small ones up to three nights and save great ones as
many."""
LEAST_SQUARES = 1e-200
"""Sums of squares are taken for at least this, so that nothing is divided by 0."""
WIDENINGS = 60
"""How often the interval is doubled in search of its end."""
HALVINGS = 40
"""How often its end is halved: to 1e-12 of it."""


def log_evidence(days: Floats, variances: Floats | None = None) -> Floats:
    """How much speaks against a mean of 0, at each look: the logarithm of the ratio.

    Args:
        days: Shape (..., t), float64: means of days, in their order.
        variances: Shape (..., t): variance of each day's mean that its rows alone explain. None:
            not known. With it, the rows must speak against 0 as well, so that days that are equal
            by chance prove nothing.

    Returns:
        Shape (..., t). A mean is refused where it is at least log(1 / `ERROR`).
    """
    evidence = _of_days(days)
    if variances is None:
        return evidence

    return np.minimum(evidence, _of_rows(days, variances))


def interval(days: Floats, variances: Floats | None = None) -> tuple[float, float] | None:
    """All means that are not refused at the last look.

    Args:
        days: Shape (t,), float64: means of days, in their order.
        variances: Shape (t,), as `log_evidence` takes them.

    Returns:
        None: too few days, no end can be told.
    """
    if len(days) < 2:
        return None

    center = float(days.mean())

    low = _end(days, variances, center, -1.0)
    high = _end(days, variances, center, 1.0)

    return None if low is None or high is None else (low, high)


def is_refused(log_ratio: Floats) -> npt.NDArray[np.bool_]:
    """Where a mean is refused, of what `log_evidence` returns."""
    refused: npt.NDArray[np.bool_] = log_ratio >= -np.log(ERROR)
    return refused


def _of_days(days: Floats) -> Floats:
    """The evidence of the days' means as an autoregressive series.

    For a correlation, days without what they have from the day before are independent. The spread
    has the prior 1 / spread, under which its integrals are powers of sums of squares. The mean in
    spreads has a normal prior.
    """
    looks = np.arange(1, days.shape[-1] + 1)
    with_mean: list[Floats] = []
    without: list[Floats] = []

    for correlation in CORRELATIONS:
        left = 1 - correlation**2
        whitened = days.copy()
        whitened[..., 1:] -= correlation * days[..., :-1]
        whitened[..., 0] *= np.sqrt(left)

        of_mean = np.full(days.shape[-1], 1 - correlation)
        of_mean[0] = np.sqrt(left)

        squares = np.maximum(np.cumsum(whitened**2, axis=-1), LEAST_SQUARES)
        products = np.cumsum(of_mean * whitened, axis=-1)
        information = np.cumsum(of_mean**2)

        without.append(np.log(left) / 2 - looks / 2 * np.log(squares))

        for spread in SPREADS:
            prior = spread**2 / left
            explained = prior * products**2 / (1 + prior * information) / squares
            rest = np.log(squares) + np.log1p(-np.minimum(explained, 1 - 1e-15))
            scale = np.log(left) / 2 - np.log1p(prior * information) / 2
            with_mean.append(scale - looks / 2 * rest)

    ways = np.stack(with_mean)
    greatest = ways.max(axis=0)
    mixture: Floats = greatest + np.log(np.exp(ways - greatest).mean(axis=0))
    best_without: Floats = np.stack(without).max(axis=0)
    return mixture - best_without


def _of_rows(days: Floats, variances: Floats) -> Floats:
    """The evidence of rows that are independent, of known variances.

    Source: H. Robbins, "Statistical Methods Related to the Law of the Iterated Logarithm" (1970).
    """
    total = np.cumsum(days, axis=-1)
    variance = np.maximum(np.cumsum(variances, axis=-1), LEAST_SQUARES)

    # Fixed from the first look that may decide: it is as long as that when differences show best.
    first = min(LEAST_NIGHTS, days.shape[-1]) - 1
    prior = variance[..., first : first + 1]

    both = variance + prior
    evidence: Floats = np.log(prior / both) / 2 + total**2 / both / 2
    return evidence


def _end(days: Floats, variances: Floats | None, center: float, side: float) -> float | None:
    """The last mean on one side of the center that is not refused."""

    def is_out(distance: float) -> bool:
        evidence = log_evidence(days - (center + side * distance), variances)
        return bool(is_refused(evidence[-1:])[0])

    of_rows = 0.0 if variances is None else float(np.sqrt(variances.mean()))
    outer = max(float(days.std()), of_rows, abs(center) * 1e-9, 1e-90)
    for _ in range(WIDENINGS):
        if is_out(outer):
            break
        outer *= 2
    else:
        return None

    inner = 0.0
    for _ in range(HALVINGS):
        middle = (inner + outer) / 2
        inner, outer = (inner, middle) if is_out(middle) else (middle, outer)

    return center + side * outer
