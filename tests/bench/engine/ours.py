"""nightscore itself, through its command line: a job file, a registry, and the commands that are measured."""

import json
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from nightscore.models.cache import digest_tree
from nightscore.models.registries.protocol import DIGEST_TAG
from tests.bench.engine.process_tree import Ran
from tests.bench.engine.workloads import KEY, Workload


@dataclass(frozen=True)
class Stage:
    """Where nightscore finds the model and keeps its state."""

    root: Path
    registry: str
    cache: Path
    """Models and machine code of this host."""


def open_stage(root: Path) -> Stage:
    """A stage in an empty folder; nothing is registered yet."""
    return Stage(root, f"sqlite:///{root}/registry.db", root / "cache")


def register_models(stage: Stage, models: Mapping[str, Path]) -> None:
    """Register and pin models.

    Args:
        stage: Of the registry.
        models: Name to artifact folder.
    """
    import mlflow

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    client = mlflow.MlflowClient(tracking_uri=stage.registry, registry_uri=stage.registry)
    for name, folder in models.items():
        client.create_registered_model(name)
        client.create_model_version(
            name, source=str(folder), tags={DIGEST_TAG: digest_tree(folder)}
        )


def write_job(stage: Stage, name: str, workload: Workload, features: Path, **changes: Any) -> Path:
    """A job file with the defaults, but for the format that the peers write too.

    Args:
        stage: Of the registry.
        name: Of the job, unique on the stage.
        workload: Names model and key.
        features: Folder of the partitions.
        changes: Keys of the job file.
    """
    job: dict[str, Any] = {
        "name": name,
        "model": f"models:/{workload.name}/1",
        "registry": stage.registry,
        "input": {"uri": str(features)},
        "output": {"uri": str(output_folder(stage, name)), "format": "parquet"},
        "keys": [KEY],
    }
    path = stage.root / f"{name}.yaml"
    path.write_text(yaml.safe_dump(job | changes))
    return path


def output_folder(stage: Stage, name: str) -> Path:
    """Where a job's predictions are."""
    return stage.root / "predictions" / name


def run_command(stage: Stage, job: Path, day: str, *, force: bool = True) -> list[str]:
    """Score one partition; `force`: whether it is published or not."""
    return command(stage, "run", str(job), day, *(["--force"] if force else []))


def backfill_command(stage: Stage, job: Path, days: Sequence[str]) -> list[str]:
    """Score all partitions in one process, whether they are published or not."""
    dates = ["--from", days[0], "--to", days[-1]]
    return command(stage, "backfill", str(job), *dates, "--mode", "all")


def command(stage: Stage, *words: str) -> list[str]:
    """A command of nightscore on this stage; it prints JSON."""
    program = [sys.executable, "-m", "nightscore.cli"]
    return [*program, *words, "--json", "--cache-dir", str(stage.cache)]


def read_manifests(ran: Ran) -> list[dict[str, Any]]:
    """The records of the runs that a command has printed.

    Raises:
        RuntimeError: A run was not published.
    """
    try:
        printed = json.loads(ran.output)
    except ValueError:
        raise RuntimeError(
            f"exit code {ran.cost.exit_code}: {ran.output[-500:]} {ran.errors[-2_000:]}"
        ) from None
    manifests: list[dict[str, Any]] = printed.get("runs", [printed])
    bad = [f"{run.get('partition')}: {run.get('status')}, {run.get('error')}" for run in manifests]
    bad = [
        text for text, run in zip(bad, manifests, strict=True) if run.get("status") != "published"
    ]
    if bad or not manifests or ran.cost.exit_code:
        raise RuntimeError(
            f"exit code {ran.cost.exit_code}: {'; '.join(bad[:3])} {ran.errors[-2_000:]}"
        )
    return manifests
