"""Bar 9: what a run's own bookkeeping costs of its CPU, at a million rows in one partition.

Profile and comparison are what `drift.profile` adds. Records are at most what the driver does in a
run without it, planning and publishing included. One warm worker.
"""

from collections.abc import Iterator

from tests.bench import drift_cost
from tests.bench.bars.bench import Bench
from tests.bench.bars.figures import Figure, at_most

BAR = 9
ASKED = {drift_cost.TREES: 0.1, drift_cost.LINEAR: 0.25}


def measure(bench: Bench) -> Iterator[Figure]:
    """A figure for each model."""
    folder = bench.root / "bookkeeping"
    folder.mkdir()
    costs = drift_cost.measure_shares(
        folder, bench.sizes.repeats, n_rows=bench.sizes.rows, has_demo=False
    )
    for name, asked in ASKED.items():
        cost = costs[name]
        spent = cost["profile_cpu_s"] + cost["driver_cpu_s"]
        basis = (
            f"{cost['on_cpu_s']:.2f} CPU s, of them profile and comparison "
            f"{cost['profile_cpu_s']:.2f}, the driver {cost['driver_cpu_s']:.2f}"
        )
        what = f"{name}, share of the run's CPU"
        yield at_most(BAR, what, spent / cost["on_cpu_s"], asked, basis=basis)
