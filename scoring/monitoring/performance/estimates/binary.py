"""Estimated metrics of a binary model as records, with what a reader should know of each."""

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from nightscore.monitoring.performance.estimates.calibration import Calibration
from nightscore.monitoring.performance.estimates.expected import (
    Bins,
    Estimate,
    all_band_ends,
    expected_metrics,
    expected_metrics_and_outcomes,
    greatest_share,
)
from nightscore.monitoring.performance.estimates.placement import (
    LIKELY,
    OTHER_BINS,
    Placement,
    predicted_positive,
)
from nightscore.monitoring.performance.estimates.within_bins import PARTS
from nightscore.profiles.bins import Floats
from nightscore.schemas.decision import Decision
from nightscore.schemas.performance import MetricRecord

LEAST_ROWS = 100
"""Rows of a partition. From here on the bands of the simulation cover what they say."""
LEAST_ROWS_OF_DECISIONS = 1_000
"""For metrics of the rows that are predicted positive, or rank first: few rows make them."""
LEAST_LABELLED = 50
"""Positive rows of the baseline, and negative ones. With fewer, bands cover less than they say."""
OF_DECISIONS = ("precision", "recall", "f1", "average_precision")
OUTCOMES = ("tp", "fp", "fn", "tn")
OF_THRESHOLD = ("accuracy", "precision", "recall", "f1", "value", *OUTCOMES)
AT_ONCE = 64
"""Partitions that are computed together: their arrays fit into a processor's cache."""
MOST_BASELINES = 32
"""Baselines, and decisions, whose own part is kept in memory; about 10 KB each."""
_RECORDS = TypeAdapter(list[MetricRecord])
LARGE_SHARE = 0.1
"""Of the expected positive rows in one bin. The order within it decides the average precision."""


def estimate_metrics(
    placement: Placement, calibration: Calibration, decision: Decision
) -> list[MetricRecord]:
    """The expected metrics and outcomes of a partition, or of several together, with 95 % bands.

    They hold as far as a score means what it meant in the baseline (no concept drift).

    Args:
        placement: The partition's scores in the baseline's bins.
        calibration: Of the baseline.
        decision: Threshold and values.
    """
    (records,) = estimate_each([placement], calibration, decision)
    return records


def estimate_each(
    placements: Sequence[Placement], calibration: Calibration, decision: Decision
) -> list[list[MetricRecord]]:
    """The same of each of many partitions, which are computed together.

    Args:
        placements: Each partition's scores in the baseline's bins.
        calibration: Of the baseline.
        decision: Threshold and values.
    """
    records: dict[int, list[MetricRecord]] = {}
    for is_exact in (True, False):
        places = [place for place, one in enumerate(placements) if one.is_exact is is_exact]

        for start in range(0, len(places), AT_ONCE):
            chosen = places[start : start + AT_ONCE]
            together = [placements[place] for place in chosen]
            found = _estimate_alike(together, calibration, decision)
            records |= dict(zip(chosen, found, strict=True))

    return [records[place] for place in range(len(placements))]


def baseline_metrics(calibration: Calibration, decision: Decision) -> list[MetricRecord]:
    """The metrics that the baseline's labelled rows have, from its bins."""
    return [*_baseline_metrics(calibration, decision)]


@lru_cache(maxsize=MOST_BASELINES)
def _baseline_metrics(calibration: Calibration, decision: Decision) -> tuple[MetricRecord, ...]:
    rows = np.tile(calibration.labelled, (3, 1))
    placement = Placement(rows, rows * calibration.scores, True)
    bins = _bins([placement], calibration, decision.threshold)
    notes = _approximations(True, _greatest_shares(bins)[0], calibration, decision.threshold)

    records = []
    for name, estimate in expected_metrics(bins, decision.values).items():
        value = float(estimate.value[0, LIKELY, LIKELY])
        records.append(_record(name, (value, None, None), placement.n_rows, notes))

    return tuple(_RECORDS.validate_python(records))


def _estimate_alike(
    placements: Sequence[Placement], calibration: Calibration, decision: Decision
) -> Iterator[list[MetricRecord]]:
    """The metrics of each partition. Either all placements are exact, or none is."""
    bins = _bins(placements, calibration, decision.threshold)
    estimates = expected_metrics_and_outcomes(bins, decision.values)

    counts = [placement.n_rows for placement in placements]
    numbers = _likely_with_bands(estimates, counts)
    shares = _greatest_shares(bins)

    is_exact = placements[0].is_exact
    too_few_labels = _why_too_few_labels(calibration)
    for n_rows, share, of_partition in zip(counts, shares, numbers, strict=True):
        notes = _approximations(is_exact, share, calibration, decision.threshold)

        records = []
        for name, number in zip(estimates, of_partition, strict=True):
            why = _why_too_few_rows(name, n_rows) or too_few_labels

            known = _record(name, tuple(number), n_rows, notes)
            records.append({"name": name, "n": n_rows, "note": why} if why else known)

        yield _RECORDS.validate_python(records)


def _bins(placements: Sequence[Placement], calibration: Calibration, threshold: float) -> Bins:
    """Each partition's cases of the counts with all cases of the threshold.

    Shape (partitions, cases, cases, bins). Either all placements are exact, or none is.
    """
    # All cases of what is exact are the same.
    n_cases = 1 if placements[0].is_exact else 3
    rows = np.stack([placement.rows[:n_cases] for placement in placements])[:, :, np.newaxis]
    sums = np.stack([placement.sums[:n_cases] for placement in placements])[:, :, np.newaxis]
    above = _predicted_positive(calibration, threshold)

    scores = np.where(rows > 0, sums / np.maximum(rows, 1e-300), calibration.scores)
    parts = calibration.known_bins.shares_of_parts(scores)
    shape = np.broadcast_shapes(rows.shape, above.shape)

    return Bins(
        rows=np.broadcast_to(rows, shape),
        scores=np.broadcast_to(scores, shape),
        shares=np.broadcast_to(parts.mean(-1), shape),
        variances=calibration.variances,
        labelled=calibration.labelled,
        predicted_positive=np.broadcast_to(above, shape),
        parts=np.broadcast_to(parts, (*shape, PARTS)),
    )


@lru_cache(maxsize=MOST_BASELINES)
def _predicted_positive(calibration: Calibration, threshold: float) -> Floats:
    """As of `predicted_positive`, once if all cases are the same."""
    above = predicted_positive(calibration, threshold)
    return above[:1] if (above == above[LIKELY]).all() else above


def _record(
    name: str,
    numbers: tuple[float | None, ...],
    n_rows: int,
    notes: Mapping[str, str],
) -> dict[str, Any]:
    """What the record of a metric has.

    Args:
        name: Of the metric.
        numbers: Value and both ends of the band.
        n_rows: Of the partition.
        notes: Why a metric is approximate, by its name.
    """
    value, low, high = numbers
    if value is None or not math.isfinite(value):
        return {"name": name, "n": n_rows, "note": _why_undefined(name)}

    note = notes.get(name, "")
    return {"name": name, "value": value, "low": low, "high": high, "n": n_rows, "note": note}


def _likely_with_bands(
    estimates: Mapping[str, Estimate], counts: Sequence[int]
) -> list[list[list[float]]]:
    """The likely case's value of each metric of each partition, with both ends of its band.

    The band covers those of all cases. Axes: partitions, metrics, numbers.
    """
    values, lows, highs = all_band_ends(estimates)

    # Cases that are undefined, which are NaN, have no part in it.
    lows = np.fmin.reduce(lows, axis=(2, 3))
    highs = np.fmax.reduce(highs, axis=(2, 3))

    ranges = np.array([[_range_of(name, n_rows) for n_rows in counts] for name in estimates])
    lows = np.maximum(lows, ranges[..., 0])
    highs = np.minimum(highs, ranges[..., 1])

    likely = values[:, :, LIKELY, LIKELY]
    numbers: list[list[list[float]]] = np.stack([likely, lows, highs], -1).swapaxes(0, 1).tolist()
    return numbers


def within_range(name: str, low: float, high: float, n_rows: int) -> tuple[float, float]:
    """The ends of a band, where the metric can be."""
    least, greatest = _range_of(name, n_rows)
    return max(least, low), min(greatest, high)


def _range_of(name: str, n_rows: int) -> tuple[float, float]:
    """The least and the greatest value that a metric can have."""
    if name == "value":
        return -math.inf, math.inf
    if name == "log_loss":
        return 0.0, math.inf
    return 0.0, float(n_rows) if name in OUTCOMES else 1.0


def _why_too_few_rows(name: str, n_rows: int) -> str:
    least = LEAST_ROWS_OF_DECISIONS if name in OF_DECISIONS else LEAST_ROWS
    if n_rows < least:
        return f"too few: {n_rows:,} rows, at least {least:,} are needed"
    return ""


def _why_too_few_labels(calibration: Calibration) -> str:
    counts = {"positive": calibration.n_positive, "negative": calibration.n_negative}
    for words, count in counts.items():
        if count < LEAST_LABELLED:
            return (
                f"too few: the baseline has {round(count):,} {words} rows, "
                f"at least {LEAST_LABELLED} are needed"
            )
    return ""


def _why_undefined(name: str) -> str:
    if name == "precision":
        return "no row is predicted positive"
    return "one class only"


def _greatest_shares(bins: Bins) -> list[float]:
    """Of the likely case of each partition."""
    with np.errstate(invalid="ignore"):
        shares: list[float] = greatest_share(bins)[:, LIKELY, LIKELY].tolist()
    return shares


def _approximations(
    is_exact: bool, share: float, calibration: Calibration, threshold: float
) -> dict[str, str]:
    """Why a metric is approximate, by its name.

    Args:
        is_exact: The scores were counted over the baseline's bins.
        share: The greatest share of the positive rows that one bin holds.
        calibration: Of the baseline.
        threshold: The decision's.
    """
    reasons: dict[str, list[str]] = {}

    if not is_exact:
        for name in ("roc_auc", "average_precision", "log_loss", "brier", *OF_THRESHOLD):
            reasons.setdefault(name, []).append(OTHER_BINS)

    if len(_predicted_positive(calibration, threshold)) > 1:
        for name in OF_THRESHOLD:
            words = f"the threshold {threshold:g} is no edge of the baseline's bins"
            reasons.setdefault(name, []).append(words)

    if share > LARGE_SHARE:
        words = f"one bin of the score holds {share:.0%} of the positive rows"
        reasons.setdefault("average_precision", []).append(words)

    return {name: f"approximate: {'; '.join(words)}" for name, words in reasons.items()}
