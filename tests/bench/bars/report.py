"""Measures the bars that are asked for, prints each as soon as it is known, and keeps it."""

import os
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.bench.bars import (
    beside_peers,
    bookkeeping,
    history,
    kernels,
    large,
    shapes,
    start,
    year,
)
from tests.bench.bars.bench import Bench
from tests.bench.bars.figures import Figure, as_text
from tests.bench.bars.results import BarResult, read_results, write_results
from tests.bench.bars.sizes import Sizes
from tests.bench.engine.measure import DISTRIBUTIONS, remove_left
from tests.bench.machine import describe_machine, versions

BARS: Mapping[int, Callable[[Bench], Iterator[Figure]]] = {
    1: beside_peers.measure,
    2: kernels.measure,
    3: large.measure,
    4: year.measure,
    5: start.measure_small,
    6: start.measure_cold,
    7: shapes.measure,
    8: history.measure,
    9: bookkeeping.measure,
}


def measure(sizes: Sizes, folder: Path, only: Collection[int] = ()) -> bool:
    """Measure bars, one after another.

    Each is kept once it is whole: an interrupt, or a bar that cannot be measured, takes nothing
    from the others.

    Args:
        sizes: How much.
        folder: `.bench`: data, models and the results are kept there.
        only: Numbers of bars, whose results are added to those of earlier calls; empty: all,
            and earlier results are removed.

    Returns:
        Whether all that was asked for was measured.
    """
    path = folder / sizes.file
    if not only:
        path.unlink(missing_ok=True)
    remove_left(folder)
    print(describe(describe_machine()), flush=True)

    to_do = [number for number in BARS if number in only or not only]
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix=f"run-{os.getpid()}-", dir=folder) as root:
        bench = Bench(sizes, folder, Path(root).absolute())
        try:
            measured = [_measure_bar(bench, number, path) for number in to_do]
        except KeyboardInterrupt:
            print("\nInterrupted. The bars that were measured are kept.")
            measured = [False]

    minutes = (time.perf_counter() - started) / 60
    print("\n" + "\n".join(summary(read_results(path))))
    print(f"measured in {minutes:.0f} minutes, kept in {path}", flush=True)
    return all(measured)


def summary(results: Mapping[int, BarResult]) -> Iterator[str]:
    """The machine, each bar with its figures, and what is still to be measured."""
    yield from dict.fromkeys(describe(result.machine) for result in results.values())
    for result in results.values():
        yield from as_text(result.figures)
    missing = [str(number) for number in BARS if number not in results]
    if missing:
        yield f"not measured: make bench BENCH=bars ONLY={','.join(missing)}"


def describe(machine: Mapping[str, Any]) -> str:
    """The processor, its vector extensions and the memory."""
    vectors = ", ".join(machine["vectors"]) or "no vector extensions"
    return (
        f"{machine['cores']} cores of {machine['cpu']} ({vectors}), "
        f"{machine['memory_bytes'] / 1e9:.0f} GB, load before {machine['load_before']:.1f}"
    )


def _measure_bar(bench: Bench, number: int, path: Path) -> bool:
    """Whether it could be measured; if so, its result is in the file."""
    machine, started = describe_machine(), time.perf_counter()
    others = {bar: result for bar, result in read_results(path).items() if bar != number}
    try:
        with bench.measuring(number):
            figures = list(BARS[number](bench))
    except Exception as error:
        print(f"bar {number}: NOT MEASURED: {error}", flush=True)
        write_results(path, others)
        return False

    result = BarResult(
        figures=figures,
        comparisons=bench.comparisons,
        machine=machine,
        versions=versions(DISTRIBUTIONS),
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
        minutes=round((time.perf_counter() - started) / 60, 2),
    )
    write_results(path, others | {number: result})
    print("\n".join(as_text(figures)), flush=True)
    print(f"  measured in {result.minutes:.1f} minutes", flush=True)
    return True
