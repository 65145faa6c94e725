"""What share of rows of similar scores are positive."""

import numpy as np

from nightscore.monitoring.performance.metrics.decisions import share_of_rows
from nightscore.monitoring.performance.metrics.ranked_scores import RankedScores
from nightscore.monitoring.performance.metrics.records import known
from nightscore.profiles.bins import Floats
from nightscore.schemas.performance import CalibrationBinRecord

N_BINS = 10


def calibration_curve(ranked: RankedScores, n_bins: int = N_BINS) -> list[CalibrationBinRecord]:
    """Bins of about as many rows each, by ascending score. Rows of one score are in one bin.

    The share of positive rows has Wilson's 95 % interval. There are fewer bins if there are few
    distinct scores, and none without rows.

    Source: as scikit-learn's `calibration_curve` with `strategy="quantile"`, but that no score is
    interpolated to cut a bin.

    Args:
        ranked: The rows.
        n_bins: At most.
    """
    if not ranked.n_rows:
        return []

    lasts = np.arange(1, n_bins + 1) * ranked.n_rows // n_bins - 1
    edges = np.unique(ranked.scores[lasts[lasts >= 0]])
    stops = np.searchsorted(ranked.scores, edges, "right").tolist()

    records, start = [], 0
    for stop in stops:
        records.append(_bin(ranked, slice(start, stop)))
        start = stop

    return records


def _bin(ranked: RankedScores, rows: slice) -> CalibrationBinRecord:
    scores, labels = ranked.scores[rows], ranked.labels[rows]
    weights = np.ones(len(scores)) if ranked.weights is None else ranked.weights[rows]
    squares = np.square(weights)

    share = share_of_rows(_by_label(weights, labels), _by_label(squares, labels))
    record = known("share", share.value, len(scores), share.interval)
    return CalibrationBinRecord(
        low=float(scores[0]),
        high=float(scores[-1]),
        n=len(scores),
        mean_score=float(scores @ weights) / float(weights.sum()),
        share=record,
    )


def _by_label(weights: Floats, labels: np.ndarray) -> tuple[float, float]:
    positives = float(weights @ labels)
    return positives, float(weights.sum()) - positives
