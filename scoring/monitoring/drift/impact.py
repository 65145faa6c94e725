"""What a column's difference does to the score, and which label rate the scores suggest."""

import functools
import math
from collections.abc import Mapping

from nightscore.profiles.profile import NumberProfile
from nightscore.profiles.scores import Scores
from nightscore.profiles.table import ColumnProfile

Counts = dict[str | None, int]
"""Rows by bin or category; None: missing or not finite."""


def impact(scores: Scores, current: ColumnProfile) -> float:
    """What the column's distribution now adds to the mean score.

    It is the sum over the column's bins of (q - p) times the bin's mean score. p and q are the
    bins' shares in the baseline and now; missing values are a bin of their own. The mean is that
    of the baseline's rows in the bin, and of all rows for a bin that the baseline does not have.
    """
    counts = _count_rows(current)
    overall = scores.mean
    if not scores.rows.total() or not sum(counts.values()):
        return 0.0
    return _shifted_mean(scores, counts, overall) - overall


def expected_rate(scores: Scores, score: ColumnProfile | None) -> float | None:
    """The mean label to expect from today's scores.

    It is the sum over the score's bins of q times the baseline's mean label. It holds as far as
    the scores mean what they meant in the baseline (no concept drift). None without scores.
    """
    if score is None or not isinstance(score.profile, NumberProfile):
        return None
    if not score.profile.n_finite or not scores.rows.total():
        return None
    return _shifted_mean(scores, _count_bins(score.profile), scores.mean)


def score_movement(current: ColumnProfile | None, baseline: ColumnProfile | None) -> float | None:
    """The mean score now minus the baseline's; None where either has no finite value."""
    now, before = _mean(current), _mean(baseline)
    if now is None or before is None:
        return None
    return now - before


def _count_rows(column: ColumnProfile) -> Counts:
    profile = column.profile
    if isinstance(profile, NumberProfile):
        counts = _count_bins(profile)
        counts[None] = profile.n_rows - profile.n_finite
        return counts

    counts = dict(profile.counts.items())
    counts[None] = profile.n_null
    return counts


def _count_bins(profile: NumberProfile) -> Counts:
    counts = profile.counts.tolist()
    return dict(zip(_bin_names(len(counts)), counts, strict=True))


@functools.lru_cache(maxsize=64)
def _bin_names(n_bins: int) -> tuple[str, ...]:
    return tuple(map(str, range(n_bins)))


def _shifted_mean(scores: Scores, counts: Mapping[str | None, int], overall: float) -> float:
    """The mean of `scores`, if its bins were filled like `counts`.

    Bins without rows in `scores` count with the mean of all, `overall`.
    """
    n_now = sum(counts.values())
    shift = 0.0
    for key, count in counts.items():
        rows = scores.rows.get(key, 0)
        mean = scores.sums[key] / rows if rows else overall
        shift += count / n_now * (mean - overall)

    return overall + shift


def _mean(column: ColumnProfile | None) -> float | None:
    profile = column.profile if column else None
    if not isinstance(profile, NumberProfile) or not profile.n_finite:
        return None
    if math.isfinite(profile.total):
        return profile.total / profile.n_finite
    return None
