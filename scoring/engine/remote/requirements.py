"""What a job needs of the nodes of a cluster: libraries, environment variables and folders."""

import functools
import hashlib
import importlib.metadata
import os
import platform
import socket
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from nightscore.process import installed_version

REQUIRED = (
    "nightscore",
    "pyarrow",
    "numpy",
    "scipy",
    "pandas",
    "scikit-learn",
    "numba",
    "llvmlite",
    "joblib",
    "cloudpickle",
    "skops",
    "pydantic",
)
"""Without one of them, or with another version, results or pickles may differ."""
MODEL_LIBRARIES = (
    "lightgbm",
    "xgboost",
    "xgboost-cpu",
    "onnxruntime",
    "catboost",
    "mlflow",
    "mlflow-skinny",
    "polars",
)
"""Compared where both ends have them: a model that needs a missing one says so itself."""
TRANSPORT = ("fsspec", "s3fs", "deltalake")
"""They move bytes: a difference is a warning, not an error."""
OWN_CODE = "code of nightscore"


@dataclass(frozen=True, slots=True)
class NodeRequirements:
    """What a job needs of each worker, beside the driver's versions."""

    variables: tuple[str, ...] = ()
    """Names of environment variables."""
    folders: tuple[str, ...] = ()
    """Paths of folders."""


@dataclass(frozen=True, slots=True)
class NodeReport:
    """What a worker has."""

    host: str
    versions: Mapping[str, str]
    missing_variables: tuple[str, ...]
    missing_folders: tuple[str, ...]


def report_node(requirements: NodeRequirements) -> NodeReport:
    """What this process runs with, and which of the requirements it does not meet."""
    variables = tuple(name for name in requirements.variables if name not in os.environ)
    folders = tuple(folder for folder in requirements.folders if not Path(folder).is_dir())
    return NodeReport(socket.gethostname(), installed_versions(), variables, folders)


@functools.cache
def process_versions() -> dict[str, str]:
    """The versions that this process was started with."""
    return installed_versions()


def installed_versions() -> dict[str, str]:
    """The versions of Python and the installed libraries, and a digest of nightscore's own code.

    Two checkouts of one version of nightscore may differ.
    """
    versions = {"python": platform.python_version()}

    for name in (*REQUIRED, *MODEL_LIBRARIES, *TRANSPORT):
        try:
            versions[name] = installed_version(name)
        except importlib.metadata.PackageNotFoundError:
            continue

    digest = hashlib.sha256()
    # No import statement: the package names the public API, which stands above this module.
    root = Path(str(sys.modules["nightscore"].__file__)).parent

    for name, path in sorted(_code_files(root)):
        digest.update(f"{name}\0".encode() + path.read_bytes())

    versions[OWN_CODE] = digest.hexdigest()[:12]

    return versions


def version_mismatches(
    driver: Mapping[str, str], worker: Mapping[str, str]
) -> tuple[list[str], list[str]]:
    """Where the versions of a driver and a worker differ, each in words.

    Returns:
        Differences for which the worker is refused, and those that are only worth a warning.
    """
    refused: list[str] = []
    warned: list[str] = []

    if driver["python"] != worker["python"]:
        if driver["python"].split(".")[:2] == worker["python"].split(".")[:2]:
            warned.append("python")
        else:
            refused.append("python")

    in_both = driver.keys() & worker.keys()
    must_match = (*REQUIRED, OWN_CODE, *(name for name in MODEL_LIBRARIES if name in in_both))
    refused += [name for name in must_match if driver.get(name) != worker.get(name)]
    warned += [name for name in TRANSPORT if driver.get(name) != worker.get(name)]

    def in_words(name: str) -> str:
        at_driver = driver.get(name, "not installed")
        at_worker = worker.get(name, "not installed")
        return f"{name} {at_worker} (driver: {at_driver})"

    return list(map(in_words, refused)), list(map(in_words, warned))


def _code_files(root: Path) -> Iterator[tuple[str, Path]]:
    """The modules of nightscore but for its flows, which no worker runs.

    Folders may be links, as in a checkout.
    """
    for folder, folders, files in os.walk(root, followlinks=True):
        inner = Path(folder).relative_to(root)
        if inner == Path():
            folders.remove("flows")
        for name in files:
            if name.endswith(".py"):
                yield f"{inner / name}", Path(folder, name)
