"""Bar 8: what a nightly job does, after a hundred published partitions and after ten thousand.

The nightly flow does what `run` does for one partition, and plans a backfill of the days before.
"""

import json
import shutil
import sys
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from pathlib import Path

from tests.bench.bars.bench import Bench, Way, run_in_turns
from tests.bench.bars.figures import Figure, at_most
from tests.bench.bars.long_history import extend_history, link_inputs
from tests.bench.engine import ours
from tests.bench.engine.process_tree import Ran
from tests.bench.engine.workloads import FIRST_DAY, PARTITION_KEY, W4

BAR = 8
MOST_GROWTH = 1.3
MOST_CPU_S = 2.0
N_ROWS = 200
LOOK_BACK_DAYS = 7


def measure(bench: Bench) -> Iterator[Figure]:
    """Growth of what a night does, and CPU seconds of what looks at the whole history."""
    sizes = bench.sizes
    for output_format in ("delta", "parquet"):
        few = _publish_days(bench, output_format, sizes.few_published)
        many = _publish_days(bench, output_format, sizes.many_published)
        nightly = [_nightly_ways(bench, job, days) for job, days in (few, many)]
        ways = _named(nightly[0], "few") | _named(nightly[1], "many")
        looks = _looking_ways(bench, *many)
        run_in_turns(ways | looks, bench.sizes.repeats)

        for name, way in nightly[1].items():
            before = nightly[0][name]
            basis = f"{way.wall_s:.2f} s, {before.wall_s:.2f} s"
            what = f"{output_format}, {name} at {sizes.many_published:,} published partitions, as a multiple of "
            what += f"{sizes.few_published:,}"
            yield at_most(BAR, what, way.wall_s / before.wall_s, MOST_GROWTH, basis=basis)
        for name, way in looks.items():
            what = f"{output_format}, {name} at {sizes.many_published:,}, CPU"
            yield at_most(BAR, what, way.cpu_s, MOST_CPU_S, unit=" s")


def _publish_days(bench: Bench, output_format: str, n_days: int) -> tuple[Path, list[str]]:
    """A job with so many published partitions and one more to come, and their days."""
    days = [str(FIRST_DAY + timedelta(days=i)) for i in range(n_days + 1)]
    name = f"history-{output_format}-{n_days}"
    features = bench.root / name
    small = W4.sized(N_ROWS)
    place = f"{PARTITION_KEY}={days[0]}"
    shutil.copytree(bench.features(small) / place, features / place)
    link_inputs(features, days)

    job = bench.write_job(name, small, features=features, format=output_format)
    run_in_turns({"first of the history": bench.run_way(job, small)}, 1)
    output = ours.output_folder(bench.stage, name)
    extend_history(job, bench.stage.cache, output, days[:-1])
    return job, days


def _nightly_ways(bench: Bench, job: Path, days: list[str]) -> dict[str, Way]:
    *_, last, new = days
    since = str(date.fromisoformat(last) - timedelta(days=LOOK_BACK_DAYS))
    look_back = ["--from", max(since, days[0]), "--to", last, "--dry-run"]
    words = {
        "plan": ["plan", str(job), new],
        "run": ["run", str(job), new, "--force"],
        "explain": ["explain", str(job), last],
        "the nightly flow's look back": ["backfill", str(job), *look_back],
    }
    return {name: _way(bench, command) for name, command in words.items()}


def _looking_ways(bench: Bench, job: Path, days: list[str]) -> dict[str, Way]:
    dates = ["--from", days[0], "--to", days[-1]]
    confirmed = ["--max-partitions", str(len(days))]
    words = {
        "runs": ["runs", str(job)],
        "partitions": ["partitions", str(job), *dates],
        "clean": ["clean", str(job), "--dry-run"],
        "backfill --dry-run": ["backfill", str(job), *dates, *confirmed, "--dry-run"],
    }
    ways = {name: _way(bench, command) for name, command in words.items()}
    ways["partitions"].check = lambda ran: _check_published(ran, days)
    return ways


def _check_published(ran: Ran, days: list[str]) -> None:
    """Check that all but the last day are published and unchanged."""
    states = {one["value"]: one["state"] for one in json.loads(ran.output)}
    others = {day: states.get(day) for day in days[:-1] if states.get(day) != "published"}
    if others:
        raise RuntimeError(f"{len(others)} days of the history are not published: {others}")


def _way(bench: Bench, words: list[str]) -> Way:
    # Not every command takes --cache-dir.
    command = [sys.executable, "-m", "nightscore.cli", *words, "--json"]
    return Way(command, bench.environment(NIGHTSCORE_CACHE=str(bench.stage.cache)))


def _named(ways: Mapping[str, Way], of: str) -> dict[str, Way]:
    return {f"{name}, {of} published": way for name, way in ways.items()}
