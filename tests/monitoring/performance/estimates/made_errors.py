"""Days of a regression and their baselines, many at once."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from nightscore.monitoring.performance.estimates.expected_errors import ErrorBins
from nightscore.profiles.bins import FINE_BINS, Floats

Draw = Callable[[np.random.Generator, tuple[int, int]], Floats]

NOISE: Mapping[str, Draw] = {
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "heavy tails": lambda rng, shape: rng.laplace(size=shape) / np.sqrt(2),
    "heavier tails": lambda rng, shape: rng.standard_t(6, size=shape) / np.sqrt(1.5),
    "skewed": lambda rng, shape: rng.gamma(2.0, size=shape) / np.sqrt(2) - np.sqrt(2),
}
"""Of mean 0 and variance 1."""


class ErrorDays(NamedTuple):
    """Errors of the rows of days, and their bins with a baseline of each day's own."""

    errors: Floats
    """Shape (days, rows)."""
    bins: ErrorBins


def make_error_days(
    noise: str, n_days: int, n_labelled: int, n_rows: int, *, seed: int
) -> ErrorDays:
    """Days that have the distribution of their baselines.

    The spread of errors grows with the prediction, and there is a bias that depends on it.
    """
    rng = np.random.default_rng(seed)

    def draw(n: int) -> tuple[Floats, Floats]:
        predictions = rng.normal(10, 3, (n_days, n))
        spread = 0.5 + 0.15 * np.abs(predictions - 4)
        errors = spread * NOISE[noise](rng, (n_days, n)) + 0.2 * np.sin(predictions)
        return predictions, errors

    known, known_errors = draw(n_labelled)
    predictions, errors = draw(n_rows)
    edges = np.quantile(known, np.arange(1, FINE_BINS) / FINE_BINS, axis=1).T

    squares = np.square(known_errors)
    weights = [known_errors, np.abs(known_errors), squares, np.square(squares)]
    labelled, *sums = _by_bin(known, edges, weights)
    (rows,) = _by_bin(predictions, edges, [])
    means = [one / labelled for one in sums]

    return ErrorDays(errors, ErrorBins(rows, labelled, *means))


def _by_bin(values: Floats, edges: Floats, weights: list[Floats]) -> list[Floats]:
    """Rows of each day's bins, and sums of each of the weights."""
    n_days, n_bins = len(edges), edges.shape[1] + 1
    places = [np.searchsorted(own, row) for own, row in zip(edges, values, strict=True)]
    flat = (np.stack(places) + n_bins * np.arange(n_days)[:, np.newaxis]).ravel()

    columns = [None, *(one.ravel() for one in weights)]
    counted = [np.bincount(flat, column, minlength=n_days * n_bins) for column in columns]
    return [one.reshape(n_days, n_bins).astype(np.float64) for one in counted]
