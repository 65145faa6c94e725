"""What Prefect adds to a backfill of small partitions: the engine alone, one child run a partition, and batches.

Each way scores the same partitions with the same model into an output of its own, in one session, in turns.
"""

import asyncio
import os
import platform
import resource
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from nightscore.engine.backends.local import WorkerPool
from nightscore.flows.prefect_server import prefect_server
from nightscore.inputs.jobfile import load_job
from nightscore.ledger.workspace import Workspace
from nightscore.models.cache import ModelCache
from nightscore.outputs.publish import open_publisher
from nightscore.runs.run import run
from tests.support.lake import Lake
from tests.support.models import make_frame, register_models

N_ROWS = 200
FIRST = date(2023, 1, 1)
BATCH = 20
MAX_PARALLEL = 2


@dataclass(frozen=True)
class Sample:
    """One backfill."""

    way: str
    wall_s: float
    cpu_s: float
    """Of this process: the flows, the driver and the workers that have ended; not the Prefect
    server's."""


def measure(n_partitions: int, repeats: int) -> dict[str, Any]:
    """Seconds of each way, per partition and in all."""
    days = [FIRST + timedelta(days=i) for i in range(n_partitions)]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "registry").mkdir()
        os.environ["NIGHTSCORE_CACHE"] = str(root / "cache")
        with prefect_server(root / "prefect") as server:
            os.environ.update(server.environment | {"PREFECT_LOGGING_LEVEL": "ERROR"})
            lake = _lake(root)
            for i, day in enumerate(days):
                lake.write(str(day), make_frame(N_ROWS, seed=i))
            server.wait()
            ways = {
                "engine alone": lambda job: _engine(job, days),
                "a child run each": lambda job: _flow(job, days, 1),
                f"{BATCH} in a child run": lambda job: _flow(job, days, BATCH),
            }
            samples = [
                _timed(lake, root, way, act, days, repeat)
                for repeat in range(repeats)
                for way, act in ways.items()
            ]
    result: dict[str, Any] = {
        "partitions": n_partitions,
        "rows_each": N_ROWS,
        "repeats": repeats,
        "max_parallel": MAX_PARALLEL,
        "database": "SQLite",
        "cores": os.cpu_count(),
        "versions": {
            name: version(name)
            for name in ("prefect", "mlflow", "deltalake", "pyarrow", "scikit-learn")
        }
        | {"python": platform.python_version()},
        "ways": {},
    }
    for way in ways:
        mine = [sample for sample in samples if sample.way == way]
        wall = statistics.median(sample.wall_s for sample in mine)
        cpu = statistics.median(sample.cpu_s for sample in mine)
        result["ways"][way] = {
            "wall_s": wall,
            "wall_ms_each": 1000 * wall / n_partitions,
            "cpu_s": cpu,
        }
    return result


def show(result: dict[str, Any]) -> None:
    """Print the table."""
    versions = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    print(
        f"\nBackfill of {result['partitions']} partitions of {result['rows_each']} rows, {result['cores']} cores,"
    )
    print(
        f"median of {result['repeats']}, {result['max_parallel']} at once, {result['database']}; {versions}"
    )
    print(f"{'':<20} {'wall s':>8} {'ms each':>8} {'CPU s':>8} {'ratio':>6}")
    alone = result["ways"]["engine alone"]["wall_s"]
    for way, way_result in result["ways"].items():
        print(
            f"{way:<20} {way_result['wall_s']:>8.1f} {way_result['wall_ms_each']:>8.0f} {way_result['cpu_s']:>8.1f} "
            f"{way_result['wall_s'] / alone:>6.2f}"
        )


def _lake(root: Path) -> Lake:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        register_models(root / "registry")
    registry = f"sqlite:///{root}/registry/mlflow.db"
    return Lake(str(root / "lake"), {}, registry, WorkerPool(), ModelCache(root / "cache"))


def _timed(
    lake: Lake, root: Path, way: str, act: Callable[[str], None], days: list[date], repeat: int
) -> Sample:
    job = lake.job(output={"uri": f"{lake.root}/{way.replace(' ', '-')}-{repeat}"})
    path = root / "job.yaml"
    path.write_text(yaml.safe_dump(job.model_dump(mode="json")))
    started, cpu = time.perf_counter(), _cpu_s()
    act(str(path))
    sample = Sample(way, time.perf_counter() - started, _cpu_s() - cpu)
    published = len(open_publisher(Workspace(job)).all_live())
    if published != len(days):
        raise RuntimeError(f"{way}: {published} of {len(days)} partitions were published")
    print(f"{way}: {sample.wall_s:.1f} s", flush=True)
    return sample


def _cpu_s() -> float:
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def _engine(job: str, days: list[date]) -> None:
    spec, cache = load_job(job), ModelCache(Path(os.environ["NIGHTSCORE_CACHE"]))
    with WorkerPool() as pool:
        for day in days:
            run(spec, str(day), pool=pool, cache=cache, now=datetime.now(UTC))


def _flow(job: str, days: list[date], batch: int) -> None:
    from nightscore.flows.backfill import backfill

    async def ended() -> Any:
        return await backfill(
            job,
            days[0],
            days[-1],
            max_parallel=MAX_PARALLEL,
            partitions_per_run=batch,
            return_state=True,
        )

    state = asyncio.run(ended())
    if not state.is_completed():
        raise RuntimeError(f"the backfill ended {state.name}: {state.message}")
