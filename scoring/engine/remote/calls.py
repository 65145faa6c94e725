"""What a cluster is asked to do and what it answers: small records, packed once, read by the two ends only.

The cluster's own processes never unpack them, so that no library of a model is loaded there, and versions are
compared before anything that they could change.
"""

import functools
import hashlib
import importlib.metadata
import io
import os
import pickle
import platform
import socket
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from nightscore.models.registry import ModelVersion

NEEDED = (
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
"""Without one of them, or with another version, results or pickles may be others."""
OF_MODELS = (
    "lightgbm",
    "xgboost",
    "xgboost-cpu",
    "onnxruntime",
    "catboost",
    "mlflow",
    "mlflow-skinny",
    "polars",
)
"""Compared where both ends have them: a model that needs one that is missing says so itself."""
NOTED = ("fsspec", "s3fs", "deltalake")
"""They move bytes: a difference is said, not refused."""


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where a node gets a model by itself: what travels in place of a path of the driver's host."""

    version: ModelVersion
    registry: str = field(repr=False)
    digest: str
    """What the driver found and checked; a node loads nothing else."""


@dataclass(frozen=True, slots=True)
class Call:
    """One function to run in a process of its own on some node."""

    key: str
    """Unique: no call is sent twice."""
    payload: bytes = field(repr=False)
    """Function and arguments, packed."""
    versions: Mapping[str, str]
    """The driver's."""
    environment: Mapping[str, str]
    """Further variables of the process."""
    deadline_s: float | None = None
    """From when it runs; None: as long as it takes."""


Outcome = Literal["done", "raised", "died", "stuck", "again", "differs"]


@dataclass(frozen=True, slots=True)
class Reply:
    """What became of a call. `again`: the cluster has started it a second time by itself, and it was not run."""

    outcome: Outcome
    content: bytes = field(default=b"", repr=False)
    """Pickled: the result, or the exception."""
    found: str = ""
    worker: str = ""
    """Name of the cluster's process."""
    pid: int = 0
    """Of the process that has run it."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What the driver wants to know of a worker before it sends shards there."""

    variables: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Described:
    """A worker's answer."""

    host: str
    versions: Mapping[str, str]
    missing_variables: tuple[str, ...]
    missing_folders: tuple[str, ...]


def describe(asked: Asked) -> Described:
    """What this process runs with, and what of the wanted it does not have."""
    return Described(
        socket.gethostname(),
        fresh_versions(),
        tuple(name for name in asked.variables if name not in os.environ),
        tuple(folder for folder in asked.folders if not Path(folder).is_dir()),
    )


@functools.cache
def versions() -> dict[str, str]:
    """What this process was started with."""
    return fresh_versions()


def fresh_versions() -> dict[str, str]:
    """Python, the libraries that are installed, and a digest of nightscore's own code: two checkouts of one version
    may differ."""
    found = {"python": platform.python_version()}
    for name in (*NEEDED, *OF_MODELS, *NOTED):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    digest = hashlib.sha256()
    # Not an import statement: the package itself names the public API, which stands above this module.
    root = Path(str(sys.modules["nightscore"].__file__)).parent
    for name, path in sorted(_code_files(root)):
        digest.update(f"{name}\0".encode() + path.read_bytes())
    found["code of nightscore"] = digest.hexdigest()[:12]
    return found


def _code_files(root: Path) -> Iterator[tuple[str, Path]]:
    """The modules of nightscore but for its flows, which no worker runs. Folders may be links, as in a checkout."""
    for folder, folders, files in os.walk(root, followlinks=True):
        below = Path(folder).relative_to(root)
        if below == Path():
            folders.remove("flows")
        yield from (
            (f"{below / name}", Path(folder, name)) for name in files if name.endswith(".py")
        )


def differences(
    driver: Mapping[str, str], worker: Mapping[str, str]
) -> tuple[list[str], list[str]]:
    """Differences that are refused, and those that are only said; each in words."""
    refused, noted = [], []

    def words(name: str) -> str:
        return f"{name} {worker.get(name, 'not installed')} (driver: {driver.get(name, 'not installed')})"

    def minor(found: Mapping[str, str]) -> list[str]:
        return found["python"].split(".")[:2]

    if minor(driver) != minor(worker):
        refused.append(words("python"))
    elif driver["python"] != worker["python"]:
        noted.append(words("python"))
    refused += [
        words(name)
        for name in (*NEEDED, "code of nightscore")
        if driver.get(name) != worker.get(name)
    ]
    both = driver.keys() & worker.keys()
    refused += [words(name) for name in OF_MODELS if name in both and driver[name] != worker[name]]
    noted += [words(name) for name in NOTED if driver.get(name) != worker.get(name)]
    return refused, noted


def pack(
    function: Callable[..., Any], arguments: Sequence[object], models: Mapping[Path, ModelSource]
) -> bytes:
    """A call's payload; paths of models of this host are replaced by where a node gets them."""
    buffer = io.BytesIO()
    _Packer(buffer, models).dump((function, tuple(arguments)))
    return buffer.getvalue()


def unpack(
    payload: bytes, locate: Callable[[ModelSource], Path]
) -> tuple[Callable[..., Any], Iterable[Any]]:
    """Function and arguments of a payload, with paths of this host.

    Args:
        payload: Of a call.
        locate: Called for each model; gets it here if need be.
    """
    function, arguments = _Unpacker(io.BytesIO(payload), locate).load()
    return function, arguments


class _Packer(pickle.Pickler):
    def __init__(self, buffer: io.BytesIO, models: Mapping[Path, ModelSource]) -> None:
        super().__init__(buffer, protocol=5)
        self._models = models

    def persistent_id(self, thing: Any) -> ModelSource | None:
        return self._models.get(thing) if isinstance(thing, Path) else None


class _Unpacker(pickle.Unpickler):
    def __init__(self, buffer: io.BytesIO, locate: Callable[[ModelSource], Path]) -> None:
        super().__init__(buffer)
        self._locate = locate

    def persistent_load(self, source: ModelSource) -> Path:
        return self._locate(source)
