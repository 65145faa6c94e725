"""Versions of installed libraries, whichever distribution provides them."""

import functools
import importlib.metadata
from pathlib import Path

from nightscore.errors import ModelLoadError

DISTRIBUTIONS = {
    "xgboost": ("xgboost", "xgboost-cpu"),
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
}


@functools.cache
def library_version(name: str) -> str | None:
    """The version of a library, or None if it is not installed.

    It is looked up once per process, because a process keeps what it has imported.
    """
    for distribution in DISTRIBUTIONS.get(name, (name,)):
        try:
            return importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def library_versions(*names: str) -> dict[str, str]:
    """The versions of those libraries that are installed."""
    return {name: version for name in names if (version := library_version(name))}


def missing_library(name: str, extra: str, folder: Path) -> ModelLoadError:
    """The error for a model whose library is not installed."""
    return ModelLoadError(
        f"The model needs {name}, which is not installed.",
        str(folder),
        next_step=f"pip install 'nightscore[{extra}]'",
    )
