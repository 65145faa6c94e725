"""A model version's baseline: what its training or hold-out data looked like, logged with the version in MLflow."""

import json
import re
import tempfile
from pathlib import Path

from nightscore.errors import ModelDigestError, StorageUnavailableError
from nightscore.models.cache import ModelCache, digest_bytes
from nightscore.models.registries.protocol import BASELINE_TAG, ModelVersion
from nightscore.models.registries.uris import local_folder, registry_uri
from nightscore.storage.documents import read_json

EXPERIMENT = "nightscore-baselines"
"""For versions whose run is not known."""
FOLDER = "nightscore"


def fetch_baseline(
    version: ModelVersion, registry: str | None, cache: ModelCache
) -> tuple[str, bytes] | None:
    """The sha256 and the content of the version's baseline; None: it has none.

    Raises:
        ModelDigestError: It is not what the version says.
        StorageUnavailableError: It cannot be downloaded.
    """
    if version.baseline_tag is None:
        return None
    place, expected = _parse(version)
    kept = cache.baseline(expected)
    if kept is not None:
        return expected, kept
    content = _download(place, registry_uri(registry))
    found = digest_bytes(content)
    if found != expected:
        raise ModelDigestError(
            f"The baseline of {version.name} version {version.version} is not the one that was logged.",
            place,
            expected=expected,
            found=found,
            next_step="find out who changed it; `nightscore baseline` logs a new one",
        )
    cache.keep_baseline(expected, content)
    return expected, content


def log_baseline(version: ModelVersion, registry: str | None, content: bytes) -> str:
    """Keep a baseline with the version's run, and tag the version with its place and sha256; the sha256."""
    from mlflow import MlflowClient

    uri, digest = registry_uri(registry), digest_bytes(content)
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    run_id = client.get_model_version(version.name, version.version).run_id
    if not run_id:
        experiment = client.get_experiment_by_name(EXPERIMENT)
        experiment_id = (
            experiment.experiment_id
            if experiment
            else client.create_experiment(EXPERIMENT, artifact_location=_artifacts_beside(uri))
        )
        run_id = client.create_run(
            experiment_id, run_name=f"{version.name}-{version.version}"
        ).info.run_id
        client.set_terminated(run_id)
    name = (
        f"baseline-{version.name}-{version.version}-{digest.removeprefix('sha256:')[:12]}.parquet"
    )
    with tempfile.TemporaryDirectory(prefix="nightscore-baseline-") as folder:
        path = Path(folder, name)
        path.write_bytes(content)
        client.log_artifact(run_id, str(path), FOLDER)
    place = f"{client.get_run(run_id).info.artifact_uri}/{FOLDER}/{name}"
    tag = json.dumps({"uri": place, "sha256": digest})
    client.set_model_version_tag(version.name, version.version, BASELINE_TAG, tag)
    return digest


def _artifacts_beside(registry: str) -> str | None:
    """Beside a SQLite registry: MLflow's own default is below whatever folder the command was given in."""
    if not registry.startswith("sqlite:///"):
        return None
    return (
        Path(registry.removeprefix("sqlite:///").split("?")[0])
        .absolute()
        .with_name(EXPERIMENT)
        .as_uri()
    )


def _parse(version: ModelVersion) -> tuple[str, str]:
    try:
        tag = read_json(version.baseline_tag or "")
        place, digest = str(tag["uri"]), str(tag["sha256"])
    except (ValueError, KeyError, TypeError):
        place = digest = ""
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
        raise ModelDigestError(
            f"The tag {BASELINE_TAG} of {version.name} version {version.version} cannot be read.",
            expected='{"uri": ..., "sha256": "sha256:..."}',
            found=(version.baseline_tag or "")[:200],
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
            found = mlflow.artifacts.download_artifacts(
                artifact_uri=uri,
                dst_path=folder,
                tracking_uri=tracking_uri,
                registry_uri=tracking_uri,
            )
            return Path(found).read_bytes()
    except Exception as error:
        raise StorageUnavailableError(
            "The model's baseline cannot be read.",
            uri,
            found=f"{type(error).__name__}: {str(error)[:200]}",
            next_step="restore it, or log it again with `nightscore baseline`",
        ) from error
