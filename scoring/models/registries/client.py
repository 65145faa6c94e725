"""Every other registry, and all changes of one: through MLflow's own client."""

import os
from pathlib import Path
from typing import Any

from nightscore.errors import InvalidJobError, StorageUnavailableError
from nightscore.models.registries.protocol import (
    BASELINE_TAG,
    DIGEST_TAG,
    LOGGED_MODEL_SOURCE,
    ModelVersion,
    RegisteredModel,
)
from nightscore.models.registries.uris import redacted

SHOWN_ANSWER = 200
"""Characters of a registry's refusal."""


class ClientRegistry:
    """Asks MLflow's client, which knows every kind of store. It costs 1.8 s of CPU to import."""

    def __init__(self, uri: str) -> None:
        """Open a client.

        Raises:
            InvalidJobError: A package for this kind of store is missing.
            StorageUnavailableError: The store does not answer.
        """
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        try:
            self._client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        except ImportError as error:  # a database's driver
            raise InvalidJobError(
                "The model registry cannot be opened: a package is missing.",
                redacted(uri),
                found=str(error),
                next_step="install it beside nightscore, or name an MLflow server as `registry` in "
                "the job file",
            ) from error
        except Exception as error:
            # A database raises its driver's own errors, whose text may hold the URI.
            raise StorageUnavailableError(
                "The model registry did not answer.",
                redacted(uri),
                found=type(error).__name__,
                next_step="check `registry` in the job file, the database and the network, then "
                "run again",
            ) from error

        self._error = MlflowException
        self._shown = redacted(uri)

    def version_of_alias(self, name: str, alias: str) -> str | None:
        """See `Registry`."""
        try:
            return str(self._client.get_model_version_by_alias(name, alias).version)
        except self._error as error:
            self._check_absent(error)
            return None

    def version(self, name: str, version: str) -> ModelVersion | None:
        """See `Registry`."""
        try:
            stated = self._client.get_model_version(name, version)
            location = self._client.get_model_version_download_uri(name, version)
        except self._error as error:
            self._check_absent(error)
            return None
        return ModelVersion(
            name, version, location, stated.tags.get(DIGEST_TAG), stated.tags.get(BASELINE_TAG)
        )

    def logged_model(self, model_id: str) -> ModelVersion | None:
        """See `Registry`."""
        try:
            stated = self._client.get_logged_model(model_id)
        except self._error as error:
            self._check_absent(error)
            return None
        return ModelVersion(
            str(stated.name),
            model_id,
            str(stated.artifact_location),
            stated.tags.get(DIGEST_TAG),
            is_ready=str(stated.status) == "READY",
        )

    def logged_models(self, name: str) -> list[str]:
        """See `Registry`."""
        quoted = name.replace("'", "''")
        try:
            experiments = self._client.search_experiments()
            found = self._client.search_logged_models(
                [experiment.experiment_id for experiment in experiments], f"name = '{quoted}'"
            )
        except self._error as error:
            self._check_absent(error)
            return []
        return [str(model.model_id) for model in found]

    def names(self) -> list[str]:
        """See `Registry`."""
        try:
            models = self._client.search_registered_models()
        except self._error as error:
            self._check_absent(error)
            return []
        return sorted(str(model.name) for model in models)

    def model(self, name: str) -> RegisteredModel | None:
        """See `Registry`."""
        try:
            model = self._client.get_registered_model(name)
        except self._error as error:
            self._check_absent(error)
            return None

        versions = self._client.search_model_versions(f"name='{name}'")
        numbers = sorted((str(version.version) for version in versions), key=int)
        by_alias = {alias: str(version) for alias, version in model.aliases.items()}

        return RegisteredModel(numbers, by_alias)

    def model_tag(self, name: str, tag: str) -> str | None:
        """See `Registry`."""
        try:
            value = self._client.get_registered_model(name).tags.get(tag)
        except self._error as error:
            self._check_absent(error)
            return None
        return None if value is None else str(value)

    def parameters(self, name: str, version: str) -> dict[str, str] | None:
        """See `Registry`."""
        try:
            stated = self._client.get_model_version(name, version)
        except self._error as error:
            self._check_absent(error)
            return None

        logged = LOGGED_MODEL_SOURCE.fullmatch(str(stated.source or ""))
        if not stated.run_id and logged is None:
            return None

        parameters: dict[str, str] = {}
        try:
            if stated.run_id:
                parameters |= self._client.get_run(stated.run_id).data.params
            if logged is not None:
                parameters |= self._client.get_logged_model(logged[1]).params
        except self._error as error:  # the run may have been deleted since
            self._check_absent(error)

        return parameters

    def set_alias(self, name: str, alias: str, version: str) -> None:
        """See `WritableRegistry`.

        Raises:
            StorageUnavailableError: The registry did not answer, or refused.
        """
        try:
            self._client.set_registered_model_alias(name, alias, version)
        except self._error as error:
            raise self._refused(f"The alias {alias} was not moved.", error) from error

    def set_model_tag(self, name: str, tag: str, value: str) -> None:
        """See `WritableRegistry`.

        Raises:
            StorageUnavailableError: The registry did not answer, or refused.
        """
        try:
            self._client.set_registered_model_tag(name, tag, value)
        except self._error as error:
            raise self._refused(f"The tag {tag} was not set.", error) from error

    def _refused(self, what: str, error: Any) -> StorageUnavailableError:
        return StorageUnavailableError(
            what,
            self._shown,
            found=str(error).splitlines()[0][:SHOWN_ANSWER],
            next_step="check that the model registry answers and that you may change the model, "
            "then give the same command again",
        )

    def _check_absent(self, error: Any) -> None:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return
        raise StorageUnavailableError(
            "The model registry did not answer.",
            found=type(error).__name__,
            next_step="check registry in the job file, the server and the network, then run again",
        ) from error


def set_tag(version: ModelVersion, uri: str, tag: str, value: str) -> None:
    """Set a tag of a version or a logged model."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    if version.is_logged_model:
        client.set_logged_model_tags(version.version, {tag: value})
    else:
        client.set_model_version_tag(version.name, version.version, tag, value)


def download_artifacts(location: str, folder: Path, tracking_uri: str) -> None:
    """Copy a version's artifacts from the registry's artifact store into a folder.

    Raises:
        StorageUnavailableError: They cannot be downloaded.
    """
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    import mlflow.artifacts
    from mlflow.exceptions import MlflowException

    try:
        downloaded = mlflow.artifacts.download_artifacts(
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

    inner = Path(downloaded)
    if inner.resolve() != folder.resolve():  # MLflow keeps the last part of the location
        for child in inner.iterdir():
            child.rename(folder / child.name)

        inner.rmdir()
