"""What is possible: each stage alone on one core, measured in the same run."""

import statistics
from typing import Any

from tests.bench.bars.bench import Bench
from tests.bench.engine import measure
from tests.bench.engine.workloads import Workload


def measure_bound(bench: Bench, workload: Workload, **environment: str) -> dict[str, Any]:
    """See `tests.bench.engine.bound`."""
    model, features = bench.model(workload), bench.features(workload)
    return measure.measure_bound(workload, bench.root, model, features, **environment)


def median_bound(bounds: list[dict[str, Any]]) -> tuple[float, float]:
    """Rows a second of all stages, perfectly overlapped, and the predictor's gain by all cores."""
    rows_per_s = statistics.median(bound["rows_per_s"] for bound in bounds)
    return rows_per_s, statistics.median(bound["kernel_scaling"] for bound in bounds)
