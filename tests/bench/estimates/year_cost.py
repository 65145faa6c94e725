"""What it costs to estimate many days in one call, each way from what it stores.

A user asks for a year, not for a day. This project reads a profile a day, of the score and of as
many features as a model may have; NannyML reads the rows, of which it is given nothing but score
and prediction.
"""

import statistics
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd

from nightscore.arrow.parsing.decode import table_of
from nightscore.monitoring.performance.estimates.calibration import Calibration
from nightscore.monitoring.performance.estimates.estimation import (
    baseline_values,
    calibrate,
    estimate_each_placed,
    place_any,
)
from nightscore.profiles.profile_spec import BINARY_SCORE, ProfiledColumn
from nightscore.profiles.table import ColumnProfile, from_profile_table, to_bytes
from nightscore.schemas.decision import Decision
from tests.bench.estimates import ours
from tests.bench.estimates.case import Case, Rows
from tests.bench.estimates.nannyml_peer import NannyML

DAYS_OF_YEAR = 365
MOST_ROWS = 4_000_000
"""Of all days together: with larger days there are fewer of them."""
FEWEST_DAYS = 4
N_FEATURES = 20
"""Columns in a stored profile beside the score."""
REPEATS = 3


class YearCost(NamedTuple):
    """CPU seconds."""

    baseline_cpu_s: float
    """Once."""
    reading_cpu_s: float
    """A day: decoding what is stored, from memory."""
    estimate_cpu_s: float
    """A day: from what was decoded to the numbers."""


def n_days_of(n_rows: int, most_days: int) -> int:
    """How many days of so many rows are estimated."""
    return max(FEWEST_DAYS, min(most_days, MOST_ROWS // n_rows))


def our_year(case: Case, days: Sequence[Rows]) -> YearCost:
    """From profiles that runs would store."""
    decision = Decision(threshold=case.threshold)
    baseline = ours.baseline_profile(case)
    stored = _stored_profiles(baseline, days)

    told = []
    for _ in range(REPEATS):
        started = time.process_time()
        calibration = calibrate([baseline])
        baseline_values(calibration, decision)
        calibrated = time.process_time()

        # Jobs decode in a process of its own, whose time would not be counted here.
        profiles = [from_profile_table(table_of(one)) for one in stored]
        read = time.process_time()

        placements = [place_any(columns, calibration) for columns in profiles]
        estimate_each_placed(placements, calibration, decision)
        ended = time.process_time()

        told.append((calibrated - started, read - calibrated, ended - read))
    return _per_day(told, len(days))


def peers_year(case: Case, days: Sequence[Rows], peer: NannyML) -> YearCost:
    """From rows, with a chunk a day."""
    rows = Rows(
        pd.DataFrame(),
        np.concatenate([day.scores for day in days]),
        np.concatenate([day.labels for day in days]),
    )
    year = Case(case.baseline, rows, case.threshold)
    told = [peer.cost(year, len(days[0])) for _ in range(REPEATS)]
    return _per_day(told, len(days))


def _per_day(told: Sequence[tuple[float, float, float]], n_days: int) -> YearCost:
    baseline_s, reading_s, estimate_s = map(statistics.median, zip(*told, strict=True))
    return YearCost(baseline_s, reading_s / n_days, estimate_s / n_days)


def _stored_profiles(baseline: ColumnProfile, days: Sequence[Rows]) -> list[bytes]:
    """The profile of each day as a run stores it."""
    calibration = Calibration.of(baseline)
    score = ProfiledColumn("prediction", BINARY_SCORE, calibration.edges, type="double")
    names = [f"x{number}" for number in range(N_FEATURES)]

    stored = []
    for day in days:
        profile = ours.profile_of(day, score)
        features = [replace(profile, role="feature", name=name) for name in names]
        stored.append(to_bytes([*features, profile]))
    return stored
