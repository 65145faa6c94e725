"""Resolves a model URI to one exact model and fetches its artifacts once per host."""

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from nightscore.errors import (
    InvalidJobError,
    ModelDigestError,
    ModelNotFoundError,
    ScoringError,
)
from nightscore.models.cache import CachedModel, ModelCache
from nightscore.models.registries.client import download_artifacts, set_tag
from nightscore.models.registries.protocol import DIGEST_TAG, ModelVersion, Registry
from nightscore.models.registries.uris import (
    absolute_uri,
    command_arguments,
    local_folder,
    redacted,
    registry_uri,
)
from nightscore.models.registry_catalog import open_registry
from nightscore.schemas.model_uri import (
    MODEL_URI,
    MODEL_URI_FORMS,
    is_logged_model,
    register_command,
)

SHOWN_VERSIONS = 20
"""Versions that the error for an unknown one lists: the newest."""
SHOWN_INCOMPLETE = 3
"""Logged models that are said not to be complete: the newest."""
MLMODEL = "MLmodel"
"""The file that MLflow writes with every model."""
NEAR_CUTOFF = 0.6
CHECK_MODEL = "check the `model` key of the job file and which registry it means"
CORRECT_MODEL = "correct the `model` key of the job file, or the command"


def resolve(model_uri: str, registry: str | None) -> ModelVersion:
    """The exact version or logged model that a URI means now.

    Raises:
        InvalidJobError: It is not a model URI.
        ModelNotFoundError: No such registry, model, version or alias; names what there is. Or the
            model's artifacts are not complete.
        StorageUnavailableError: The registry did not answer.
    """
    match = MODEL_URI.fullmatch(model_uri)
    if match is None:
        raise InvalidJobError(
            "Invalid model URI.",
            expected=MODEL_URI_FORMS,
            found=model_uri,
            next_step=CORRECT_MODEL,
        )

    uri = registry_uri(registry)
    name, version, alias = match["name"], match["version"], match["alias"]

    with open_registry(uri) as opened:
        if match["logged"]:
            return _logged_model(opened, uri, match["logged"])

        if alias:
            version = opened.version_of_alias(name, alias)

        resolved = opened.version(name, version) if version else None
        if resolved is None:
            if is_logged_model(name):
                raise _no_version(opened.logged_model(name), name, registry)
            raise _not_found(opened, uri, name, version, alias)

    return resolved


def _logged_model(registry: Registry, uri: str, model_id: str) -> ModelVersion:
    logged = registry.logged_model(model_id)
    if logged is None:
        raise ModelNotFoundError(
            f"There is no logged model {model_id}.",
            redacted(uri),
            next_step=f"{CHECK_MODEL}; `log_model` returns it as `model_uri`",
        )

    if not logged.is_ready:
        raise ModelNotFoundError(
            f"The logged model {model_id} is not complete.",
            redacted(uri),
            expected="a model whose artifacts are all stored",
            found="an upload that has failed or is still under way",
            next_step="wait until `log_model` has returned, or log the model again",
        )

    return logged


def _no_version(logged: ModelVersion | None, model_id: str, registry: str | None) -> ScoringError:
    """The error for a version or an alias of a logged model."""
    command = register_command(
        logged.name if logged else "NAME", model_id, registry and redacted(registry)
    )
    return ModelNotFoundError(
        f"The logged model {model_id} has neither versions nor aliases.",
        redacted(registry_uri(registry)),
        expected=f"models:/{model_id} alone, or a registered model",
        next_step=f"correct the model's URI; or register it with `{command}`",
    )


def fetch(version: ModelVersion, registry: str | None, cache: ModelCache) -> CachedModel:
    """The model's artifacts in the cache of this host, verified against its pin.

    Nobody changes a logged model. One without a pin must therefore be what this host got first.

    Raises:
        ModelDigestError: They are not what the model was pinned to, or not what it was.
        ModelNotFoundError: The registry names a place that holds no artifacts.
    """
    cached = _fetch(version, registry, cache)
    if version.is_logged_model and version.digest_tag is None:
        _check_unchanged(version, registry, cache, cached.digest)
    return cached


def _fetch(version: ModelVersion, registry: str | None, cache: ModelCache) -> CachedModel:
    uri = registry_uri(registry)
    key = json.dumps([redacted(uri), version.name, version.version, version.location])
    local = local_folder(version.location)

    if local is not None and not local.is_dir():
        raise ModelNotFoundError(
            f"The artifacts of {version} are gone.",
            str(local),
            expected="the folder that the registry names",
            next_step="log the model again, or restore the folder",
        )

    def download(folder: Path) -> None:
        download_artifacts(version.location, folder, uri)

    return cache.get(key, local, download, version.digest_tag)


def _check_unchanged(
    version: ModelVersion, registry: str | None, cache: ModelCache, digest: str
) -> None:
    stored = cache.recall(_version_key(version, registry))
    known_digest = json.loads(stored)["digest"] if stored else digest
    if known_digest == digest:
        return

    arguments = command_arguments(version.uri, registry)
    raise ModelDigestError(
        "The artifacts of the logged model have changed; nothing was loaded.",
        f"{version} at {version.location}",
        expected=known_digest,
        found=digest,
        next_step="find out who changed them. If it was you, log the model again, which gives it a "
        f"new id, or run `nightscore pin {arguments}`",
    )


def remember(version: ModelVersion, registry: str | None, cache: ModelCache, digest: str) -> None:
    """Store what a model is, for a night when the registry does not answer.

    An unpinned version is not stored: it may be another model by then.
    """
    if version.digest_tag is None and not version.is_logged_model:
        return

    text = json.dumps(
        {
            "name": version.name,
            "location": version.location,
            "digest": digest,
            "is_pinned": version.digest_tag is not None,
            "baseline": version.baseline_tag,
        }
    )
    cache.remember(_version_key(version, registry), text)


def recall(
    model_uri: str, registry: str | None, cache: ModelCache
) -> tuple[ModelVersion, CachedModel] | None:
    """A pinned version or a logged model that this host has used before, or None.

    An alias is never recalled: it may point to another version by now.
    """
    match = MODEL_URI.fullmatch(model_uri)
    if match is None or match["alias"]:
        return None

    named = ModelVersion(match["name"] or "", match["version"] or match["logged"], "", None)
    text = cache.recall(_version_key(named, registry))
    if text is None:
        return None

    stored = json.loads(text)
    cached = cache.pinned(stored["digest"])
    if cached is None:
        return None

    is_pinned = stored.get("is_pinned", True)  # older versions stored pinned ones only
    version = replace(
        named,
        name=stored.get("name", named.name),
        location=stored["location"],
        digest_tag=stored["digest"] if is_pinned else None,
        baseline_tag=stored.get("baseline"),
    )

    return version, replace(cached, is_pinned=is_pinned)


def pin(model_uri: str, registry: str | None, cache: ModelCache) -> tuple[ModelVersion, str]:
    """Tag a model with the digest of its artifacts. The same digest again changes nothing.

    Raises:
        ModelDigestError: It is pinned to another digest already.
    """
    version = resolve(model_uri, registry)
    model = _fetch(version, registry, cache)
    if version.digest_tag is None:
        set_tag(version, registry_uri(registry), DIGEST_TAG, model.digest)
    return version, model.digest


def _version_key(version: ModelVersion, registry: str | None) -> str:
    """Under which the cache remembers a model. The id of a logged model says it all."""
    name = "" if version.is_logged_model else version.name
    uri = absolute_uri(registry_uri(registry))  # other folders may have models of the same names
    return json.dumps([redacted(uri), name, version.version])


def _not_found(
    registry: Registry, uri: str, name: str, version: str | None, alias: str | None
) -> ModelNotFoundError:
    where = redacted(uri)
    step = CHECK_MODEL
    model = registry.model(name)

    if model is None:
        return _no_such_model(registry, where, name, f"@{alias}" if alias else f"/{version}")

    versions = "no versions"
    if model.versions:
        noun = "version" if len(model.versions) == 1 else "versions"
        versions = f"{noun} {', '.join(model.versions[-SHOWN_VERSIONS:])}"

    what = f"version {version}"
    if alias and not version:
        what = f"alias {alias}"
        near = _near(alias, list(model.aliases))[:1]
        step = f"did you mean models:/{name}@{near[0]}? If so, {CORRECT_MODEL}" if near else step

    return ModelNotFoundError(
        f"The model {name} has no {what}.",
        where,
        found=f"{versions}; {_listed(model.aliases)}",
        next_step=step,
    )


def _near(name: str, known: Sequence[str]) -> list[str]:
    """The known names that are nearest to a name, the nearest first."""
    import difflib  # only where a name is wrong

    return difflib.get_close_matches(name, known, n=3, cutoff=NEAR_CUTOFF)


def _no_such_model(registry: Registry, where: str, name: str, rest: str) -> ModelNotFoundError:
    """The error for an unknown name, with the nearest ones that the registry has."""
    known: list[str] = []
    logged: list[ModelVersion] = []
    with contextlib.suppress(ScoringError):  # the error that is told must not be hidden by another
        known = registry.names()
        logged = _newest_logged(registry, name)

    near = _near(name, known)
    shown = ", ".join(known[:SHOWN_VERSIONS]) or "none"
    found, step = f"models there: {shown}", CHECK_MODEL
    if near:
        found = f"near: {', '.join(near)}"
        step = f"did you mean models:/{near[0]}{rest}? If so, {CORRECT_MODEL}"
    if logged:
        found, step = _of_logged(logged, where)

    return ModelNotFoundError(
        f"There is no registered model {name}.", where, found=found, next_step=step
    )


def _newest_logged(registry: Registry, name: str) -> list[ModelVersion]:
    """The logged models of a name down to the first that can be used, newest first."""
    newest: list[ModelVersion] = []
    for model_id in registry.logged_models(name)[:SHOWN_VERSIONS]:
        logged = registry.logged_model(model_id)
        if logged is None:
            continue

        newest.append(logged)
        if not _missing_of(logged):
            break
    return newest


def _missing_of(logged: ModelVersion) -> str:
    """What keeps a logged model from being used, as a clause; empty: nothing is known."""
    if not logged.is_ready:
        return "its upload has failed or is still under way"

    local = local_folder(logged.location)
    if local is not None and not (local / MLMODEL).is_file():
        return f"there is no file {MLMODEL} in {local}"
    return ""


def _of_logged(logged: Sequence[ModelVersion], where: str) -> tuple[str, str]:
    """What is found and what to do where only logged models have a name.

    Args:
        logged: Newest first. Only the last may be usable.
        where: The registry, as messages show it.
    """
    usable = logged[-1]
    unusable = [model for model in logged if _missing_of(model)]
    missing = [f"{model.uri} is not complete: {_missing_of(model)}" for model in unusable]

    if usable in unusable:
        found = "logged models of this name only; " + "; ".join(missing[:SHOWN_INCOMPLETE])
        return found, "wait until `log_model` has returned, or log the model again"

    found = f"logged models of this name, the newest {usable.uri}"
    if missing:
        found = f"logged models of this name, the newest complete one {usable.uri}; " + "; ".join(
            missing[:SHOWN_INCOMPLETE]
        )

    command = register_command(usable.name, usable.version, where)
    return found, f"set model: {usable.uri} in the job file, or register it with `{command}`"


def _listed(aliases: Mapping[str, str]) -> str:
    if not aliases:
        return "no aliases"

    shown = ", ".join(f"{alias} ({version})" for alias, version in sorted(aliases.items()))
    return f"{'alias' if len(aliases) == 1 else 'aliases'} {shown}"
