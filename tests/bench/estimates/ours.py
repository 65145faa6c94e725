"""Estimates days as a run does: from the profiles of the score, by the functions that runs call."""

import time

import numpy as np
import pyarrow as pa

from nightscore.arrow.row_hashes import row_hashes
from nightscore.monitoring.performance.estimates.calibration import Calibration
from nightscore.monitoring.performance.estimates.estimation import (
    baseline_values,
    estimate_placed,
)
from nightscore.monitoring.performance.estimates.placement import place
from nightscore.monitoring.performance.estimates.reweighted import (
    BASELINE_FACTOR,
    Sample,
    estimate_reweighted,
)
from nightscore.outputs.samples import least_places
from nightscore.profiles.profile import NumberProfile
from nightscore.profiles.profile_spec import BINARY_SCORE, ProfiledColumn, ProfileSpec, cut_column
from nightscore.profiles.profiler import Profiler
from nightscore.profiles.table import ColumnProfile, from_bytes, to_bytes
from nightscore.schemas.decision import Decision
from nightscore.schemas.performance import MetricRecord
from tests.bench.estimates.case import METRICS, UNKNOWN, Case, Estimated, Estimates, Rows

LABEL = "label"
SAMPLE_ROWS = 2_000
"""Of each day. The default of the documentation."""


def estimate(case: Case) -> Estimates:
    """What a run's record says of the day.

    The calibration and the baseline's own metrics are made once for all days of a model version.
    """
    decision = Decision(threshold=case.threshold)

    started = time.process_time()
    baseline = baseline_profile(case)
    calibration = Calibration.of(baseline)
    baseline_values(calibration, decision)
    calibrated = time.process_time()

    column = ProfiledColumn("prediction", BINARY_SCORE, calibration.edges, type="double")
    day = number_profile(profile_of(case.day, column))
    counted = time.process_time()

    records = estimate_placed(place(day, calibration), calibration, decision)
    ended = time.process_time()

    by_name = {record.name: record for record in records}
    return Estimates(
        {name: _as_estimated(by_name[name]) for name in METRICS},
        baseline_cpu_s=calibrated - started,
        day_cpu_s=ended - calibrated,
        counting_cpu_s=counted - calibrated,
    )


def estimate_adjusted(case: Case) -> Estimates:
    """What `nightscore performance` says of the day, adjusted for covariate shift.

    The samples are those of a job with `estimate: {sample_rows: 2000}`.
    """
    decision = Decision(threshold=case.threshold)

    started = time.process_time()
    calibration = Calibration.of(baseline_profile(case))
    baseline = _sample(case.baseline, BASELINE_FACTOR * SAMPLE_ROWS, labelled=True)
    calibrated = time.process_time()

    column = ProfiledColumn("prediction", BINARY_SCORE, calibration.edges, type="double")
    placement = place(number_profile(profile_of(case.day, column)), calibration)
    day = _sample(case.day, SAMPLE_ROWS, labelled=False)
    counted = time.process_time()

    found = estimate_reweighted(baseline, day, placement, calibration, decision)
    ended = time.process_time()

    by_name = {record.name: record for record in found.metrics}
    return Estimates(
        {name: _as_estimated(by_name[name]) for name in METRICS},
        baseline_cpu_s=calibrated - started,
        day_cpu_s=ended - calibrated,
        counting_cpu_s=counted - calibrated,
    )


def _sample(rows: Rows, n_rows: int, *, labelled: bool) -> Sample:
    """The rows with the least hashes of their number, which stands for their key."""
    hashes = row_hashes([pa.array(np.arange(len(rows)))])
    places = np.sort(least_places(hashes, n_rows, None))
    features = pa.Table.from_pandas(rows.features.iloc[places], preserve_index=False)
    labels = rows.labels[places].astype(np.float64) if labelled else None
    return Sample(features=features, scores=rows.scores[places], labels=labels)


def number_profile(column: ColumnProfile) -> NumberProfile:
    """The counts of a score."""
    assert isinstance(column.profile, NumberProfile)
    return column.profile


def baseline_profile(case: Case) -> ColumnProfile:
    """The profile of the score that `nightscore baseline --label` stores, stored and read again."""
    scores = pa.chunked_array([case.baseline.scores])
    cut = cut_column("prediction", BINARY_SCORE, [scores])
    assert cut.edges is not None
    column = ProfiledColumn(
        cut.role, cut.name, cut.edges.with_edge(case.threshold), cut.bounds, "double"
    )
    stored = to_bytes([profile_of(case.baseline, column, LABEL)])
    (profile,) = from_bytes(stored)
    return profile


def profile_of(rows: Rows, column: ProfiledColumn, label: str = "") -> ColumnProfile:
    """The profile of the score of some rows, as a run makes it."""
    profiler = Profiler(ProfileSpec((column,), score=column.name, label=label))
    scores = pa.table({column.name: rows.scores})
    labels = pa.table({label: rows.labels} if label else {})
    profiler.add(scores.select([]), labels, np.ones(len(rows), np.bool_), scores)
    (profile,) = profiler.columns
    return profile


def _as_estimated(record: MetricRecord) -> Estimated:
    if record.value is None or record.low is None or record.high is None:
        return UNKNOWN
    return Estimated(record.value, record.low, record.high)
