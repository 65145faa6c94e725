"""Where the decision between two models stands without labels, by what is expected of both."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nightscore.monitoring.decisions.confidence_sequence import LEAST_NIGHTS, interval
from nightscore.schemas.comparison import ComparisonRecord, LossComparison, Verdict
from nightscore.schemas.performance import MetricRecord

LOSSES = ("log_loss", "rmse", "mae")
"""Metrics that are compared: the first that both have on each night. Less is better."""


@dataclass(frozen=True, slots=True)
class EstimatedNight:
    """What is expected of both models on one day's rows."""

    day: str
    champion: Sequence[MetricRecord]
    challenger: Sequence[MetricRecord]

    def pair(self, name: str) -> tuple[MetricRecord, MetricRecord] | None:
        """One metric of both. None: one of them has no value or no band."""
        both = [
            next((one for one in metrics if one.name == name and one.low is not None), None)
            for metrics in (self.champion, self.challenger)
        ]
        first, second = both
        return None if first is None or second is None else (first, second)


def compare_estimates(
    champion: str, challenger: str, nights: Sequence[EstimatedNight]
) -> ComparisonRecord | None:
    """`no_harm_seen` or `worse`; never `better`: an estimate takes a model at its word.

    Each estimate rests on the baseline of its model, and errs alike on all nights. More nights do
    not make that error smaller. So the challenger is worse only if the difference also exceeds what
    the bands of single nights allow.

    Args:
        champion: Its version.
        challenger: Its version.
        nights: In their order.

    Returns:
        None: no metric is estimated of both on any night.
    """
    for name in LOSSES:
        pairs = [(night.day, night.pair(name)) for night in nights]
        known = [(day, pair) for day, pair in pairs if pair is not None]

        if known:
            return _compare(champion, challenger, name, known)

    return None


def _compare(
    champion: str,
    challenger: str,
    name: str,
    nights: Sequence[tuple[str, tuple[MetricRecord, MetricRecord]]],
) -> ComparisonRecord:
    values = np.array([[one.value for one in pair] for _, pair in nights], np.float64)
    widths = np.array([[_half_band(one) for one in pair] for _, pair in nights], np.float64)
    days = values[:, 1] - values[:, 0]

    ends = interval(days)
    low, high = ends if ends is not None else (None, None)

    allowed = float(np.sqrt(np.square(widths.mean(axis=0)).sum()))

    is_surely_greater = len(days) >= LEAST_NIGHTS and low is not None and low > 0
    is_worse = is_surely_greater and float(days.mean()) > allowed
    verdict: Verdict = "worse" if is_worse else "no_harm_seen"

    return ComparisonRecord(
        champion=champion,
        challenger=challenger,
        verdict=verdict,
        by="estimates",
        nights=len(nights),
        first=nights[0][0],
        last=nights[-1][0],
        losses=(
            LossComparison(
                name=name,
                champion=float(values[:, 0].mean()),
                difference=float(days.mean()),
                low=low,
                high=high,
            ),
        ),
        notes=("estimates say nothing of a changed relation between features and label",),
    )


def _half_band(metric: MetricRecord) -> float:
    return ((metric.high or 0.0) - (metric.low or 0.0)) / 2
