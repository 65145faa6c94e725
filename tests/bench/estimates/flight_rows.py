"""The flights of 2013, sampled anew so that what the label depends on is known to stay the same.

A seed divides the flights at random into a part for training, one for the baseline and one for the
day. The day's rows are then chosen by rejection, with a chance that depends on features alone:
P(late | features) is the baseline's by construction.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from nightscore.flows.demo.flights import LATE_MINUTES, NUMBERS, STRINGS, load_flights
from tests.bench.estimates.case import Case, Floats, Rows
from tests.bench.estimates.fitted_models import fit, scores_of

Months = tuple[int, int]
"""The first and the last one."""


@dataclass(frozen=True, kw_only=True)
class Flights:
    """Which flights a model is fitted on, and which ones it scores."""

    trained_on: Months = (1, 12)
    """Of other months than the baseline's, the model does not fit it: as one that is old."""
    months: Months = (1, 12)
    """Of the baseline."""
    day_months: Months | None = None
    """Of the day; None: the baseline's. In other months flights are late for other reasons."""
    chance: Callable[[Any], Floats] | None = None
    """Of each flight of the day to be kept, shape (n,), from the frame of its features."""
    day_share: float | None = None
    """Share of late flights of the day, chosen by label. None: as it comes."""


def sample_case(
    flights: Flights, model: str, sizes: tuple[int, int, int], threshold: float, seed: int
) -> Case:
    """One day with a model and a baseline of its own; arguments as of `make_case`."""
    rng = np.random.default_rng(seed)
    n_training, n_baseline, n_day = sizes
    frame, labels = _all_flights()

    part = rng.integers(0, 3, len(frame))
    month = frame["month"].to_numpy()

    def places(number: int, months: Months, n_rows: int) -> Any:
        """Rows of a part, in random order."""
        is_in = (part == number) & (month >= months[0]) & (month <= months[1])
        return rng.permutation(np.flatnonzero(is_in))[:n_rows]

    training = places(0, flights.trained_on, n_training)
    fitted = fit(model, frame.iloc[training], labels[training], seed)

    def score(places: Any) -> Rows:
        features = frame.iloc[places].reset_index(drop=True)
        return Rows(features, scores_of(fitted, features), labels[places])

    pool = places(2, flights.day_months or flights.months, len(frame))
    if flights.chance is not None:
        pool = pool[rng.random(len(pool)) < flights.chance(frame.iloc[pool])]
    if flights.day_share is not None:
        pool = _with_share(pool, labels, flights.day_share, n_day)
    if len(pool) < n_day:
        raise ValueError(f"the shift leaves {len(pool):,} flights, {n_day:,} are asked for")

    baseline = score(places(1, flights.months, n_baseline))
    return Case(baseline, score(pool[:n_day]), threshold)


def _with_share(pool: Any, labels: Floats, share: float, n_rows: int) -> Any:
    n_late = round(n_rows * share)
    is_late = labels[pool] > 0
    return np.append(pool[is_late][:n_late], pool[~is_late][: n_rows - n_late])


@functools.cache
def _all_flights() -> tuple[Any, Floats]:
    """Features and labels of all flights that arrived."""
    frame = load_flights()
    frame = frame[frame["arr_delay"].notna()].reset_index(drop=True)
    labels = (frame["arr_delay"] > LATE_MINUTES).to_numpy().astype(np.float64)
    return frame[[*STRINGS, *NUMBERS]], labels
