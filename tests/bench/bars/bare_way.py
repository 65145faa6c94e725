"""The bare script as a way of scoring a workload's partitions."""

import json
import shutil
import sys
from pathlib import Path

from nightscore.engine.model_facts import FACTS
from nightscore.models.cache import ModelCache
from tests.bench.bars.bench import Bench, Way
from tests.bench.engine.workloads import KEY, Workload


def bare_way(bench: Bench, job: Path, workload: Workload, *, n_days: int, threads: int) -> Way:
    """The bare script on a workload's first partitions.

    Args:
        bench: Of the measurement.
        job: It has been run: the cache has its model's compiled form.
        workload: Names key and features.
        n_days: Partitions.
        threads: That share them.
    """
    output = bench.root / "bare"
    files = []
    for path in sorted(bench.features(workload).rglob("*.parquet")):
        if path.parent.name.partition("=")[2] in workload.days[:n_days]:
            files.append((str(path), str(output / f"{path.parent.name}-{path.name}")))

    cache = ModelCache(bench.stage.cache)
    digest = bench.cached_model(job).name
    (form,) = (cache.root / "forms").glob(f"{digest}-*.flat")
    spec = {
        "files": files,
        "form": str(form),
        "cache": str(cache.root),
        "facts": json.loads(cache.note(digest, FACTS).read_text()),
        "key": KEY,
        "features": workload.features,
        "threads": threads,
    }
    path = bench.root / f"bare-{workload.id}-{n_days}.json"
    path.write_text(json.dumps(spec))

    def clear() -> None:
        shutil.rmtree(output, ignore_errors=True)
        output.mkdir()

    command = [sys.executable, "-m", "tests.bench.bars.bare", str(path)]
    return Way(command, bench.environment(), clear)
