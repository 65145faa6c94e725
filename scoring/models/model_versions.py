"""Resolves a model URI to one exact version and fetches its artifacts once per host."""

import contextlib
import difflib
import json
from collections.abc import Mapping
from pathlib import Path

from nightscore.errors import InvalidJobError, ModelNotFoundError, ScoringError
from nightscore.models.cache import CachedModel, ModelCache
from nightscore.models.registries.client import download_artifacts, set_tag
from nightscore.models.registries.protocol import DIGEST_TAG, ModelVersion, Registry
from nightscore.models.registries.uris import local_folder, redacted, registry_uri
from nightscore.models.registry_catalog import open_registry
from nightscore.schemas.job import MODEL_URI

SHOWN_VERSIONS = 20
"""Versions that the error for an unknown one lists: the newest."""
NEAR_CUTOFF = 0.6
CHECK_MODEL = "check the `model` key of the job file and which registry it means"
CORRECT_MODEL = "correct the `model` key of the job file, or the command"


def resolve(model_uri: str, registry: str | None) -> ModelVersion:
    """The exact version that a URI means now.

    Raises:
        InvalidJobError: It is not a model URI.
        ModelNotFoundError: No such registry, model, version or alias; names what there is.
        StorageUnavailableError: The registry did not answer.
    """
    match = MODEL_URI.fullmatch(model_uri)
    if match is None:
        raise InvalidJobError(
            "Invalid model URI.",
            expected="models:/<name>/<version> or models:/<name>@<alias>",
            found=model_uri,
            next_step="correct model in the job file",
        )

    uri = registry_uri(registry)
    name, version, alias = match["name"], match["version"], match["alias"]

    with open_registry(uri) as opened:
        if alias:
            version = opened.version_of_alias(name, alias)

        resolved = opened.version(name, version) if version else None
        if resolved is None:
            raise _not_found(opened, uri, name, version, alias)

    return resolved


def fetch(version: ModelVersion, registry: str | None, cache: ModelCache) -> CachedModel:
    """The version's artifacts in the cache of this host, verified against its pin.

    Raises:
        ModelDigestError: They are not what the version was pinned to.
        ModelNotFoundError: The registry names a place that holds no artifacts.
    """
    uri = registry_uri(registry)
    key = json.dumps([redacted(uri), version.name, version.version, version.location])
    local = local_folder(version.location)

    if local is not None and not local.is_dir():
        raise ModelNotFoundError(
            f"The artifacts of {version.name} version {version.version} are gone.",
            str(local),
            expected="the folder that the registry names",
            next_step="log and register the model again, or restore the folder",
        )

    def download(folder: Path) -> None:
        download_artifacts(version.location, folder, uri)

    return cache.get(key, local, download, version.digest_tag)


def remember(version: ModelVersion, registry: str | None, cache: ModelCache) -> None:
    """Store what a pinned version is, for a night when the registry does not answer."""
    if version.digest_tag is None:
        return

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
    """A pinned version that this host has used before, or None.

    An alias is never recalled: it may point to another version by now.
    """
    match = MODEL_URI.fullmatch(model_uri)
    if match is None or match["version"] is None:
        return None

    text = cache.recall(_version_key(match["name"], match["version"], registry))
    if text is None:
        return None

    stored = json.loads(text)
    cached = cache.pinned(stored["digest"])
    if cached is None:
        return None

    version = ModelVersion(
        match["name"],
        match["version"],
        stored["location"],
        stored["digest"],
        stored.get("baseline"),
    )

    return version, cached


def pin(model_uri: str, registry: str | None, cache: ModelCache) -> tuple[ModelVersion, str]:
    """Tag a version with the digest of its artifacts. The same digest again changes nothing.

    Raises:
        ModelDigestError: It is pinned to another digest already.
    """
    version = resolve(model_uri, registry)
    model = fetch(version, registry, cache)
    if version.digest_tag is None:
        set_tag(version, registry_uri(registry), DIGEST_TAG, model.digest)
    return version, model.digest


def _version_key(name: str, version: str, registry: str | None) -> str:
    return json.dumps([redacted(registry_uri(registry)), name, version])


def _not_found(
    registry: Registry, uri: str, name: str, version: str | None, alias: str | None
) -> ModelNotFoundError:
    where = redacted(uri)
    step = CHECK_MODEL
    model = registry.model(name)

    if model is None:
        return _no_such_model(registry, where, name, f"@{alias}" if alias else f"/{version}")

    versions = ", ".join(model.versions[-SHOWN_VERSIONS:]) or "none"
    what = f"version {version}"
    if alias and not version:
        what = f"alias {alias}"
        near = difflib.get_close_matches(alias, model.aliases, n=1, cutoff=NEAR_CUTOFF)
        step = f"did you mean models:/{name}@{near[0]}? If so, {CORRECT_MODEL}" if near else step

    return ModelNotFoundError(
        f"The model {name} has no {what}.",
        where,
        found=f"versions {versions}; aliases {_listed(model.aliases)}",
        next_step=step,
    )


def _no_such_model(registry: Registry, where: str, name: str, rest: str) -> ModelNotFoundError:
    """The error for an unknown name, with the nearest ones that the registry has."""
    known: list[str] = []
    with contextlib.suppress(ScoringError):  # the error that is told must not be hidden by another
        known = registry.names()

    near = difflib.get_close_matches(name, known, n=3, cutoff=NEAR_CUTOFF)
    shown = ", ".join(known[:SHOWN_VERSIONS]) or "none"
    found, step = f"models there: {shown}", CHECK_MODEL
    if near:
        found = f"near: {', '.join(near)}"
        step = f"did you mean models:/{near[0]}{rest}? If so, {CORRECT_MODEL}"

    return ModelNotFoundError(
        f"There is no registered model {name}.", where, found=found, next_step=step
    )


def _listed(aliases: Mapping[str, str]) -> str:
    return ", ".join(f"{alias} ({version})" for alias, version in sorted(aliases.items())) or "none"
