"""Bar 2: kernels on one core, beside scikit-learn's own predictions, and the profile's time a value.

Processors without AVX-512 are meant: one that has it is made to use the kernels for AVX2.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.bench.bars.bench import Bench, Way, run_in_turns
from tests.bench.bars.bound import measure_bound
from tests.bench.bars.figures import Figure, at_least, at_most
from tests.bench.engine.peers import ONE_THREAD
from tests.bench.engine.workloads import W1
from tests.bench.kernels import FOLDER
from tests.bench.machine import vector_extensions

BAR = 2
ASKED = {"HistGradientBoosting 200 x 31": 12.0, "RandomForest 100": 3.0}
"""How a case of `make bench-kernels` begins, to how many times the library's own speed."""
MOST_PROFILE_NS = 5.0
VARIANT = {"NIGHTSCORE_KERNELS": "avx2"}


def measure(bench: Bench) -> Iterator[Figure]:
    """A figure for each kernel, and one for the profile."""
    variant = VARIANT if "avx2" in vector_extensions() else {}
    for name, asked in ASKED.items():
        command = [sys.executable, "-m", "tests.bench.kernels", "--only", name]
        run_in_turns({name: Way(command, bench.environment(**ONE_THREAD, **variant))}, 1)
        results = json.loads(Path(FOLDER, "kernels.json").read_text())["results"]
        (result,) = [one for one in results if one["model"].startswith(name)]
        basis = f"{1_000 * result['own_s']:.0f} ms, {1_000 * result['compiled_s']:.0f} ms a batch"
        what = f"{name}, times scikit-learn's speed"
        yield at_least(BAR, what, result["speed_up"], asked, basis=basis)

    bound = measure_bound(bench, W1.sized(bench.sizes.rows), **variant)
    n_values = W1.n_floats + 1  # the features and the probability
    spent_ns = 1e9 * bound["cpu_s_per_row"]["profile"] / n_values
    yield at_most(BAR, "profile of a value", spent_ns, MOST_PROFILE_NS, unit=" ns")
