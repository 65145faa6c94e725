"""Made data: a known chance of the positive class for each row of features, and ways to shift them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from tests.bench.estimates.case import Case, Floats, Rows
from tests.bench.estimates.fitted_models import fit, scores_of

N_FOR_INTERCEPT = 50_000

Shift = Callable[[Floats, np.random.Generator], Floats]
"""Changes features, shape (n, features), and keeps P(label | features). It may keep fewer rows."""


@dataclass(frozen=True, kw_only=True)
class Made:
    """How features and labels come about.

    Features are normal. The log odds are linear in them, with a curve and an interaction that a
    linear model does not see: what its score means then depends on where a row is.
    """

    n_features: int = 5
    share: float = 0.3
    """Of positive rows, before any shift."""
    strength: float = 1.5
    """Standard deviation of the linear part."""
    curve: float = 0.0
    """Weight of the square of the first feature."""
    interaction: float = 0.0
    """Weight of the product of the first two features."""
    correlation: float = 0.0
    """Of the first feature with each other one."""
    shift: Shift | None = None
    """Of the day's features."""
    day_share: float | None = None
    """Share of positive rows of the day, chosen by label. None: as it comes."""
    concept: Mapping[str, float] | None = None
    """Parts of the log odds that are other on the day, such as `{"strength": 0.5}`."""
    n_drawn: int = 1
    """Rows that are drawn for each of the day, where only some are kept."""


def moved(by: Mapping[int, float]) -> Shift:
    """Add to some features."""

    def shift(x: Floats, rng: np.random.Generator) -> Floats:
        for place, step in by.items():
            x[:, place] += step
        return x

    return shift


def stretched(by: Mapping[int, float]) -> Shift:
    """Multiply some features, which changes their spread."""

    def shift(x: Floats, rng: np.random.Generator) -> Floats:
        for place, factor in by.items():
            x[:, place] *= factor
        return x

    return shift


def kept(chance: Callable[[Floats], Floats]) -> Shift:
    """Keep each row with a chance that depends on its features."""

    def shift(x: Floats, rng: np.random.Generator) -> Floats:
        return x[rng.random(len(x)) < chance(x)]

    return shift


def make_case(
    made: Made, model: str, sizes: tuple[int, int, int], threshold: float, seed: int
) -> Case:
    """One day with a model and a baseline of its own.

    Args:
        made: How features and labels come about.
        model: Its kind.
        sizes: Rows of training, baseline and day.
        threshold: Of the decision.
        seed: Of everything that is drawn.
    """
    rng = np.random.default_rng(seed)
    n_training, n_baseline, n_day = sizes
    weights = _weights(made, rng)
    intercept = _intercept(made, weights)

    x = _features(made, n_training, rng)
    fitted = fit(model, _frame(x), _labels(made, x, weights, intercept, rng), seed)

    def score(x: Floats, labels: Floats) -> Rows:
        frame = _frame(x)
        return Rows(frame, scores_of(fitted, frame), labels)

    x = _features(made, n_baseline, rng)
    baseline = score(x, _labels(made, x, weights, intercept, rng))

    return Case(baseline, score(*_day(made, n_day, weights, intercept, rng)), threshold)


def _day(
    made: Made, n_rows: int, weights: Floats, intercept: float, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Features and labels of the day."""
    x = _features(made, n_rows * made.n_drawn, rng)
    if made.shift is not None:
        x = made.shift(x, rng)

    labels = _labels(made, x, weights, intercept, rng, dict(made.concept or {}))
    chosen = np.arange(len(x))
    if made.day_share is not None:
        n_positive = round(n_rows * made.day_share)
        positive = np.flatnonzero(labels)[:n_positive]
        negative = np.flatnonzero(labels == 0)[: n_rows - n_positive]
        chosen = rng.permutation(np.append(positive, negative))

    if len(chosen) < n_rows:
        raise ValueError(f"the shift leaves {len(chosen):,} rows, {n_rows:,} are asked for")

    return x[chosen[:n_rows]], labels[chosen[:n_rows]]


def _features(made: Made, n_rows: int, rng: np.random.Generator) -> Floats:
    x = rng.normal(size=(n_rows, made.n_features))
    rest = np.sqrt(1 - made.correlation**2)
    x[:, 1:] = made.correlation * x[:, :1] + rest * x[:, 1:]
    return x


def _weights(made: Made, rng: np.random.Generator) -> Floats:
    """Of the linear part, with a standard deviation of 1."""
    weights = 0.4 + rng.random(made.n_features)
    return weights / np.sqrt((weights**2).sum())


def _log_odds(made: Made, x: Floats, weights: Floats, changed: Mapping[str, float]) -> Floats:
    part = {"strength": made.strength, "curve": made.curve, "interaction": made.interaction}
    part |= changed
    squares = part["curve"] * (x[:, 0] ** 2 - 1) / np.sqrt(2)
    linear: Floats = part["strength"] * (x @ weights) + part.get("intercept", 0.0)
    return linear + squares + part["interaction"] * x[:, 0] * x[:, 1]


def _intercept(made: Made, weights: Floats) -> float:
    """What makes the share of positive rows the one that is asked for, by bisection."""
    x = _features(made, N_FOR_INTERCEPT, np.random.default_rng(0))
    log_odds = _log_odds(made, x, weights, {})
    low, high = -30.0, 30.0
    for _ in range(40):
        middle = (low + high) / 2
        if _chances(log_odds + middle).mean() < made.share:
            low = middle
        else:
            high = middle
    return low


def _labels(
    made: Made,
    x: Floats,
    weights: Floats,
    intercept: float,
    rng: np.random.Generator,
    changed: Mapping[str, float] | None = None,
) -> Floats:
    chances = _chances(_log_odds(made, x, weights, changed or {}) + intercept)
    return (rng.random(len(x)) < chances).astype(np.float64)


def _chances(log_odds: Floats) -> Floats:
    chances: Floats = 1 / (1 + np.exp(-log_odds))
    return chances


def _frame(x: Floats) -> pd.DataFrame:
    return pd.DataFrame(x, columns=[f"x{number}" for number in range(x.shape[1])])
