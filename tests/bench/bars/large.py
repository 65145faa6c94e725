"""Bar 3: ten million rows of boosted trees, start-up excluded, against what the stages allow.

Start-up is excluded by the difference between ten million rows and one.
"""

from collections.abc import Iterator

from tests.bench.bars.bench import Bench, Way, run_in_turns
from tests.bench.bars.bound import measure_bound, median_bound
from tests.bench.bars.figures import Figure, at_least, at_most
from tests.bench.engine.workloads import W1
from tests.bench.machine import n_cores

BAR = 3
LEAST_SHARE = 0.85
LEAST_GAIN = 0.9
MOST_GROWTH = 1.05


def measure(bench: Bench) -> Iterator[Figure]:
    """The share of the bound, the second worker's gain, and the growth of memory."""
    sizes = bench.sizes
    few, many = W1.sized(sizes.rows), W1.sized(sizes.many_rows)
    ways: dict[str, Way] = {}
    for workload in (few, many):
        for n_workers in (None, 1):
            title = f"{workload.n_rows:,} rows, {n_workers or n_cores()} workers"
            workers = {"workers": {"count": n_workers}} if n_workers else {}
            name = f"large-{workload.n_rows}-{n_workers or 'all'}"
            ways[title] = bench.run_way(bench.write_job(name, workload, **workers), workload)
    for workload in (few, many):
        bench.warm_up(bench.write_job("large-first", workload), workload)

    bounds = []
    for _ in range(sizes.long_repeats):
        run_in_turns(ways, 1)
        bounds.append(measure_bound(bench, few))

    possible, kernel_gain = median_bound(bounds)
    few_all, few_one, many_all, many_one = ways.values()
    rate = _steady_rows_per_s(sizes.rows, few_all, sizes.many_rows, many_all)
    gain = rate / _steady_rows_per_s(sizes.rows, few_one, sizes.many_rows, many_one)

    basis = f"{rate:,.0f} of {possible:,.0f} rows/s"
    what = "share of decode + predict + profile + encode, perfectly overlapped"
    yield at_least(BAR, what, rate / possible, LEAST_SHARE, basis=basis)
    basis = f"{gain:.2f} of {kernel_gain:.2f} times"
    what = f"from 1 to {n_cores()} workers, share of the bare kernel's gain"
    yield at_least(BAR, what, gain / kernel_gain, LEAST_GAIN, basis=basis)
    basis = f"{many_all.peak_bytes / 1e6:.0f} and {few_all.peak_bytes / 1e6:.0f} MB"
    what = f"peak memory of {sizes.many_rows:,} rows as a multiple of {sizes.rows:,}"
    yield at_most(BAR, what, many_all.peak_bytes / few_all.peak_bytes, MOST_GROWTH, basis=basis)


def _steady_rows_per_s(few_rows: int, few: Way, many_rows: int, many: Way) -> float:
    """Without what is the same at both sizes: start and end. NaN where noise is greater."""
    seconds = many.wall_s - few.wall_s
    return (many_rows - few_rows) / seconds if seconds > 0 else float("nan")
