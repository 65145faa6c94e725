"""What metrics of labelled rows cost, beside scikit-learn's, which have no intervals: CPU seconds on one core.

Both get the same arrays; scikit-learn computes ROC AUC, average precision, log loss, Brier score, accuracy, precision,
recall and F1, ours those and all others of a binary model.
"""

import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np

from nightscore.monitoring.performance.metrics.binary import binary_by_segment, binary_performance
from nightscore.monitoring.performance.metrics.regression import regression_metrics
from nightscore.monitoring.performance.metrics.segments import Segments
from tests.bench.machine import cpu_name

N_ROWS = 10_000_000
N_SEGMENTS = 50
THRESHOLD = 0.5
VERSIONS = ("numpy", "scikit-learn")


def measure(repeats: int) -> dict[str, Any]:
    """CPU seconds of each way, medians; the ways are called in turn."""
    rng = np.random.default_rng(0)
    score = rng.random(N_ROWS)
    label = rng.random(N_ROWS) < score
    weights = rng.uniform(0.5, 1.5, N_ROWS)
    number = score + rng.normal(size=N_ROWS)
    codes = rng.integers(0, N_SEGMENTS, N_ROWS)
    segments = Segments(codes, [str(code) for code in range(N_SEGMENTS)], "roc_auc")

    ways: dict[str, Callable[[], object]] = {
        "scikit-learn, binary": lambda: _by_sklearn(score, label),
        "binary": lambda: binary_performance(score, label, threshold=THRESHOLD),
        "binary, weighted": lambda: binary_performance(
            score, label, threshold=THRESHOLD, weights=weights
        ),
        f"binary, {N_SEGMENTS} segments": lambda: binary_by_segment(
            score, label, segments, threshold=THRESHOLD
        ),
        "regression": lambda: regression_metrics(number, score),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            started = time.process_time()
            way()
            seconds[name].append(time.process_time() - started)

    return {
        "rows": N_ROWS,
        "repeats": repeats,
        "processor": cpu_name(),
        "versions": {name: version(name) for name in VERSIONS},
        "cpu_s": {name: statistics.median(of_way) for name, of_way in seconds.items()},
    }


def show(result: dict[str, Any]) -> None:
    """Print the table."""
    versions = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    print(f"\nMetrics of {result['rows']:,} labelled rows, one core of {result['processor']},")
    print(f"CPU s, medians of {result['repeats']}; {versions}")
    for name, cpu_s in result["cpu_s"].items():
        print(f"{name:<24} {cpu_s:8.2f}")


def _by_sklearn(score: Any, label: Any) -> None:
    from sklearn import metrics

    predicted = score > THRESHOLD
    metrics.roc_auc_score(label, score)
    metrics.average_precision_score(label, score)
    metrics.log_loss(label, score)
    metrics.brier_score_loss(label, score)
    metrics.accuracy_score(label, predicted)
    metrics.precision_recall_fscore_support(label, predicted, average="binary")
