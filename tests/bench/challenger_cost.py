"""What a challenger costs in the champion's pass: CPU seconds of a shard, by stage."""

import statistics
import tempfile
import time
import warnings
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd

from nightscore.engine.shard import ShardResult, ShardTask
from nightscore.engine.worker.shard_scoring import score_shard
from nightscore.models.cache import ModelCache
from nightscore.profiles.differences.difference_spec import (
    DifferenceSpec,
    grain_of,
    grid_of,
    sample_bits,
)
from nightscore.profiles.differences.group_counts import GroupColumn
from tests.bench.machine import cpu_name
from tests.fakes.pool import InProcessPool
from tests.support.challengers import DAY, challenger_job, whole_task, with_challengers
from tests.support.lake import Lake
from tests.support.models import make_empty_registry, register

N_ROWS, N_COLUMNS = 1_000_000, 20
CHAMPION = "boosted"
CHALLENGERS = ("retrained", "linear", "forest")
OWN_STAGES = ("predict", "profile", "sample", "write", "quarantine", "load")
"""What a challenger does for itself, whoever has read the rows."""
VERSIONS = ("numpy", "pyarrow", "scikit-learn")


def measure(repeats: int) -> dict[str, Any]:
    """Medians of a shard with and without each challenger, which are scored in turn."""
    with tempfile.TemporaryDirectory() as folder:
        lake = _make_lake(Path(folder))
        champion = whole_task(lake, lake.job(CHAMPION), "champion-run")
        ways = {"alone": champion}
        for name in CHALLENGERS:
            own = whole_task(lake, challenger_job(lake, name), f"{name}-run")
            own = replace(own, difference=_compared(champion))
            ways[name] = with_challengers(champion, own)

        results = _score(ways, repeats)

    alone_s = _median(results["alone"])
    return {
        "rows": N_ROWS,
        "columns": N_COLUMNS,
        "repeats": repeats,
        "processor": cpu_name(),
        "versions": {name: version(name) for name in VERSIONS},
        "champion_cpu_s": alone_s,
        "challengers": {name: _summary(results[name]) for name in CHALLENGERS},
    }


def show(result: dict[str, Any]) -> None:
    """Print the table."""
    versions = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    print(f"\nA challenger beside the champion: CPU seconds of a shard of {result['rows']:,} rows,")
    print(f"{result['columns']} features, one core of {result['processor']}; {versions}")
    print(f"  the champion alone: {result['champion_cpu_s']:.3f}")

    for name, costs in result["challengers"].items():
        stages = ", ".join(f"{stage} {cpu_s:.3f}" for stage, cpu_s in costs["stages_s"].items())
        print(
            f"  with {name:8} champion {costs['champion_cpu_s']:.3f}, "
            f"challenger {costs['cpu_s']:.3f} ({stages}); "
            f"beside its own work {costs['beside_s'] / result['champion_cpu_s']:.1%}"
        )


def _compared(champion: ShardTask) -> DifferenceSpec:
    """What a run compares: by all features, whose deciles a baseline would have."""
    deciles = [NormalDist().inv_cdf(share / 10) for share in range(1, 10)]
    names = [column.name for column in champion.contract.features]
    columns = tuple(GroupColumn("feature", name, edges=tuple(deciles)) for name in names)
    grid = grid_of("probability", None)

    return DifferenceSpec(
        score="probability",
        threshold=0.5,
        champion_grid=grid,
        challenger_grid=grid,
        columns=columns,
        grain=grain_of(grid),
        sample_bits=sample_bits(N_ROWS, len(columns)),
        keys=tuple(champion.job.keys.columns),
    )


def _score(ways: dict[str, ShardTask], repeats: int) -> dict[str, list[ShardResult]]:
    results: dict[str, list[ShardResult]] = {name: [] for name in ways}
    for i in range(repeats + 1):
        for name, task in ways.items():
            result = score_shard(replace(task, row_counts=""), time.thread_time)
            if i:  # the first time libraries are imported
                results[name].append(result)
    return results


def _summary(results: list[ShardResult]) -> dict[str, Any]:
    challengers = [result.challengers[0] for result in results]
    stages: dict[str, float] = {}
    for stage in ("cast", *OWN_STAGES, "difference"):
        seconds = [one.result.stages_s.get(stage, 0.0) for one in challengers if one.result]
        stages[stage] = statistics.median(seconds)

    cpu_s = statistics.median(one.cpu_s for one in challengers)
    return {
        "champion_cpu_s": _median(results),
        "cpu_s": cpu_s,
        "stages_s": stages,
        "beside_s": cpu_s - sum(stages[stage] for stage in OWN_STAGES),
    }


def _median(results: list[ShardResult]) -> float:
    return statistics.median(result.cpu_s for result in results)


def _make_lake(folder: Path) -> Lake:
    """Rows of normal numbers, and models of them in a registry."""
    import mlflow
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression

    make_empty_registry(folder / "mlflow.db")
    registry = f"sqlite:///{folder}/mlflow.db"
    lake = Lake(str(folder / "lake"), {}, registry, InProcessPool(), ModelCache(folder / "cache"))

    frame = _make_frame(N_ROWS)
    lake.write(DAY, frame, row_group_size=131_072)
    sample = frame.drop(columns="id").head(20_000)
    labels = (sample["f0"] + sample["f1"] * sample["f2"] > 0).astype("int64")

    estimators = {
        "boosted": HistGradientBoostingClassifier(max_iter=200, early_stopping=False),
        "retrained": HistGradientBoostingClassifier(max_iter=200, early_stopping=False),
        "linear": LogisticRegression(),
        "forest": RandomForestClassifier(100, max_depth=10, random_state=0),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, estimator in estimators.items():
            rows = slice(10_000, None) if name == "retrained" else slice(None)
            estimator.fit(sample[rows], labels[rows])
            signature = mlflow.models.infer_signature(
                sample.head(), estimator.predict(sample.head())
            )
            mlflow.sklearn.save_model(
                estimator,
                folder / name,
                signature=signature,
                serialization_format="cloudpickle",
                pip_requirements=[],
            )
            register(mlflow.MlflowClient(tracking_uri=registry), name, folder / name)

    return lake


def _make_frame(n_rows: int) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    names = [f"f{i}" for i in range(N_COLUMNS)]
    frame = pd.DataFrame(rng.normal(size=(n_rows, N_COLUMNS)), columns=names)
    frame.insert(0, "id", np.arange(n_rows))
    return frame
