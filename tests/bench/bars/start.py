"""Bar 5: one small partition, and nothing to do. Bar 6: the first run of a host that was cold."""

import sys
from collections.abc import Iterator
from pathlib import Path

from tests.bench.bars.bare_way import bare_way
from tests.bench.bars.bench import Bench, Way, run_in_turns
from tests.bench.bars.figures import Figure, at_most
from tests.bench.engine import ours
from tests.bench.engine.workloads import W1, W4

SMALL_BAR, COLD_BAR = 5, 6
MOST_WALL, MOST_CPU = 1.6, 2.0
MOST_NOTHING = 2.0
MOST_UNCOMPILED = 2.0
MOST_COLD = 1.5
IMPORTS = "import pyarrow.parquet, numpy"


def measure_small(bench: Bench) -> Iterator[Figure]:
    """One small partition beside the bare script, an unchanged one beside the imports.

    Without bytecode: no process may read or write any, of whichever package.
    """
    day = W4.sized(bench.sizes.day_rows, bench.sizes.days)
    job, published = bench.write_job("small", day), bench.write_job("published", day)
    empty = bench.root / "no-bytecode"
    uncompiled = {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPYCACHEPREFIX": str(empty)}

    bench.warm_up(published, day)
    run_in_turns({"published before": bench.run_way(published, day)}, 1)
    small = bench.run_way(job, day)
    unchanged = Way(
        ours.run_command(bench.stage, published, day.days[0], force=False), bench.environment()
    )
    imports = Way([sys.executable, "-c", IMPORTS], bench.environment())
    without = bench.run_way(job, day, **uncompiled)
    without.most_runs = bench.sizes.repeats
    ways = {
        "one small partition": small,
        "bare script": bare_way(bench, published, day, n_days=1, threads=1),
        "nothing to do": unchanged,
        IMPORTS: imports,
        "one small partition, no bytecode": without,
    }
    run_in_turns(ways, bench.sizes.short_repeats)
    bare = ways["bare script"]
    bench.compare("one small partition", day, {"nightscore": small, "bare script": bare})
    bench.compare("nothing to do", day, {"nightscore": unchanged, IMPORTS: imports})

    rows = f"one partition of {day.n_rows:,} rows"
    yield _wall(SMALL_BAR, f"{rows}, as a multiple of a bare script", small, bare, MOST_WALL)
    yield _cpu(SMALL_BAR, f"{rows}, as a multiple of a bare script", small, bare, MOST_CPU)
    what = f"nothing to do, as a multiple of `{IMPORTS}`"
    yield _wall(SMALL_BAR, what, unchanged, imports, MOST_NOTHING)
    yield _cpu(SMALL_BAR, what, unchanged, imports, MOST_NOTHING)
    what = f"{rows}, without bytecode as a multiple of with it"
    yield _wall(SMALL_BAR, what, without, small, MOST_UNCOMPILED)


def measure_cold(bench: Bench) -> Iterator[Figure]:
    """A host whose cache is empty runs `nightscore warm`, then a job for the first and second time."""
    bench.use_cold_cache()
    workload = W1.sized(bench.sizes.rows)
    job = bench.write_job("cold", workload)
    warm = Way(ours.command(bench.stage, "warm", str(job)), bench.environment(), bench.clear_cache)
    cold = bench.run_way(job, workload)
    cold.before = lambda: _make_cold(bench, job)
    ways = {
        "cold, first run": cold,
        "nightscore warm": warm,
        "warmed, first run": bench.run_way(job, workload),
        "second run": bench.run_way(job, workload),
    }
    run_in_turns(ways, bench.sizes.long_repeats)

    second = ways["second run"]
    basis = f"without `nightscore warm` {cold.wall_s:.1f} s; it takes {warm.wall_s:.1f} s"
    what = f"first run of a warmed host, {workload.n_rows:,} rows, as a multiple of the second"
    first = ways["warmed, first run"]
    yield _wall(COLD_BAR, what, first, second, MOST_COLD, basis)


def _make_cold(bench: Bench, job: Path) -> None:
    bench.clear(job)
    bench.clear_cache()


def _wall(bar: int, what: str, way: Way, other: Way, asked: float, basis: str = "") -> Figure:
    spent = f"{way.wall_s:.2f} s, {other.wall_s:.2f} s"
    basis = f"{spent}; {basis}" if basis else spent
    return at_most(bar, f"wall time of {what}", way.wall_s / other.wall_s, asked, basis=basis)


def _cpu(bar: int, what: str, way: Way, other: Way, asked: float) -> Figure:
    basis = f"{way.cpu_s:.2f} s, {other.cpu_s:.2f} s"
    return at_most(bar, f"CPU time of {what}", way.cpu_s / other.cpu_s, asked, basis=basis)
