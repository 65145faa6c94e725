"""Says which versions are installed, without importing any of them."""

import json
import platform
import sys
from importlib import metadata

LIBRARIES = (
    "pyarrow",
    "polars",
    "numpy",
    "scikit-learn",
    "mlflow",
    "prefect",
    "deltalake",
    "lightgbm",
    "xgboost",
    "onnxruntime",
)
"""What decides over results, records and tables. What is not installed is left out."""

SAME_LIBRARY = {"xgboost": "xgboost-cpu", "mlflow": "mlflow-skinny"}
"""Packages that hold the same library, or a part of it."""


def installed_versions() -> dict[str, str]:
    """The versions, nightscore's own first."""
    versions = {"nightscore": _version("nightscore") or "unknown"}
    versions["python"] = platform.python_version()

    for name in LIBRARIES:
        version = _version(name) or _version(SAME_LIBRARY.get(name, name))
        if version is not None:
            versions[name] = version

    return versions


def print_versions(*, as_json: bool) -> None:
    """Print the versions on standard output."""
    versions = installed_versions()
    if as_json:
        sys.stdout.write(json.dumps(versions, indent=2) + "\n")
        return

    width = max(map(len, versions))
    for name, version in versions.items():
        sys.stdout.write(f"{name:<{width}}  {version}\n")


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
