"""What watching the columns costs: as a share of a run's CPU, and beside evidently's default preset.

The share: the same files are scored with `drift.profile` on and off, in turns, on one warm worker; earlier partitions
are there to be compared with, and each model version has its baseline. Beside evidently: two Parquet files, from the
start of the process to the report, in a virtual environment of its own (it does not import beside pandas 3).
"""

import json
import logging
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import venv
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from nightscore.engine.backends.local import WorkerPool
from nightscore.flows.demo.sample import JOB_NAME, Sample
from nightscore.inputs.jobfile import load_job, parse_job
from nightscore.models.cache import ModelCache
from nightscore.operations.baseline import record_baseline
from nightscore.profiles.edges import Edges
from nightscore.profiles.numbers import finite_values
from nightscore.profiles.profile import NumberProfile
from nightscore.profiles.table import ColumnProfile, to_bytes
from nightscore.runs.run import run
from nightscore.schemas.job import ScoringJob
from tests.bench.machine import cpu_name
from tests.support.models import register

N_ROWS, N_COLUMNS, N_FILES = 1_000_000, 20, 8
N_TRAINING = 50_000
N_TREES = 100
N_FEW = 1_000
TREES, LINEAR = f"HistGradientBoosting, {N_TREES} trees", "LogisticRegression"
THEIRS = "evidently, DataDriftPreset"
DAY, EARLIER = "2024-03-15", ("2024-03-08", "2024-03-14")
"""The same weekday a week before, and the day before."""
POLL_S = 0.02
EVIDENTLY = ("evidently==0.7.23", "pandas<3", "pyarrow==25.0.1")
EVIDENTLY_VENV = Path(".venv-evidently")
EVIDENTLY_SCRIPT = """
import sys, pandas as pd
from evidently import Dataset, DataDefinition, Report
from evidently.presets import DataDriftPreset
then, now = (Dataset.from_pandas(pd.read_parquet(path), DataDefinition()) for path in sys.argv[1:])
print(len(Report([DataDriftPreset()]).run(now, then).json()))
"""


@dataclass(frozen=True)
class Case:
    """One model with the partition that it scores."""

    name: str
    job: ScoringJob
    day: str
    n_rows: int


@dataclass(frozen=True)
class Spent:
    """CPU seconds of one run, and the columns that it has profiled."""

    cpu_s: float
    driver_cpu_s: float
    """Of them, those of this process."""
    n_columns: int


@dataclass(frozen=True)
class Cost:
    """Of one process and what it started."""

    wall_s: float
    cpu_s: float
    peak_bytes: int
    """Resident memory of all of them together, looked at every 20 ms."""


def measure(repeats: int) -> dict[str, Any]:
    """Both measurements, with what they were made on."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        root = Path(folder)
        shares = measure_shares(root, repeats)
        beside = _beside(root, repeats)
    return {
        "repeats": repeats,
        "cores": os.cpu_count(),
        "cpu": cpu_name(),
        "memory_bytes": psutil.virtual_memory().total,
        "versions": {
            name: version(name) for name in ("numpy", "scipy", "pyarrow", "polars", "scikit-learn")
        }
        | {"python": platform.python_version()},
        "shares": shares,
        "beside": beside,
    }


def show(result: dict[str, Any]) -> None:
    """Print the tables."""
    versions = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    print(
        f"\n{result['cores']} cores ({result['cpu']}), {result['memory_bytes'] >> 30} GiB; {versions}"
    )
    print(f"\nThe profile as a share of a run's CPU, medians of {result['repeats']}, one worker")
    print(
        f"{'':<34} {'rows':>10} {'columns':>8} {'off, s':>8} {'on, s':>8} {'profile, s':>11} {'share':>7}"
    )
    for name, cost in result["shares"].items():
        print(
            f"{name:<34} {cost['rows']:>10,} {cost['columns']:>8} {cost['off_cpu_s']:>8.2f} "
            f"{cost['on_cpu_s']:>8.2f} {cost['profile_cpu_s']:>11.2f} {cost['share']:>7.1%}"
        )
    sides = result["beside"]
    beside = ", ".join(f"{name} {number}" for name, number in sides["evidently_versions"].items())
    print(
        f"\n{sides['rows']:,} rows x {sides['columns']} numbers on each side, from Parquet to the report; {beside}"
    )
    print(
        f"{'':<34} {'wall, s':>8} {'CPU, s':>8} {'of it start':>11} {'peak, MiB':>10} {'runs':>5} {'times less':>15}"
    )
    theirs = sides["ways"][THEIRS]
    for way, cost in sides["ways"].items():
        less = f"{theirs['cpu_s'] / cost['cpu_s']:.0f} ({_net_s(theirs) / _net_s(cost):.0f})"
        print(
            f"{way:<34} {cost['wall_s']:>8.1f} {cost['cpu_s']:>8.2f} {cost['start_cpu_s']:>11.2f} "
            f"{cost['peak_bytes'] >> 20:>10,} {len(cost['all_cpu_s']):>5} {less:>15}"
        )
    inside = result["shares"][TREES]["profile_cpu_s"]
    print(
        f"{'within a run of trees, as above':<34} {'':>8} {inside:>8.2f} {'':>28} {theirs['cpu_s'] / inside:>15.0f}"
    )
    print("In brackets: without the start, which is what the same takes on 1,000 rows.")


def _net_s(way: dict[str, Any]) -> float:
    return float(way["cpu_s"] - way["start_cpu_s"])


def measure_shares(
    root: Path, repeats: int, *, n_rows: int = N_ROWS, has_demo: bool = True
) -> dict[str, Any]:
    """The profile's share of a run's CPU, by case.

    Args:
        root: An empty folder.
        repeats: Rounds.
        n_rows: Of the partition.
        has_demo: Measure the demo's model too.
    """
    cache, shares = ModelCache(root / "cache"), {}
    with WorkerPool() as pool:
        demo = [_demo(root, pool, cache)] if has_demo else []
        for case in (*demo, *_synthetic(root, pool, cache, n_rows)):
            spent: dict[bool, list[Spent]] = {True: [], False: []}
            for repeat in range(repeats + 1):
                for is_on in (True, False):
                    one = _score(case, is_on, pool, cache)
                    if repeat:  # the first of each warms up
                        spent[is_on].append(one)
            shares[case.name] = cost = _summarize(case, spent[True], spent[False])
            print(f"{case.name}: {cost['share']:.1%}", flush=True)
    return shares


def _summarize(case: Case, with_profile: list[Spent], without: list[Spent]) -> dict[str, Any]:
    on = statistics.median(spent.cpu_s for spent in with_profile)
    off = statistics.median(spent.cpu_s for spent in without)
    return {
        "rows": case.n_rows,
        "columns": with_profile[-1].n_columns,
        "on_cpu_s": on,
        "off_cpu_s": off,
        "driver_cpu_s": statistics.median(spent.driver_cpu_s for spent in without),
        "profile_cpu_s": on - off,
        "share": (on - off) / on,
        "all_on_cpu_s": [spent.cpu_s for spent in with_profile],
        "all_off_cpu_s": [spent.cpu_s for spent in without],
    }


def _score(case: Case, is_on: bool, pool: WorkerPool, cache: ModelCache) -> Spent:
    job = case.job.model_copy(
        update={"drift": case.job.drift.model_copy(update={"profile": is_on})}
    )
    before, driver_before = _tree_cpu_s(), time.process_time()
    manifest = run(job, case.day, pool=pool, cache=cache, now=datetime.now(UTC), force=True)
    cpu_s, driver_cpu_s = _tree_cpu_s() - before, time.process_time() - driver_before
    if (
        manifest.status != "published"
        or manifest.counts.rows_in != case.n_rows
        or bool(manifest.drift) != is_on
    ):
        raise RuntimeError(f"{case.name}: {manifest.status}, {manifest.counts}, {manifest.error}")
    if manifest.drift is None:
        return Spent(cpu_s, driver_cpu_s, 0)
    if manifest.drift.unprofiled_rows:
        print(
            f"{case.name}: {manifest.drift.unprofiled_rows:,} rows were not profiled, drift.max_share",
            flush=True,
        )
    if not {"baseline", "weekdays", "previous"} <= manifest.drift.references.keys():
        raise RuntimeError(f"{case.name} was compared with {manifest.drift.references} only")
    return Spent(cpu_s, driver_cpu_s, manifest.drift.n_columns)


def _tree_cpu_s() -> float:
    """Of this process, those below it, and those of them that have ended."""
    me = psutil.Process()
    times = [process.cpu_times() for process in (me, *me.children(recursive=True))]
    ended = times[0].children_user + times[0].children_system
    return float(ended + sum(t.user + t.system for t in times))


def _demo(root: Path, pool: WorkerPool, cache: ModelCache) -> Case:
    """The demo's model; its year of flights three times is one partition of a million rows."""
    sample = Sample(root / "demo")
    sample.prepare(date(2013, 12, 31), lambda _: None, lambda _: None)
    flights = pq.read_table(sorted(sample.features.glob("*/*.parquet"))[0]).schema
    year = pa.concat_tables(
        [
            pq.read_table(path, schema=flights)
            for path in sorted(sample.features.glob("*/*.parquet"))
        ]
    )
    rows = pa.concat_tables([year] * 3).slice(0, N_ROWS)
    _write_partitions(root / "flights", rows)
    path = root / "demo.yaml"
    lake = replace(
        sample.lake,
        features=str(root / "flights"),
        predictions=str(root / "predictions" / JOB_NAME),
    )
    sample.write_job(path, sample.registry, lake)
    return _prepared("the demo's model", load_job(str(path)), N_ROWS, pool, cache)


def _synthetic(root: Path, pool: WorkerPool, cache: ModelCache, n_rows: int) -> Iterator[Case]:
    """A hundred trees and a linear model, on numbers."""
    import mlflow
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    uri = f"sqlite:///{root}/registry.db"
    client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
    training = _numbers(N_TRAINING, 0)
    x = training.drop_columns(["id"]).to_pandas()
    label = (x["c0"] + x["c1"] * x["c2"] + 0.5 * x["c3"] > 0).astype("int64")
    pq.write_table(training, root / "training.parquet")
    _write_partitions(root / "numbers", _numbers(n_rows, 1))
    models: dict[str, Any] = {
        TREES: HistGradientBoostingClassifier(max_iter=N_TREES, random_state=0),
        LINEAR: LogisticRegression(),
    }
    for title, model in models.items():
        name = type(model).__name__
        model.fit(x, label)
        signature = mlflow.models.infer_signature(x.head(), model.predict(x.head()))
        options: dict[str, Any] = {"serialization_format": "cloudpickle", "pip_requirements": []}
        mlflow.sklearn.save_model(model, root / name, signature=signature, **options)
        register(client, name, root / name)
        raw = {
            "name": name,
            "model": f"models:/{name}/1",
            "registry": uri,
            "input": {"uri": str(root / "numbers")},
            "output": {"uri": str(root / "predictions" / name)},
            "keys": ["id"],
        }
        job = parse_job(raw)
        record_baseline(job, str(root / "training.parquet"), pool, cache)
        yield _prepared(title, job, n_rows, pool, cache)


def _prepared(name: str, job: ScoringJob, n_rows: int, pool: WorkerPool, cache: ModelCache) -> Case:
    job = job.model_copy(update={"workers": job.workers.model_copy(update={"count": 1})})
    for day in EARLIER:
        run(job, day, pool=pool, cache=cache, now=datetime.now(UTC))
    return Case(name, job, DAY, n_rows)


def _write_partitions(folder: Path, rows: pa.Table) -> None:
    """The day in files, and a tenth of it on the days before."""
    size = -(-len(rows) // N_FILES)
    for day, part in ((DAY, rows), *((day, rows.slice(0, len(rows) // 10)) for day in EARLIER)):
        place = folder / f"ds={day}"
        place.mkdir(parents=True)
        for index, start in enumerate(range(0, len(part), size)):
            pq.write_table(part.slice(start, size), place / f"part-{index}.parquet")


def _numbers(n_rows: int, seed: int, shift: float = 0.0) -> pa.Table:
    """A key and normal numbers, of which a quarter of the columns may be shifted."""
    rng = np.random.default_rng(seed)
    columns = {
        f"c{i}": rng.normal(shift if i % 4 == 0 else 0.0, size=n_rows) for i in range(N_COLUMNS)
    }
    return pa.table({"id": np.arange(n_rows), **columns})


def _beside(root: Path, repeats: int) -> dict[str, Any]:
    python = _evidently_python()
    few, many = _sides(root / "few", N_FEW), _sides(root / "many", N_ROWS)
    ours = [sys.executable, "-m", "nightscore.cli", "drift", "--format", "json"]
    theirs = [str(python), "-c", EVIDENTLY_SCRIPT]
    commands = {
        "nightscore drift": (ours, few[:2], many[:2], repeats),
        "nightscore drift, stored reference": (ours, few[2:0:-1], many[2:0:-1], repeats),
        THEIRS: (theirs, few[:2], many[:2], 1),  # it takes minutes
    }
    ways: dict[str, dict[str, Any]] = {}
    for way, (command, small, large, wanted) in commands.items():
        start_cpu_s = _cost([*command, *small]).cpu_s
        costs = [_cost([*command, *large]) for _ in range(wanted)]
        ways[way] = {
            "wall_s": statistics.median(cost.wall_s for cost in costs),
            "cpu_s": statistics.median(cost.cpu_s for cost in costs),
            "start_cpu_s": start_cpu_s,
            "peak_bytes": int(statistics.median(cost.peak_bytes for cost in costs)),
            "all_cpu_s": [cost.cpu_s for cost in costs],
        }
        print(f"{way}: {ways[way]['cpu_s']:.1f} CPU s", flush=True)
    listed = subprocess.run(
        [str(python), "-m", "pip", "list", "--format", "json"], capture_output=True, check=True
    )
    installed = {entry["name"].lower(): entry["version"] for entry in json.loads(listed.stdout)}
    return {
        "rows": N_ROWS,
        "columns": N_COLUMNS,
        "repeats": repeats,
        "evidently_versions": {
            name: installed[name] for name in ("evidently", "numpy", "pandas", "scipy")
        },
        "ways": ways,
    }


def _sides(folder: Path, n_rows: int) -> list[str]:
    """Reference, current, and the stored profile of the reference."""
    folder.mkdir()
    paths = [folder / "reference.parquet", folder / "current.parquet"]
    for path, seed, shift in zip(paths, (2, 3), (0.0, 0.3), strict=True):
        pq.write_table(_numbers(n_rows, seed, shift).drop_columns(["id"]), path)
    columns = []
    for name, values in zip(
        (table := pq.read_table(paths[0])).column_names, table.columns, strict=True
    ):
        profile = NumberProfile.empty(Edges.from_values(finite_values([values])))
        profile.add(values)
        columns.append(ColumnProfile(role="feature", name=name, profile=profile))
    stored = folder / "profile.parquet"
    stored.write_bytes(to_bytes(columns))
    return [str(path) for path in (*paths, stored)]


def _evidently_python() -> Path:
    """Of an environment of its own, made at the first time."""
    python = EVIDENTLY_VENV / "bin" / "python"
    check = (
        subprocess.run([str(python), "-c", "import evidently"], check=False)
        if python.exists()
        else None
    )
    if check is None or check.returncode:
        print(f"Creating {EVIDENTLY_VENV} with {EVIDENTLY[0]}", flush=True)
        venv.create(EVIDENTLY_VENV, with_pip=True, clear=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *EVIDENTLY], check=True)
    return python


def _cost(command: list[str]) -> Cost:
    """Run it to its end."""
    started = time.perf_counter()
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
        peak, family = 0, psutil.Process(process.pid)
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            peak = max(peak, _resident_bytes(family))
            time.sleep(POLL_S)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            output.seek(0)
            raise RuntimeError(output.read().decode()[-2_000:])
    wall_s = time.perf_counter() - started
    return Cost(wall_s, usage.ru_utime + usage.ru_stime, peak)


def _resident_bytes(family: psutil.Process) -> int:
    total = 0
    try:
        for process in (family, *family.children(recursive=True)):
            total += process.memory_info().rss
    except psutil.NoSuchProcess:
        return total
    return total
