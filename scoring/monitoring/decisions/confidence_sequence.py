"""A confidence sequence of the mean of days: it holds at every look, however often one looks.

The day is the unit. Rows of one day share what happened that day, so a million of them are no
million pieces of evidence. And days are not independent of the days before. `day_models` says what
days may be like.

A mean is refused when what was seen is `1 / ERROR` times as probable under other means as under
this one. For each model that ratio is a test martingale, so that it ever gets so great has at most
the probability `ERROR` (Ville's inequality). Nobody knows which model is right, so the one under
which the mean fares best is taken. The ratio can only be smaller then.

Sources: T. Lai, "On Confidence Sequences" (1976), and H. Wang, A. Ramdas, "Anytime-Valid t-Tests
and Confidence Sequences for Gaussian Means with Unknown Variance" (2024), for unknown spreads;
L. Wasserman, A. Ramdas, S. Balakrishnan, "Universal Inference" (2020), for the unknown model;
M. Pérez-Ortiz, T. Lardy, R. de Heide, P. Grünwald, "E-Statistics, Group Invariance and
Anytime-Valid Testing" (2024), for the prior of the spread; I. Waudby-Smith, D. Arbour, R. Sinha,
E. Kennedy, A. Ramdas, "Time-Uniform Central Limit Theory and Asymptotic Confidence Sequences"
(2024), for the rows within days.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from nightscore.monitoring.decisions.day_models import (
    DayModel,
    DayModels,
    day_models,
    usual_rows,
    weighted_means,
)
from nightscore.profiles.bins import Floats

ERROR = 0.1
"""The interval misses the mean at any look with at most this probability, each side with half of
it: so at most 5 % of models that are no better are ever called better."""
OF_SEVERAL = 1.5
"""The error is divided by this power of the number of challengers, so that all of them together are
wrongly called better as seldom as one may be. 1 would do where the error is kept exactly
(Bonferroni). With skewed days of a correlation of 0.7, which barely keep it, four together would
have 6.8 %; so they have 4.4 %."""
LEAST_NIGHTS = 7
"""Each day of the week has been seen: a model may be good on working days alone."""
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


def log_evidence(
    days: Floats, variances: Floats | None = None, rows: Floats | None = None
) -> Floats:
    """How much speaks against a mean of 0, at each look: the logarithm of the ratio.

    Args:
        days: Shape (..., t), float64: means of days, in their order.
        variances: Shape (..., t): variance of each day's mean that its rows alone explain. None:
            not known. With it, the rows must speak against 0 as well, so that days that are equal
            by chance prove nothing.
        rows: Shape (t,), float64: rows of each day, at least 1. None: as many on all.

    Returns:
        Shape (..., t). A mean is refused where `is_refused` says so.
    """
    rows = np.ones(days.shape[-1]) if rows is None else rows
    return _evidence(days, variances, rows, day_models(rows))


def interval(
    days: Floats,
    variances: Floats | None = None,
    rows: Floats | None = None,
    n_challengers: int = 1,
) -> tuple[float, float] | None:
    """All means that are not refused at the last look.

    Args:
        days: Shape (t,), float64: means of days, in their order.
        variances: Shape (t,), as `log_evidence` takes them.
        rows: Shape (t,), as `log_evidence` takes them.
        n_challengers: As `is_refused` takes it.

    Returns:
        None: too few days, no end can be told.
    """
    if len(days) < 2:
        return None

    rows = np.ones(len(days)) if rows is None else rows
    models = day_models(rows)
    center = float(weighted_means(days, rows)[-1])

    def is_out(mean: float) -> bool:
        evidence = _evidence(days - mean, variances, rows, models)
        return bool(is_refused(evidence[-1:], n_challengers)[0])

    of_rows = 0.0 if variances is None else float(np.sqrt(variances.mean()))
    step = max(float(days.std()), of_rows, abs(center) * 1e-9, 1e-90)

    low = _end(is_out, center, -step)
    high = _end(is_out, center, step)

    return None if low is None or high is None else (low, high)


def is_refused(log_ratio: Floats, n_challengers: int = 1) -> npt.NDArray[np.bool_]:
    """Where a mean is refused, of what `log_evidence` returns.

    Args:
        log_ratio: Of any shape.
        n_challengers: Of one champion, among which one is looked for.
    """
    least = n_challengers**OF_SEVERAL / ERROR
    refused: npt.NDArray[np.bool_] = log_ratio >= np.log(least)
    return refused


def _evidence(days: Floats, variances: Floats | None, rows: Floats, models: DayModels) -> Floats:
    evidence = _of_days(days, models)
    if variances is None:
        return evidence

    return np.minimum(evidence, _of_rows(days, variances, rows))


def _of_days(days: Floats, models: DayModels) -> Floats:
    """The evidence of the days' means.

    The spread has the prior 1 / spread, under which its integrals are powers of sums of squares.
    The mean in spreads of a usual day has a normal prior.
    """
    looks = np.arange(1, days.shape[-1] + 1)
    with_mean: list[Floats] = []

    for model in models.alternatives:
        whitened, squares = _whiten(days, model)
        of_mean = model.whitening.sum(axis=1)
        products = np.cumsum(of_mean * whitened, axis=-1)
        information = np.cumsum(of_mean**2)

        for spread in SPREADS:
            prior = spread**2
            explained = prior * products**2 / (1 + prior * information) / squares
            rest = np.log(squares) + np.log1p(-np.minimum(explained, 1 - 1e-15))
            scale = model.log_scale - np.log1p(prior * information) / 2
            with_mean.append(scale - looks / 2 * rest)

    best_without: Floats = np.full(days.shape, -np.inf)
    for model in models.all:
        _, squares = _whiten(days, model)
        without = model.log_scale - looks / 2 * np.log(squares)
        best_without = np.maximum(best_without, without)

    ways = np.stack(with_mean)
    greatest = ways.max(axis=0)
    mixture = greatest + np.log(np.exp(ways - greatest).mean(axis=0))
    evidence: Floats = mixture - best_without
    return evidence


def _whiten(days: Floats, model: DayModel) -> tuple[Floats, Floats]:
    """The days as independent ones with one spread, and their sums of squares up to each look."""
    whitened: Floats = days @ model.whitening.T
    squares = np.maximum(np.cumsum(whitened**2, axis=-1), LEAST_SQUARES)
    return whitened, squares


def _of_rows(days: Floats, variances: Floats, rows: Floats) -> Floats:
    """The evidence of rows that are independent, of known variances. Each row weighs alike.

    Source: H. Robbins, "Statistical Methods Related to the Law of the Iterated Logarithm" (1970).
    """
    weights = rows / usual_rows(rows)
    total = np.cumsum(weights * days, axis=-1)
    variance = np.maximum(np.cumsum(weights**2 * variances, axis=-1), LEAST_SQUARES)

    # Fixed from the first look that may decide: it is as long as that when differences show best.
    first = min(LEAST_NIGHTS, days.shape[-1]) - 1
    prior = variance[..., first : first + 1]

    both = variance + prior
    evidence: Floats = np.log(prior / both) / 2 + total**2 / both / 2
    return evidence


def _end(is_out: Callable[[float], bool], center: float, step: float) -> float | None:
    """The last mean on one side of the center that is not refused."""
    outer = step
    for _ in range(WIDENINGS):
        if is_out(center + outer):
            break
        outer *= 2
    else:
        return None

    inner = 0.0
    for _ in range(HALVINGS):
        middle = (inner + outer) / 2
        inner, outer = (inner, middle) if is_out(center + middle) else (middle, outer)

    return center + outer
