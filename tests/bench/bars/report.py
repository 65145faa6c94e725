"""Measures the bars that are asked for, prints them, and writes .bench/bars.json."""

import json
import os
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import asdict
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
from tests.bench.bars.sizes import Sizes
from tests.bench.engine.measure import DISTRIBUTIONS
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


def measure(sizes: Sizes, folder: Path, only: Collection[int] = ()) -> list[Figure]:
    """Measure bars, one after another, and print each as soon as it is known.

    Args:
        sizes: How much.
        folder: `.bench`: data, models and the result are kept there.
        only: Numbers of bars; empty: all.
    """
    machine = describe_machine()
    print(_describe(machine))
    figures: list[Figure] = []
    started = time.perf_counter()
    for number, measure_bar in BARS.items():
        if only and number not in only:
            continue
        # Each bar has a folder of its own: what one has written is gone before the next.
        with tempfile.TemporaryDirectory(prefix=f"run-{os.getpid()}-", dir=folder) as root:
            of_bar = list(measure_bar(Bench(sizes, folder, Path(root).absolute())))
        print("\n".join(as_text(of_bar)), flush=True)
        figures += of_bar

    minutes = (time.perf_counter() - started) / 60
    print(f"\n{_describe(machine)}\n" + "\n".join(as_text(figures)))
    print(f"measured in {minutes:.0f} minutes")
    result = {
        "size": sizes.name,
        "machine": machine,
        "versions": versions(DISTRIBUTIONS),
        "minutes": minutes,
        "figures": [asdict(figure) | {"is_met": figure.is_met} for figure in figures],
    }
    (folder / "bars.json").write_text(json.dumps(result, indent=1) + "\n")
    return figures


def _describe(machine: Mapping[str, Any]) -> str:
    vectors = ", ".join(machine["vectors"]) or "no vector extensions"
    return (
        f"{machine['cores']} cores of {machine['cpu']} ({vectors}), "
        f"{machine['memory_bytes'] / 1e9:.0f} GB, load before {machine['load_before']:.1f}"
    )
