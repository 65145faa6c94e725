"""The ROC AUC of two models on the same rows. It describes; it does not decide."""

from collections.abc import Iterator, Sequence

import numpy as np

from nightscore.monitoring.performance.metrics.auc_difference import roc_auc_difference
from nightscore.monitoring.performance.metrics.ranked_scores import Labels, rank_scores
from nightscore.monitoring.performance.metrics.ranking import roc_auc
from nightscore.profiles.bins import Floats
from nightscore.schemas.performance import MetricRecord

MOST_ROWS = 1_000_000
"""Of more rows every second is taken, every third, and so on: the band is narrow all the same, and
ranking takes 120 bytes a row."""


def paired_areas(champion: Floats, challenger: Floats, label: Labels) -> Iterator[MetricRecord]:
    """ROC AUC of both, and the challenger's minus the champion's. Nothing, if a class is missing.

    Args:
        champion: Shape (n,), float64, finite: its scores.
        challenger: Shape (n,), float64, finite: its scores.
        label: Shape (n,), bool.
    """
    step = -(-len(label) // MOST_ROWS)
    if step > 1:
        champion, challenger, label = champion[::step], challenger[::step], label[::step]

    difference = roc_auc_difference(challenger, champion, label)
    if difference.value is None:
        return

    for name, score in (("champion", champion), ("challenger", challenger)):
        area = roc_auc(rank_scores(score, label))
        yield area.model_copy(update={"name": f"{name}_roc_auc"})

    yield difference


def mean_areas(of_nights: Sequence[Sequence[MetricRecord]]) -> Iterator[MetricRecord]:
    """The means of nights' areas, with the band of their mean. Nights without a band are left out.

    The band takes nights as independent, and knows nothing of day effects.

    Args:
        of_nights: As the records of nights have them.
    """
    names = dict.fromkeys(metric.name for areas in of_nights for metric in areas)

    for name in names:
        metrics = [metric for areas in of_nights for metric in areas if metric.name == name]
        with_band = [metric for metric in metrics if metric.low is not None]

        if with_band:
            yield _mean(name, with_band)


def _mean(name: str, metrics: Sequence[MetricRecord]) -> MetricRecord:
    ends = [(metric.value, metric.low, metric.high) for metric in metrics]
    value, low, high = np.array(ends, np.float64).T
    mean = float(value.mean())
    margin = float(np.sqrt(np.square(high - low).sum())) / 2 / len(metrics)

    return MetricRecord(
        name=name,
        value=mean,
        low=mean - margin,
        high=mean + margin,
        n=sum(metric.n for metric in metrics),
    )
