"""A job whose model is an alias of a model that has two versions, in a registry of its own."""

from pathlib import Path

import yaml

from tests.support.lake import Lake
from tests.support.models import copy_registry, make_frame, register

DAYS = ("2024-02-28", "2024-02-29")


def write_aliased_job(lake: Lake, registry_root: Path, folder: Path, *, is_pinned: bool) -> Path:
    """The file of the job, and its input of two days; version 1 is the champion.

    Args:
        lake: Gets a registry of its own.
        registry_root: Folder of the registry that is copied.
        folder: Of the file.
        is_pinned: Whether somebody has vouched for version 2.
    """
    import mlflow

    lake.registry = copy_registry(registry_root, folder / "registry")
    client = mlflow.MlflowClient(tracking_uri=lake.registry, registry_uri=lake.registry)
    logistic = folder / "registry" / "models" / "logistic"
    register(client, "hgb_binary", logistic, is_pinned=is_pinned)

    for day in DAYS:
        lake.write(day, make_frame(40))
    path = folder / "late.yaml"
    job = lake.job("models:/hgb_binary@champion")
    path.write_text(yaml.safe_dump(job.model_dump(mode="json")))
    return path
