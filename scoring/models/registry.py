"""Resolves a model URI to one exact version and fetches its artifacts once per host.

MLflow costs 1.8 s of CPU to import. Resolving needs three rows of the registry, so a SQLite file and a tracking
server are asked directly; every other store, and every artifact that is not a local folder, goes through MLflow.
"""

import base64
import contextlib
import json
import os
import sqlite3
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from nightscore.errors import InvalidJobError, ModelNotFoundError, StorageUnavailableError
from nightscore.models.cache import CachedModel, ModelCache
from nightscore.models.rest import get_json, unexpected_answer
from nightscore.schemas.job import MODEL_URI

DIGEST_TAG = "nightscore.digest"
BASELINE_TAG = "nightscore.baseline"
"""`{"uri": ..., "sha256": ...}`: where the version's baseline is, and what it must be."""
DEFAULT_REGISTRY = "sqlite:///mlflow.db"
"""MLflow's own default."""


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One exact version."""

    name: str
    version: str
    location: str
    """Where its artifacts are."""
    digest_tag: str | None
    """What the version was pinned to, if it was."""
    baseline_tag: str | None = None
    """Where its baseline is, if it has one."""


class _Registry(Protocol):
    def version_of_alias(self, name: str, alias: str) -> str | None: ...
    def version(self, name: str, version: str) -> ModelVersion | None: ...
    def known(self, name: str) -> tuple[list[str], dict[str, str]] | None: ...


def registry_uri(configured: str | None) -> str:
    """The registry that a job's `registry` key means."""
    return configured or os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_REGISTRY


def shared_uri(configured: str | None) -> str:
    """The registry as other hosts are told: with no credentials that came from this host's environment."""
    return configured or _redacted(registry_uri(None))


def resolve(model_uri: str, registry: str | None) -> ModelVersion:
    """The exact version that a URI means now.

    Raises:
        ModelNotFoundError: No such registry, model, version or alias; names what there is.
        StorageUnavailableError: The registry did not answer.
    """
    match = MODEL_URI.fullmatch(model_uri)
    if match is None:
        raise InvalidJobError(
            "This is no model URI.",
            expected="models:/<name>/<version> or models:/<name>@<alias>",
            found=model_uri,
            next_step="correct model in the job file",
        )
    uri = registry_uri(registry)
    name, version, alias = match["name"], match["version"], match["alias"]
    with _open(uri) as found:
        if alias:
            version = found.version_of_alias(name, alias)
        resolved = found.version(name, version) if version else None
        if resolved is None:
            raise _not_found(found, uri, name, version, alias)
    return resolved


def fetch(version: ModelVersion, registry: str | None, cache: ModelCache) -> CachedModel:
    """The version's artifacts in the cache of this host, verified against its pin.

    Raises:
        ModelDigestError: They are not what the version was pinned to.
        ModelNotFoundError: The registry names a place that holds no artifacts.
    """
    uri = registry_uri(registry)
    key = json.dumps([_redacted(uri), version.name, version.version, version.location])
    local = local_folder(version.location)
    if local is not None and not local.is_dir():
        raise ModelNotFoundError(
            f"The artifacts of {version.name} version {version.version} are gone.",
            str(local),
            expected="the folder that the registry names",
            next_step="log and register the model again, or restore the folder",
        )

    def download(folder: Path) -> None:
        _download(version.location, folder, uri)

    return cache.get(key, local, download, version.digest_tag)


def remember(version: ModelVersion, registry: str | None, cache: ModelCache) -> None:
    """Keep what a pinned version is, for a night when the registry does not answer."""
    if version.digest_tag is not None:
        text = json.dumps(
            {
                "location": version.location,
                "digest": version.digest_tag,
                "baseline": version.baseline_tag,
            }
        )
        cache.remember(_version_key(version.name, version.version, registry), text)


def recall(
    model_uri: str, registry: str | None, cache: ModelCache
) -> tuple[ModelVersion, CachedModel] | None:
    """A pinned version that this host has used before; None: it has not, or only knows an alias.

    An alias is not recalled: it may point elsewhere by now.
    """
    match = MODEL_URI.fullmatch(model_uri)
    if match is None or match["version"] is None:
        return None
    text = cache.recall(_version_key(match["name"], match["version"], registry))
    if text is None:
        return None
    found = json.loads(text)
    cached = cache.pinned(found["digest"])
    version = ModelVersion(
        match["name"], match["version"], found["location"], found["digest"], found.get("baseline")
    )
    return None if cached is None else (version, cached)


def _version_key(name: str, version: str, registry: str | None) -> str:
    return json.dumps([_redacted(registry_uri(registry)), name, version])


def pin(model_uri: str, registry: str | None, cache: ModelCache) -> tuple[ModelVersion, str]:
    """Tag a version with the digest of its artifacts; the same digest again is no change.

    Raises:
        ModelDigestError: It is pinned to another digest already.
    """
    version = resolve(model_uri, registry)
    model = fetch(version, registry, cache)
    if version.digest_tag is None:
        from mlflow import MlflowClient

        client = MlflowClient(
            tracking_uri=registry_uri(registry), registry_uri=registry_uri(registry)
        )
        client.set_model_version_tag(version.name, version.version, DIGEST_TAG, model.digest)
    return version, model.digest


@contextlib.contextmanager
def _open(uri: str) -> Iterator[_Registry]:
    if uri.startswith("sqlite:///"):
        path = Path(uri.removeprefix("sqlite:///").split("?")[0])
        if not path.is_file():
            raise ModelNotFoundError(
                "There is no model registry.",
                uri,
                expected=f"the SQLite file {path.absolute()}",
                next_step="set `registry` in the job file or MLFLOW_TRACKING_URI",
            )
        # mode=ro: a lookup must never create or migrate a registry.
        with contextlib.closing(
            sqlite3.connect(f"file:{urllib.parse.quote(str(path))}?mode=ro", uri=True)
        ) as db:
            try:
                yield _SqliteRegistry(db)
            except sqlite3.OperationalError as error:
                raise StorageUnavailableError(
                    "The model registry cannot be read.",
                    uri,
                    found=str(error),
                    next_step="run `mlflow db upgrade` on it if tables are missing; check its disk and who locks it",
                ) from error
            except sqlite3.DatabaseError as error:
                raise ModelNotFoundError(
                    "The SQLite file is no MLflow registry, or one of a version that is not known.",
                    uri,
                    found=str(error),
                    next_step="run `mlflow db upgrade` on it, or name another registry",
                ) from error
    elif uri.startswith(("http://", "https://")) and not any(
        v in os.environ for v in _SPECIAL_ACCESS
    ):
        yield _RestRegistry(uri)
    else:
        yield _ClientRegistry(uri)


class _SqliteRegistry:
    """Reads the registry's tables, whose names and columns MLflow has kept since 2.0."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def version_of_alias(self, name: str, alias: str) -> str | None:
        query = "SELECT version FROM registered_model_aliases WHERE name = ? AND alias = ?"
        row = self._db.execute(query, (name, alias)).fetchone()
        return str(row[0]) if row else None

    def version(self, name: str, version: str) -> ModelVersion | None:
        query = (
            "SELECT coalesce(storage_location, source) FROM model_versions "
            "WHERE name = ? AND version = ? AND current_stage != 'Deleted_Internal'"
        )
        row = self._db.execute(query, (name, int(version))).fetchone()
        if row is None:
            return None
        query = "SELECT key, value FROM model_version_tags WHERE name = ? AND version = ?"
        tags = dict(self._db.execute(query, (name, int(version))).fetchall())
        return ModelVersion(
            name, version, str(row[0]), tags.get(DIGEST_TAG), tags.get(BASELINE_TAG)
        )

    def known(self, name: str) -> tuple[list[str], dict[str, str]] | None:
        if (
            self._db.execute("SELECT 1 FROM registered_models WHERE name = ?", (name,)).fetchone()
            is None
        ):
            return None
        query = (
            "SELECT version FROM model_versions "
            "WHERE name = ? AND current_stage != 'Deleted_Internal' ORDER BY version"
        )
        versions = [str(row[0]) for row in self._db.execute(query, (name,))]
        aliases = self._db.execute(
            "SELECT alias, version FROM registered_model_aliases WHERE name = ?", (name,)
        )
        return versions, {alias: str(version) for alias, version in aliases}


_SPECIAL_ACCESS = (
    "MLFLOW_TRACKING_AUTH",
    "MLFLOW_TRACKING_AWS_SIGV4",
    "MLFLOW_TRACKING_CLIENT_CERT_PATH",
    "MLFLOW_TRACKING_INSECURE_TLS",
    "MLFLOW_TRACKING_SERVER_CERT_PATH",
)
"""With one of these set, MLflow's own client opens the connection."""


class _RestRegistry:
    """Asks a tracking server over its documented REST interface."""

    def __init__(self, uri: str) -> None:
        self._shown = _redacted(uri)
        self._base = f"{self._shown.rstrip('/')}/api/2.0/mlflow/"
        self._user = urllib.parse.urlsplit(uri)

    def version_of_alias(self, name: str, alias: str) -> str | None:
        found = self._get("registered-models/alias", name=name, alias=alias)
        if found is None:
            return None
        with self._documented():
            return str(int(found["model_version"]["version"]))

    def version(self, name: str, version: str) -> ModelVersion | None:
        found = self._get("model-versions/get", name=name, version=version)
        if found is None:
            return None
        place = self._get("model-versions/get-download-uri", name=name, version=version)

        with self._documented():
            tags = {
                str(tag["key"]): str(tag["value"]) for tag in found["model_version"].get("tags", [])
            }
            location = place["artifact_uri"] if place else found["model_version"]["source"]
            if not isinstance(location, str):
                raise TypeError("the place of the artifacts is no text")
        return ModelVersion(name, version, location, tags.get(DIGEST_TAG), tags.get(BASELINE_TAG))

    def known(self, name: str) -> tuple[list[str], dict[str, str]] | None:
        model = self._get("registered-models/get", name=name)
        if model is None:
            return None
        text = name.replace("'", "''")
        found = (
            self._get("model-versions/search", filter=f"name='{text}'", max_results="1000") or {}
        )

        with self._documented():
            versions = sorted(int(entry["version"]) for entry in found.get("model_versions", []))
            aliases = model["registered_model"].get("aliases", [])
            by_alias = {str(entry["alias"]): str(entry["version"]) for entry in aliases}
        return [str(version) for version in versions], by_alias

    def _get(self, path: str, **query: str) -> dict[str, Any] | None:
        url = f"{self._base}{path}?{urllib.parse.urlencode(query)}"
        return get_json(url, _authorization(os.environ, self._user), self._shown)

    @contextlib.contextmanager
    def _documented(self) -> Iterator[None]:
        """Whoever answers in the server's place may leave fields out, or fill them with anything."""
        try:
            yield
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            text = f"a field is missing or of another type ({type(error).__name__}: {error})"
            raise unexpected_answer(text, self._shown) from error


class _ClientRegistry:
    """Every other store that MLflow knows."""

    def __init__(self, uri: str) -> None:
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        try:
            self._client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        except ImportError as error:  # a database's driver
            raise InvalidJobError(
                "The model registry cannot be opened: a package is missing.",
                _redacted(uri),
                found=str(error),
                next_step="install it beside nightscore, or name an MLflow server as `registry` in the job file",
            ) from error
        except (
            Exception
        ) as error:  # (a database raises its driver's own, whose text may hold the URI)
            raise StorageUnavailableError(
                "The model registry did not answer.",
                _redacted(uri),
                found=type(error).__name__,
                next_step="check `registry` in the job file, the database and the network, then run again",
            ) from error
        self._error = MlflowException

    def version_of_alias(self, name: str, alias: str) -> str | None:
        try:
            return str(self._client.get_model_version_by_alias(name, alias).version)
        except self._error as error:
            self._check_absent(error)
            return None

    def version(self, name: str, version: str) -> ModelVersion | None:
        try:
            found = self._client.get_model_version(name, version)
            location = self._client.get_model_version_download_uri(name, version)
        except self._error as error:
            self._check_absent(error)
            return None
        return ModelVersion(
            name, version, location, found.tags.get(DIGEST_TAG), found.tags.get(BASELINE_TAG)
        )

    def known(self, name: str) -> tuple[list[str], dict[str, str]] | None:
        try:
            model = self._client.get_registered_model(name)
        except self._error as error:
            self._check_absent(error)
            return None
        versions = self._client.search_model_versions(f"name='{name}'")
        return sorted((str(v.version) for v in versions), key=int), {
            a: str(v) for a, v in model.aliases.items()
        }

    def _check_absent(self, error: Any) -> None:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return
        raise StorageUnavailableError(
            "The model registry did not answer.",
            found=type(error).__name__,
            next_step="check registry in the job file, the server and the network, then run again",
        ) from error


def _not_found(
    registry: _Registry, uri: str, name: str, version: str | None, alias: str | None
) -> ModelNotFoundError:
    known = registry.known(name)
    where = _redacted(uri)
    step = "check the `model` key of the job file and which registry it means"
    if known is None:
        return ModelNotFoundError(f"There is no registered model {name}.", where, next_step=step)
    versions, aliases = known
    found = f"versions {', '.join(versions[-20:]) or 'none'}; aliases {_listed(aliases)}"
    what = f"alias {alias}" if alias and not version else f"version {version}"
    return ModelNotFoundError(
        f"The model {name} has no {what}.", where, found=found, next_step=step
    )


def _listed(aliases: Mapping[str, str]) -> str:
    return ", ".join(f"{alias} ({version})" for alias, version in sorted(aliases.items())) or "none"


def _authorization(environment: Mapping[str, str], uri: urllib.parse.SplitResult) -> dict[str, str]:
    if token := environment.get("MLFLOW_TRACKING_TOKEN"):
        return {"Authorization": f"Bearer {token}"}
    user = environment.get("MLFLOW_TRACKING_USERNAME")
    password = environment.get("MLFLOW_TRACKING_PASSWORD", "")
    if uri.username:
        user, password = (
            urllib.parse.unquote(uri.username),
            urllib.parse.unquote(uri.password or ""),
        )
    if user:
        pair = f"{user}:{password}"
        return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
    return {}


def _redacted(uri: str) -> str:
    parts = urllib.parse.urlsplit(uri)
    if "@" not in parts.netloc:
        return uri
    return parts._replace(netloc=parts.netloc.rsplit("@", 1)[1]).geturl()


def local_folder(location: str) -> Path | None:
    parts = urllib.parse.urlsplit(location)
    if parts.scheme == "file":
        return Path(urllib.parse.unquote(parts.path))
    return None if parts.scheme else Path(location)


def _download(location: str, folder: Path, tracking_uri: str) -> None:
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    import mlflow.artifacts
    from mlflow.exceptions import MlflowException

    try:
        found = mlflow.artifacts.download_artifacts(
            artifact_uri=location,
            dst_path=str(folder),
            tracking_uri=tracking_uri,
            registry_uri=tracking_uri,
        )
    except (MlflowException, OSError) as error:
        raise StorageUnavailableError(
            "The model's artifacts cannot be downloaded.",
            location,
            found=str(error).splitlines()[0],
            next_step="check the registry's artifact store and its credentials, then run again",
        ) from error
    inner = Path(found)
    if inner.resolve() != folder.resolve():  # MLflow keeps the last part of the location
        for child in inner.iterdir():
            child.rename(folder / child.name)
        inner.rmdir()
