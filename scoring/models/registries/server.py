"""A registry behind an MLflow tracking server, asked over REST without MLflow."""

import base64
import contextlib
import os
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nightscore.models.registries.protocol import (
    BASELINE_TAG,
    DIGEST_TAG,
    LOGGED_MODEL_SOURCE,
    ModelVersion,
    RegisteredModel,
)
from nightscore.models.registries.uris import redacted

SCHEMES = ("http://", "https://")
_SPECIAL_ACCESS = (
    "MLFLOW_TRACKING_AUTH",
    "MLFLOW_TRACKING_AWS_SIGV4",
    "MLFLOW_TRACKING_CLIENT_CERT_PATH",
    "MLFLOW_TRACKING_INSECURE_TLS",
    "MLFLOW_TRACKING_SERVER_CERT_PATH",
)
"""With one of these set, MLflow's own client opens the connection."""


def can_ask(uri: str) -> bool:
    """Whether the URI is a server that this module can talk to."""
    needs_client = any(name in os.environ for name in _SPECIAL_ACCESS)
    return uri.startswith(SCHEMES) and not needs_client


class ServerRegistry:
    """Asks a tracking server over its documented REST interface."""

    def __init__(self, uri: str, patience_s: float | None = None) -> None:
        """Nothing is asked yet.

        Args:
            uri: The server's. It may hold credentials.
            patience_s: Seconds for each answer; None: as long as a run waits.
        """
        self._patience_s = patience_s
        self._shown = redacted(uri)
        self._base = f"{self._shown.rstrip('/')}/api/2.0/mlflow/"
        self._user = urllib.parse.urlsplit(uri)

    def version_of_alias(self, name: str, alias: str) -> str | None:
        """See `Registry`."""
        answer = self._get("registered-models/alias", name=name, alias=alias)
        if answer is None:
            return None
        with self._documented():
            return str(int(answer["model_version"]["version"]))

    def version(self, name: str, version: str) -> ModelVersion | None:
        """See `Registry`."""
        answer = self._get("model-versions/get", name=name, version=version)
        if answer is None:
            return None

        place = self._get("model-versions/get-download-uri", name=name, version=version)

        with self._documented():
            stated = answer["model_version"]
            tags = {str(tag["key"]): str(tag["value"]) for tag in stated.get("tags", [])}
            location = place["artifact_uri"] if place else stated["source"]
            if not isinstance(location, str):
                raise TypeError("the place of the artifacts is not a text")

        return ModelVersion(name, version, location, tags.get(DIGEST_TAG), tags.get(BASELINE_TAG))

    def logged_model(self, model_id: str) -> ModelVersion | None:
        """See `Registry`."""
        answer = self._get(f"logged-models/{model_id}")
        if answer is None:
            return None

        with self._documented():
            stated = answer["model"]["info"]
            tags = {str(tag["key"]): str(tag["value"]) for tag in stated.get("tags", [])}
            name, location = stated["name"], stated["artifact_uri"]
            if not isinstance(name, str) or not isinstance(location, str):
                raise TypeError("the name or the place of the artifacts is not a text")

        is_ready = stated.get("status") == "LOGGED_MODEL_READY"
        return ModelVersion(name, model_id, location, tags.get(DIGEST_TAG), is_ready=is_ready)

    def logged_models(self, name: str) -> list[str]:
        """See `Registry`. A server lists them for POST requests only, which are never sent."""
        return []

    def names(self) -> list[str]:
        """See `Registry`."""
        search = self._get("registered-models/search", max_results="1000")
        with self._documented():
            entries = (search or {}).get("registered_models", [])
            return sorted(str(entry["name"]) for entry in entries)

    def model_tag(self, name: str, tag: str) -> str | None:
        """See `Registry`."""
        answer = self._get("registered-models/get", name=name)
        if answer is None:
            return None
        with self._documented():
            return _by_key(answer["registered_model"].get("tags", [])).get(tag)

    def parameters(self, name: str, version: str) -> dict[str, str] | None:
        """See `Registry`."""
        answer = self._get("model-versions/get", name=name, version=version)
        with self._documented():
            stated = (answer or {}).get("model_version", {})
            run_id, source = str(stated.get("run_id", "")), str(stated.get("source", ""))

        run = self._get("runs/get", run_id=run_id) if run_id else None
        match = LOGGED_MODEL_SOURCE.fullmatch(source)
        logged = self._get(f"logged-models/{match[1]}") if match else None
        if run is None and logged is None:
            return None

        with self._documented():
            of_run = ((run or {}).get("run") or {}).get("data", {})
            of_model = ((logged or {}).get("model") or {}).get("data", {})
            return _by_key(of_run.get("params", [])) | _by_key(of_model.get("params", []))

    def model(self, name: str) -> RegisteredModel | None:
        """See `Registry`."""
        model = self._get("registered-models/get", name=name)
        if model is None:
            return None

        quoted = name.replace("'", "''")
        search = self._get("model-versions/search", filter=f"name='{quoted}'", max_results="1000")

        with self._documented():
            entries = (search or {}).get("model_versions", [])
            versions = sorted(int(entry["version"]) for entry in entries)
            aliases = model["registered_model"].get("aliases", [])
            by_alias = {str(entry["alias"]): str(entry["version"]) for entry in aliases}

        return RegisteredModel([str(version) for version in versions], by_alias)

    def _get(self, path: str, **query: str) -> dict[str, Any] | None:
        url = f"{self._base}{path}"
        if query:
            url += f"?{urllib.parse.urlencode(query)}"
        # Its HTTP client takes longer to import than a registry in a file takes to answer.
        from nightscore.models.registries.rest import get_json

        headers = _authorization(os.environ, self._user)
        return get_json(url, headers, self._shown, self._patience_s)

    @contextlib.contextmanager
    def _documented(self) -> Iterator[None]:
        """Report fields that are missing or odd: anything may answer in the server's place."""
        try:
            yield
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            text = f"a field is missing or of another type ({type(error).__name__}: {error})"
            from nightscore.models.registries.rest import unexpected_answer

            raise unexpected_answer(text, self._shown) from error


def _by_key(pairs: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Tags or parameters, as MLflow lists them."""
    return {str(pair["key"]): str(pair["value"]) for pair in pairs}


def _authorization(environment: Mapping[str, str], uri: urllib.parse.SplitResult) -> dict[str, str]:
    if token := environment.get("MLFLOW_TRACKING_TOKEN"):
        return {"Authorization": f"Bearer {token}"}

    user = environment.get("MLFLOW_TRACKING_USERNAME")
    password = environment.get("MLFLOW_TRACKING_PASSWORD", "")

    if uri.username:
        user = urllib.parse.unquote(uri.username)
        password = urllib.parse.unquote(uri.password or "")

    if not user:
        return {}

    pair = f"{user}:{password}"
    return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
