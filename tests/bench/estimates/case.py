"""One simulated day of one scenario: rows with and without labels, as an estimator gets them."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

Floats = npt.NDArray[np.float64]
METRICS = ("roc_auc", "average_precision", "accuracy", "precision", "recall", "f1")
"""What all ways estimate. NannyML has neither log loss nor Brier score."""


@dataclass(frozen=True)
class Rows:
    """Scored rows. Arrays have the shape (n,)."""

    features: pd.DataFrame
    """What the model reads, one column a feature."""
    scores: Floats
    """Predicted probabilities of the positive class."""
    labels: Floats
    """0 or 1. Those of a day are hidden from all estimators."""

    def __len__(self) -> int:
        return len(self.scores)


@dataclass(frozen=True)
class Case:
    """A baseline with labels, and a day to estimate."""

    baseline: Rows
    day: Rows
    threshold: float
    """A row is predicted positive if its score is greater."""


class Estimated(NamedTuple):
    """A metric with its band; all NaN: there is no estimate."""

    value: float
    low: float
    high: float


UNKNOWN = Estimated(np.nan, np.nan, np.nan)


@dataclass(frozen=True)
class Estimates:
    """What one way says of a day."""

    metrics: dict[str, Estimated]
    """By the names of `METRICS`."""
    baseline_cpu_s: float
    """CPU seconds for what is done once a baseline."""
    day_cpu_s: float
    """CPU seconds for the day itself, from the scores in memory to the numbers."""
    counting_cpu_s: float = 0.0
    """Of these, for counting the scores: a run does that for drift anyway."""


def came_true(rows: Rows, threshold: float) -> dict[str, float]:
    """The metrics that the labels show, by scikit-learn. NaN: undefined."""
    from sklearn import metrics

    labels, scores = rows.labels, rows.scores
    predicted = scores > threshold
    shown: dict[str, Any] = {"accuracy": metrics.accuracy_score(labels, predicted)}

    if 0 < labels.sum() < len(labels):
        shown["roc_auc"] = metrics.roc_auc_score(labels, scores)
        shown["average_precision"] = metrics.average_precision_score(labels, scores)

    for name, score in (
        ("precision", metrics.precision_score),
        ("recall", metrics.recall_score),
        ("f1", metrics.f1_score),
    ):
        shown[name] = score(labels, predicted, zero_division=np.nan)

    return {name: float(shown.get(name, np.nan)) for name in METRICS}
