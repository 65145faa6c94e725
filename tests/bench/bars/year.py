"""Bar 4: a year of small partitions, beside Polars and beside decode, predict and write alone.

Each partition is published by itself, with Delta and with parquet, with and without a baseline of
the model version. What a partition costs beyond is the backfill's wall time without that of the
bare script, whose threads take all cores; both include their start.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq

from tests.bench.bars.bare_way import bare_way
from tests.bench.bars.bench import Bench, Way, run_in_turns
from tests.bench.bars.figures import Figure, at_most
from tests.bench.engine import ours
from tests.bench.engine.workloads import W4, Workload, training_rows
from tests.bench.machine import n_cores

BAR = 4
MOST_BEYOND_MS = 20.0
WITH_BASELINE = "W4-baseline"
"""Name under which the same model is registered once more, with a baseline."""


def measure(bench: Bench) -> Iterator[Figure]:
    """Two figures for each output format, with and without a baseline."""
    sizes = bench.sizes
    year = W4.sized(sizes.day_rows, sizes.days)
    ours.register_models(bench.stage, {WITH_BASELINE: bench.model(W4)})

    ways: dict[str, Way] = {}
    jobs: list[Path] = []
    for output_format in ("delta", "parquet"):
        for name, model in (("", W4.name), (", baseline", WITH_BASELINE)):
            title = f"{output_format}{name}"
            job = bench.write_job(
                f"year-{title.replace(', ', '-')}",
                year,
                model=f"models:/{model}/1",
                format=output_format,
            )
            jobs.append(job)
            ways[title] = bench.backfill_way(job, year)

    bench.warm_up(jobs[0], year)
    run_in_turns({"baseline": _baseline_way(bench, jobs[1], year)}, 1)
    polars = bench.peer_way("polars", year)
    bare = bare_way(bench, jobs[0], year, n_days=sizes.days, threads=n_cores())
    run_in_turns({**ways, "polars": polars, "bare script": bare}, sizes.long_repeats)
    beside = {"nightscore": ways["delta"], "polars": polars, "bare script": bare}
    bench.compare("linear model", year, beside)

    for title, way in ways.items():
        basis = f"{way.wall_s:.1f} s, {polars.wall_s:.1f} s"
        what = f"{year.n_partitions} partitions, {title}, share of Polars' wall time"
        yield at_most(BAR, what, way.wall_s / polars.wall_s, 1.0, basis=basis)
        beyond_ms = 1_000 * (way.wall_s - bare.wall_s) / year.n_partitions
        what = f"{title}, a partition beyond decode, predict and write"
        basis = f"bare script {bare.wall_s:.1f} s"
        yield at_most(BAR, what, beyond_ms, MOST_BEYOND_MS, unit=" ms", basis=basis)


def _baseline_way(bench: Bench, job: Path, year: Workload) -> Way:
    path = bench.root / "training.parquet"
    pq.write_table(training_rows(year), path)
    program = [sys.executable, "-m", "nightscore.cli"]
    words = ["baseline", str(job), "--from", str(path), "--cache-dir", str(bench.stage.cache)]
    return Way([*program, *words], bench.environment())
