"""Libraries of this process: their versions, whichever distribution provides them, and imports."""

import functools
import importlib
import importlib.metadata
from pathlib import Path
from typing import Any

from nightscore.errors import ModelLoadError
from nightscore.process import installed_version

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
            return installed_version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def library_versions(*names: str) -> dict[str, str]:
    """The versions of those libraries that are installed."""
    return {name: version for name in names if (version := library_version(name))}


def import_library(module: str, name: str, extra: str, folder: Path) -> Any:
    """Import a library that a model needs.

    Args:
        module: To import.
        name: What people call the library, with those that it is installed with.
        extra: Of this distribution, which installs it.
        folder: Of the model.

    Raises:
        ModelLoadError: It is not installed, or cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ModelLoadError(
            f"The model needs {name}, which is not installed.",
            str(folder),
            next_step=f"pip install 'nightscore[{extra}]'",
        ) from error
