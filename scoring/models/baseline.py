"""A model version's baseline: a profile of training or hold-out data, logged in MLflow."""

import json
import re
import tempfile
from pathlib import Path
from typing import Any

from nightscore.errors import ModelDigestError, StorageUnavailableError
from nightscore.models.cache import ModelCache, digest_bytes
from nightscore.models.registries.protocol import BASELINE_TAG, ModelVersion
from nightscore.models.registries.uris import local_folder, registry_uri
from nightscore.storage.documents import read_json

EXPERIMENT = "nightscore-baselines"
"""Holds the baselines of versions whose run is not known."""
FOLDER = "nightscore"
SHOWN_TAG = 200


def fetch_baseline(
    version: ModelVersion, registry: str | None, cache: ModelCache
) -> tuple[str, bytes] | None:
    """The sha256 and the content of the version's baseline, or None.

    Raises:
        ModelDigestError: The content is not what the version says.
        StorageUnavailableError: It cannot be downloaded.
    """
    if version.baseline_tag is None:
        return None

    place, expected = _parse(version)
    cached = cache.baseline(expected)
    if cached is not None:
        return expected, cached

    content = _download(place, registry_uri(registry))
    digest = digest_bytes(content)
    if digest != expected:
        raise ModelDigestError(
            f"The baseline of {version.name} version {version.version} is not the one that was "
            "logged.",
            place,
            expected=expected,
            found=digest,
            next_step="find out who changed it; `nightscore baseline` logs a new one",
        )

    cache.write_baseline(expected, content)
    return expected, content


def baseline_digest(version: ModelVersion) -> str:
    """The sha256 of the version's baseline. Empty: it has none, or none that can be found."""
    if version.baseline_tag is None:
        return ""
    try:
        return _parse(version)[1]
    except ModelDigestError:
        return ""


def log_baseline(version: ModelVersion, registry: str | None, content: bytes) -> str:
    """Log a baseline with the version's run, and tag the version with its place and sha256.

    Returns:
        The sha256.
    """
    from mlflow import MlflowClient

    uri, digest = registry_uri(registry), digest_bytes(content)
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    run_id = client.get_model_version(version.name, version.version).run_id

    if not run_id:
        run_id = _create_run(client, version, uri)

    short_digest = digest.removeprefix("sha256:")[:12]
    name = f"baseline-{version.name}-{version.version}-{short_digest}.parquet"

    with tempfile.TemporaryDirectory(prefix="nightscore-baseline-") as folder:
        path = Path(folder, name)
        path.write_bytes(content)
        client.log_artifact(run_id, str(path), FOLDER)

    place = f"{client.get_run(run_id).info.artifact_uri}/{FOLDER}/{name}"
    tag = json.dumps({"uri": place, "sha256": digest})
    client.set_model_version_tag(version.name, version.version, BASELINE_TAG, tag)

    return digest


def _create_run(client: Any, version: ModelVersion, registry: str) -> str:
    """A finished run for the artifacts of a version that no run has logged."""
    experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is not None:
        experiment_id = experiment.experiment_id
    else:
        artifacts = _artifacts_beside(registry)
        experiment_id = client.create_experiment(EXPERIMENT, artifact_location=artifacts)

    name = f"{version.name}-{version.version}"
    run_id = str(client.create_run(experiment_id, run_name=name).info.run_id)
    client.set_terminated(run_id)

    return run_id


def _artifacts_beside(registry: str) -> str | None:
    """A folder beside a SQLite registry. MLflow's own default depends on the current folder."""
    if not registry.startswith("sqlite:///"):
        return None
    path = Path(registry.removeprefix("sqlite:///").split("?")[0])
    return path.absolute().with_name(EXPERIMENT).as_uri()


def _parse(version: ModelVersion) -> tuple[str, str]:
    """Where the baseline is, and its sha256."""
    try:
        tag = read_json(version.baseline_tag or "")
        place, digest = str(tag["uri"]), str(tag["sha256"])
    except (ValueError, KeyError, TypeError):
        place = digest = ""

    if not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
        raise ModelDigestError(
            f"The tag {BASELINE_TAG} of {version.name} version {version.version} cannot be read.",
            expected='{"uri": ..., "sha256": "sha256:..."}',
            found=(version.baseline_tag or "")[:SHOWN_TAG],
            next_step="log the baseline again with `nightscore baseline`",
        )

    return place, digest


def _download(uri: str, tracking_uri: str) -> bytes:
    try:
        local = local_folder(uri)
        if local is not None:
            return local.read_bytes()

        import mlflow.artifacts

        with tempfile.TemporaryDirectory(prefix="nightscore-baseline-") as folder:
            downloaded = mlflow.artifacts.download_artifacts(
                artifact_uri=uri,
                dst_path=folder,
                tracking_uri=tracking_uri,
                registry_uri=tracking_uri,
            )
            return Path(downloaded).read_bytes()
    except Exception as error:
        raise StorageUnavailableError(
            "The model's baseline cannot be read.",
            uri,
            found=f"{type(error).__name__}: {str(error)[:200]}",
            next_step="restore it, or log it again with `nightscore baseline`",
        ) from error
