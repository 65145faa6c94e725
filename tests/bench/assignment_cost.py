"""What assigning rows to a canary's arm costs: million rows a second on one core, beside what is asked."""

import statistics
import time
from importlib.metadata import version
from typing import Any

import numpy as np
import pyarrow as pa

from nightscore.arrow.assignment import Assignment
from tests.bench.machine import cpu_name

N_ROWS = 10_000_000
WAYS: dict[str, tuple[Assignment, float]] = {
    "integers": (Assignment(by=("number",), salt="2026-11", share=0.05), 50),
    "texts of 16 bytes": (Assignment(by=("text",), salt="2026-11", share=0.05), 15),
    "composite keys": (Assignment(by=("number", "text"), salt="2026-11", share=0.05), 10),
    "texts of 1 to 24 bytes": (Assignment(by=("uneven",), salt="2026-11", share=0.05), 0),
    "texts of 16 bytes, flagd": (
        Assignment(by=("text",), salt="2026-11", share=0.05, hash="flagd"),
        0,
    ),
}
"""The rule, and the aim; 0: none."""
VERSIONS = ("numpy", "pyarrow")


def measure(repeats: int) -> dict[str, Any]:
    """Million rows a second of each way, medians; the ways are called in turn."""
    rng = np.random.default_rng(0)
    numbers = pa.array(rng.integers(0, 2**62, N_ROWS))
    texts = pa.array([f"{number:016x}" for number in range(N_ROWS)])
    uneven = pa.array(["k" * (1 + number % 24) for number in range(N_ROWS)])
    rows = pa.table({"number": numbers, "text": texts, "uneven": uneven})
    speeds: dict[str, list[float]] = {name: [] for name in WAYS}

    for _ in range(repeats):
        for name, (assignment, _) in WAYS.items():
            started = time.process_time()
            assignment.arm(rows)
            speeds[name].append(N_ROWS / 1e6 / (time.process_time() - started))

    return {
        "rows": N_ROWS,
        "repeats": repeats,
        "processor": cpu_name(),
        "versions": {name: version(name) for name in VERSIONS},
        "million_rows_per_cpu_s": {
            name: statistics.median(of_way) for name, of_way in speeds.items()
        },
    }


def show(result: dict[str, Any]) -> None:
    """Print the table."""
    versions = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    print(f"\nAssignment of {result['rows']:,} rows, one core of {result['processor']},")
    print(f"million rows a CPU second, medians of {result['repeats']}; {versions}")
    for name, speed in result["million_rows_per_cpu_s"].items():
        aim = WAYS[name][1]
        print(f"{name:<26} {speed:6.1f}   {f'aim {aim:.0f}' if aim else ''}")
