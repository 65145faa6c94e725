"""Runs all ways of a workload in turns, compares what they have written, and keeps what was seen in one JSON file."""

import json
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.bench.engine import ours
from tests.bench.engine.outputs import Written, differences, read_written
from tests.bench.engine.peers import ONE_THREAD, PEERS, Peer
from tests.bench.engine.peers.onnx_graph import write_graph
from tests.bench.engine.process_tree import Cost, Ran, run_measured
from tests.bench.engine.workloads import (
    KEY,
    PARTITION_KEY,
    WORKLOADS,
    Workload,
    features_folder,
    model_folder,
)
from tests.bench.machine import describe_machine, java_version, n_cores, versions

OURS, OTHER_SIZE = "nightscore", "nightscore, other size"
ONE_WORKER, ONE_WORKER_OTHER_SIZE = "nightscore, 1 worker", "nightscore, 1 worker, other size"
ONE_PARTITION, ONE_SMALL = "nightscore, one partition", "nightscore, one small run"
BOUND = "bound"
DISTRIBUTIONS = (
    *("pyarrow", "polars", "numpy", "pandas", "scikit-learn", "numba", "mlflow", "joblib"),
    *("lightgbm", "xgboost", "xgboost-cpu", "onnxruntime"),
    *("dask", "distributed", "ray", "pyspark", "daft"),
)
LIMITS = (*ONE_THREAD, "NUMEXPR_NUM_THREADS", "POLARS_MAX_THREADS", "OMP_THREAD_LIMIT")
"""Of threads: what is set around the benchmark must not favour one way."""
TIMEOUT_S = 1_800.0


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    name: str
    workloads: Mapping[str, Workload]
    other_rows: Mapping[str, int]
    """A second size at which nightscore alone is measured: memory must be the same at ten times the
    rows."""
    repeats: int
    peers: Mapping[str, Sequence[str]]
    """Workload to names of peers; those that are not named have all."""
    file: str = "engine.json"
    """Of the results; those of other sizes stay in it."""


_BY_NAME = {workload.name: workload for workload in WORKLOADS}
_CORE = ("polars", "onnxruntime", "pandas", "joblib")
_BOOSTERS = ("W5-lightgbm", "W5-xgboost")
SIZES = {
    "small": Size(
        "small",
        {
            name: w.sized(2_000, 12) if name == "W4" else w.sized(50_000)
            for name, w in _BY_NAME.items()
        },
        {"W1": 500_000},
        1,
        dict.fromkeys(("W1", "W2", *_BOOSTERS), _CORE[:2]) | {"W4": _CORE},
        "engine-small.json",
    ),
    "medium": Size("medium", _BY_NAME, {"W1": 10_000_000}, 3, dict.fromkeys(_BOOSTERS, _CORE)),
    "full": Size(
        "full",
        _BY_NAME | {name: _BY_NAME[name].sized(10_000_000) for name in ("W1", "W3")},
        {"W1": 1_000_000},
        3,
        dict.fromkeys(("W1", "W3", *_BOOSTERS), _CORE),
    ),
}
BEST = 2
"""Peers that score the workload of `full` that only the best do."""


@dataclass
class Way:
    """One command that is measured, and what was seen of it."""

    name: str
    title: str
    kind: str
    """`ours` or `peer`."""
    command: list[str]
    environment: dict[str, str]
    output: Path
    n_rows: int
    version: str = ""
    is_reference: bool = False
    """The others' output is compared with its own."""
    is_compared: bool = True
    costs: list[Cost] = field(default_factory=list)
    loads: list[float] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    error: str = ""
    manifests: list[dict[str, Any]] = field(default_factory=list)
    """Of its runs, one a repeat; several partitions: the first's."""
    stages: list[dict[str, float]] = field(default_factory=list)
    """Seconds by stage, a repeat each; several partitions: their sums."""
    written: Written | None = None

    def record(self) -> dict[str, Any]:
        """As it is kept."""
        results: dict[str, Any] = {
            "title": self.title,
            "kind": self.kind,
            "version": self.version,
            "rows": self.n_rows,
            "notes": list(dict.fromkeys(self.notes)),
            "error": self.error,
            "samples": [
                asdict(cost) | {"load": load}
                for cost, load in zip(self.costs, self.loads, strict=True)
            ],
            "written": asdict(self.written) if self.written else None,
        }
        if self.costs:
            for name in ("wall_s", "cpu_s", "peak_bytes"):
                results[name] = statistics.median(getattr(cost, name) for cost in self.costs)
        if self.manifests:
            measures = [manifest["measures"] for manifest in self.manifests]
            results["scoring_rows_per_s"] = statistics.median(one["rows_per_s"] for one in measures)
            names = dict.fromkeys(name for one in self.stages for name in one)
            results["stages_s"] = {
                name: statistics.median(one.get(name, 0.0) for one in self.stages) for name in names
            }
            results["workers"] = measures[-1]["n_workers"]
            results["predictor"] = (self.manifests[-1].get("predictor") or {}).get("engine")
            results["drift_columns"] = (self.manifests[-1].get("drift") or {}).get("n_columns")
        return results


def measure(
    size: Size,
    folder: Path,
    *,
    workloads: Sequence[str] = (),
    peers: Sequence[str] = (),
    repeats: int | None = None,
) -> dict[str, Any]:
    """Measure workloads, one after another; what is measured already for others, or for other peers, is kept.

    Args:
        size: How much.
        folder: `.bench`: data, models and the result are kept there.
        workloads: Names, or how they begin; none: all.
        peers: Names; none: those of the size.
        repeats: None: those of the size.

    Returns:
        All that the file knows now.
    """
    path = folder / size.file
    for name, workload in size.workloads.items():
        if workloads and not any(name.startswith(wanted) for wanted in workloads):
            continue
        chosen = peers or _peers_of(size, workload, _read(path))
        result = _measure_one(size, workload, folder, chosen, repeats or size.repeats)
        known = _read(path)
        _merge(known["workloads"], result)
        path.write_text(json.dumps(known, indent=1) + "\n")
    return _read(path)


def _read(path: Path) -> dict[str, Any]:
    results: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"workloads": {}}
    return results


def _merge(known: dict[str, Any], result: dict[str, Any]) -> None:
    """Peers that were not measured this time stay as they were, each with what stood beside it then."""
    before = known.get(result["id"], {}).get("ways", {})
    kept = {
        name: way
        for name, way in before.items()
        if name not in result["ways"] and way["kind"] == "peer"
    }
    result["ways"] |= kept
    order = [peer.name for peer in PEERS]
    ways = sorted(
        result["ways"].items(), key=lambda item: order.index(item[0]) if item[0] in order else -1
    )
    known[result["id"]] = result | {"ways": dict(ways)}


def _peers_of(size: Size, workload: Workload, known: dict[str, Any]) -> Sequence[str]:
    names = size.peers.get(workload.name, [peer.name for peer in PEERS])
    if size.name != "full" or workload.name != "W1":
        return names
    smaller = known["workloads"].get(_BY_NAME["W1"].id, {}).get("ways", {})
    seen = {
        name: way["wall_s"]
        for name, way in smaller.items()
        if way["kind"] == "peer" and "wall_s" in way
    }
    return sorted(seen, key=seen.__getitem__)[:BEST] if len(seen) >= BEST else names[:BEST]


def _measure_one(
    size: Size, workload: Workload, folder: Path, peers: Sequence[str], repeats: int
) -> dict[str, Any]:
    result: dict[str, Any] = {
        "id": workload.id,
        "name": workload.name,
        "title": workload.title,
        "size": size.name,
        "rows": workload.total_rows,
        "partitions": workload.n_partitions,
        "repeats": repeats,
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": describe_machine(),
        "versions": versions(DISTRIBUTIONS) | ({"java": java} if (java := java_version()) else {}),
        "ways": {},
    }
    print(f"\n{workload.id}: {workload.title}, {workload.total_rows:,} rows", flush=True)
    if absent := [name for name in workload.needs if not is_installed(name)]:
        print(f"  not installed: {', '.join(absent)}", flush=True)
        return result | {"not_installed": absent}
    data, models = folder / "data", folder / "models"
    data.mkdir(parents=True, exist_ok=True)
    models.mkdir(exist_ok=True)
    model = model_folder(workload, models)
    features = features_folder(workload, data)
    remove_left(folder)
    with tempfile.TemporaryDirectory(prefix=f"run-{os.getpid()}-", dir=folder) as scratch:
        root = Path(scratch).absolute()
        stage = ours.open_stage(root)
        ours.register_models(stage, {workload.name: model.absolute()})
        ways = _our_ways(size, workload, stage, features.absolute(), data)
        result["first"] = _first(ways[0], stage)
        for peer in PEERS:
            if peer.name not in peers or (peer.workloads and workload.name not in peer.workloads):
                continue
            if peer.is_installed:
                ways.append(peer_way(peer, workload, root, model.absolute(), features.absolute()))
            else:
                result["ways"][peer.name] = {
                    "title": peer.title,
                    "kind": "peer",
                    "notes": [],
                    "error": "not installed",
                }
                print(f"  {peer.title}: not installed", flush=True)
        bounds = []
        for repeat in range(repeats):
            print(f"  round {repeat + 1} of {repeats}", flush=True)
            for way in ways:
                if not way.error:
                    _run(way, ways[0])
            bounds.append(measure_bound(workload, root, model, features))
    result["bound"] = _median(bounds)
    beside = ways[0].record()
    for way in ways:
        result["ways"][way.name] = way.record() | {
            "measured_at": result["measured_at"],
            "beside": {name: beside[name] for name in ("wall_s", "cpu_s", "peak_bytes")},
        }
    return result


def remove_left(folder: Path) -> None:
    """What benchmarks that were killed have left."""
    for left in folder.glob("run-*-*"):
        if not Path("/proc", left.name.split("-")[1]).exists():
            shutil.rmtree(left, ignore_errors=True)


def is_installed(name: str) -> bool:
    """Whether a package can be imported."""
    from importlib.util import find_spec

    return find_spec(name) is not None


def command_environment(more: Mapping[str, str], registry: str) -> dict[str, str]:
    """The variables of a measured command: threads are not limited from outside."""
    kept = {name: value for name, value in os.environ.items() if name not in LIMITS}
    return kept | {
        "PYTHONPATH": str(Path.cwd()),
        "MLFLOW_TRACKING_URI": registry,
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        **more,
    }


def _our_ways(
    size: Size, workload: Workload, stage: ours.Stage, features: Path, data: Path
) -> list[Way]:
    """The one that all are compared with first."""
    version = versions(["nightscore"]).get("nightscore", "")
    environment = command_environment({}, stage.registry)

    def way(name: str, title: str, spec: Workload, where: Path, **options: Any) -> Way:
        job_name = name.replace(", ", "-").replace(" ", "-")
        changes = {"workers": {"count": n}} if (n := options.pop("n_workers", None)) else {}
        job = ours.write_job(stage, job_name, spec, where, **changes)
        if options.pop("is_backfill", False):
            command = ours.backfill_command(stage, job, spec.days)
        else:
            command = ours.run_command(stage, job, spec.days[0])
        rows = options.pop("n_rows", spec.total_rows)
        output = ours.output_folder(stage, job_name)
        return Way(name, title, "ours", command, environment, output, rows, version, **options)

    many = workload.n_partitions > 1
    title = f"nightscore {'backfill' if many else 'run'}"
    ways = [way(OURS, title, workload, features, is_backfill=many, is_reference=True)]
    if many:
        whole = workload.sized(workload.total_rows)
        place = features_folder(whole, data).absolute()
        ways.append(way(ONE_PARTITION, "the same rows in one partition", whole, place))
        few = {"n_rows": workload.n_rows, "is_compared": False}
        ways.append(
            way(ONE_SMALL, f"one partition of {workload.n_rows:,} rows", workload, features, **few)
        )
    if other := size.other_rows.get(workload.name):
        second = workload.sized(other)
        place = features_folder(second, data).absolute()
        apart: dict[str, Any] = {"is_compared": False}
        ways.append(way(OTHER_SIZE, f"the same, {other:,} rows", second, place, **apart))
        ways.append(
            way(ONE_WORKER, "the same, 1 worker", workload, features, n_workers=1, is_backfill=many)
        )
        title = f"the same, {other:,} rows, 1 worker"
        ways.append(way(ONE_WORKER_OTHER_SIZE, title, second, place, n_workers=1, **apart))
    return ways


def peer_way(peer: Peer, workload: Workload, root: Path, model: Path, features: Path) -> Way:
    """A peer's command on a workload; its output is below `root`."""
    if peer.needs_graph:
        write_graph(model)
    many = workload.n_partitions > 1
    output = root / "peers" / peer.name
    # A single partition is a folder of files to everybody but nightscore.
    source = features if many else features / f"{PARTITION_KEY}={workload.days[0]}"
    task = {
        "model": str(model),
        "input": str(source),
        "output": str(output),
        "key": KEY,
        "features": workload.features,
        "strings": workload.strings,
        "partition": PARTITION_KEY if many else None,
        "workers": n_cores(),
    }
    path = root / f"{peer.name}.json"
    path.write_text(json.dumps(task))
    environment = command_environment(peer.environment, f"sqlite:///{root}/registry.db")
    version = versions(peer.distributions).get(peer.distributions[0], "")
    return Way(
        peer.name,
        peer.title,
        "peer",
        [*peer.command, str(path)],
        environment,
        output,
        workload.total_rows,
        version,
    )


def _first(way: Way, stage: ours.Stage) -> dict[str, Any]:
    """The first run of a model on this host: nothing of it is cached."""
    shutil.rmtree(stage.cache, ignore_errors=True)
    ran = run_measured(way.command, way.environment, timeout_s=TIMEOUT_S)
    ours.read_manifests(ran)
    _say("first run on this host", ran.cost)
    return asdict(ran.cost)


def _run(way: Way, reference: Way) -> None:
    if way.kind == "peer":
        shutil.rmtree(way.output, ignore_errors=True)
    os.sync()  # what others have written is not to be paid for here
    load = os.getloadavg()[0]
    ran = run_measured(way.command, way.environment, timeout_s=TIMEOUT_S)
    if way.kind == "ours":
        manifests = ours.read_manifests(ran)
        way.manifests.append(manifests[0])
        stages = [manifest["measures"]["stages_s"] for manifest in manifests]
        names = dict.fromkeys(name for one in stages for name in one)
        way.stages.append({name: sum(one.get(name, 0.0) for one in stages) for name in names})
    try:
        way.written = read_written(way.output)
    except Exception as error:
        way.error = f"exit code {ran.cost.exit_code}, {error}: {_last_words(ran)}"
    if way.written and way.is_compared and not way.is_reference and reference.written:
        many = reference.written.n_partitions > 1 and way.name != ONE_PARTITION
        if problems := differences(way.written, reference.written, by_partition=many):
            way.error = "; ".join(problems)
    if ran.cost.exit_code and not way.error:
        way.notes.append(f"ended with exit code {ran.cost.exit_code} once all was written")
    if way.error:
        if way.kind == "ours":
            raise RuntimeError(f"{way.name}: {way.error}")
        print(f"    {way.title}: {way.error}", flush=True)
        return
    way.costs.append(ran.cost)
    way.loads.append(load)
    _say(way.title, ran.cost)


def _last_words(ran: Ran) -> str:
    lines = [line for line in f"{ran.output}\n{ran.errors}".splitlines() if line.strip()]
    return " | ".join(lines[-8:])[-1_500:]


def _say(title: str, cost: Cost) -> None:
    print(
        f"    {title:<40} {cost.wall_s:8.1f} s {cost.cpu_s:8.1f} CPU s {cost.peak_bytes / 1e6:8.0f} MB, "
        f"{cost.n_processes} processes",
        flush=True,
    )


def measure_bound(
    workload: Workload, root: Path, model: Path, features: Path, **environment: str
) -> dict[str, Any]:
    """What is possible, as `bound` measures it in a process of its own."""
    spec = {
        "model": str(model.absolute()),
        "features": str(features.absolute()),
        "features_in_order": workload.features,
        "strings": workload.strings,
        "key": KEY,
        "cores": n_cores(),
        "scratch": str(root),
    }
    path = root / "bound.json"
    path.write_text(json.dumps(spec))
    command = [sys.executable, "-m", "tests.bench.engine.bound", str(path)]
    ran = run_measured(
        command,
        command_environment(ONE_THREAD | {"ARROW_NUM_THREADS": "1"} | environment, ""),
        timeout_s=TIMEOUT_S,
    )
    if ran.cost.exit_code:
        raise RuntimeError(f"the bound could not be measured: {_last_words(ran)}")
    bound: dict[str, Any] = json.loads(ran.output.splitlines()[-1])
    print(f"    {'bound':<40} {bound['rows_per_s']:10,.0f} rows/s", flush=True)
    return bound


def _median(measurements: list[dict[str, Any]]) -> dict[str, Any]:
    """Of each number by itself."""
    return {
        name: _median([one[name] for one in measurements])
        if isinstance(value, dict)
        else statistics.median(one[name] for one in measurements)
        if isinstance(value, int | float)
        else value
        for name, value in measurements[-1].items()
    }
