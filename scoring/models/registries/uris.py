"""URIs of registries and artifacts, and commands that name them."""

import os
import shlex
import urllib.parse
from pathlib import Path

SQLITE = "sqlite:///"
DEFAULT_REGISTRY = f"{SQLITE}mlflow.db"
"""MLflow's own default."""


def registry_uri(configured: str | None) -> str:
    """The registry that a job's `registry` key means."""
    return configured or os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_REGISTRY


def absolute_uri(uri: str) -> str:
    """The same registry, wherever a process starts: a relative path begins in this folder."""
    if uri.startswith(SQLITE) and not uri.startswith(f"{SQLITE}/"):
        return f"{SQLITE}{os.path.abspath(uri.removeprefix(SQLITE))}"  # noqa: PTH100 (need not exist)
    return str(Path(uri).absolute()) if Path(uri).is_dir() else uri


def shared_uri(configured: str | None) -> str:
    """The registry as other hosts may see it: without credentials from this host's environment."""
    return configured or redacted(registry_uri(None))


def redacted(uri: str) -> str:
    """The URI without user and password."""
    parts = urllib.parse.urlsplit(uri)
    if "@" not in parts.netloc:
        return uri
    return parts._replace(netloc=parts.netloc.rsplit("@", 1)[1]).geturl()


def command_arguments(model_uri: str, registry: str | None) -> str:
    """What `nightscore pin` and `nightscore model inspect` take, to be pasted into a shell."""
    words = [model_uri]
    if registry:
        words += ["--registry", redacted(registry)]
    return shlex.join(words)


def local_folder(location: str) -> Path | None:
    """The folder that a location means on this host, or None if it is elsewhere."""
    parts = urllib.parse.urlsplit(location)
    if parts.scheme == "file":
        return Path(urllib.parse.unquote(parts.path))
    return None if parts.scheme else Path(location)
