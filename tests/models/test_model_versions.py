"""A model URI becomes one exact version, fetched once and verified before it is loaded."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nightscore.errors import ModelDigestError, ModelLoadError, ModelNotFoundError
from nightscore.models.cache import ModelCache, digest_tree
from nightscore.models.model_versions import fetch, pin, resolve
from nightscore.models.registries.protocol import DIGEST_TAG
from nightscore.operations.verify import verify
from tests.support.lake import Lake
from tests.support.models import NUMBERS, KnownModel, copy_registry, make_frame, register
from tests.support.seaweedfs import _free_ports

DAY = "2024-02-29"


@pytest.fixture
def own(tmp_path: Path, registry_root: Path, models: dict[str, KnownModel]) -> tuple[str, Path]:
    """A registry that a test may change, and the artifacts of its model `hgb_binary`, version 1."""
    import mlflow

    uri = copy_registry(registry_root, tmp_path / "registry")
    folder = tmp_path / "artifacts"
    shutil.copytree(registry_root / "models" / "hgb_binary", folder)
    client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
    register(client, "mine", folder, is_pinned=False)
    return uri, folder


def test_version_and_alias_by_sqlite(own: tuple[str, Path]) -> None:
    uri, folder = own
    version = resolve("models:/mine/1", uri)
    assert (version.name, version.version, version.location, version.digest_tag) == (
        "mine",
        "1",
        str(folder),
        None,
    )
    assert resolve("models:/hgb_binary@champion", uri).version == "1"


def test_resolving_by_sqlite_needs_no_mlflow(own: tuple[str, Path]) -> None:
    code = (
        "import sys\nfrom nightscore.models.model_versions import resolve\n"
        f"assert resolve('models:/mine/1', {own[0]!r}).version == '1'\n"
        "assert 'mlflow' not in sys.modules and 'sklearn' not in sys.modules, 'heavy imports'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_pinned_version_loads_nothing_else(own: tuple[str, Path], tmp_path: Path) -> None:
    uri, folder = own
    cache = ModelCache(tmp_path / "cache")
    version, digest = pin("models:/mine/1", uri, cache)
    assert digest == digest_tree(folder)
    assert resolve("models:/mine/1", uri).digest_tag == digest
    assert pin("models:/mine/1", uri, cache)[1] == digest
    assert fetch(resolve("models:/mine/1", uri), uri, cache).is_pinned
    with (folder / "requirements.txt").open("a") as file:
        file.write("# harmless?\n")
    for candidate in (cache, ModelCache(tmp_path / "other")):
        with pytest.raises(ModelDigestError) as caught:
            fetch(resolve("models:/mine/1", uri), uri, candidate)
        assert digest in str(caught.value)
    assert version.name == "mine"


def test_a_version_that_was_loaded_by_mlflow_stays_pinned(
    own: tuple[str, Path], tmp_path: Path
) -> None:
    uri, folder = own
    cache = ModelCache(tmp_path / "cache")
    _, digest = pin("models:/mine/1", uri, cache)
    (folder / "registered_model_meta").write_text("model_name: mine\nmodel_version: '1'\n")
    for candidate in (cache, ModelCache(tmp_path / "other")):
        cached = fetch(resolve("models:/mine/1", uri), uri, candidate)
        assert (cached.digest, cached.is_pinned) == (digest, True)
        assert not (cached.path / "registered_model_meta").exists()


def test_a_pin_that_counted_the_file_of_loading_holds(
    own: tuple[str, Path], tmp_path: Path
) -> None:
    uri, folder = own
    cache = ModelCache(tmp_path / "cache")
    (folder / "registered_model_meta").write_text("model_name: mine\nmodel_version: '1'\n")
    without = fetch(resolve("models:/mine/1", uri), uri, cache).digest
    old = digest_tree(folder)
    assert without != old
    cached = cache.get("models:/mine/1", folder, lambda _: None, old)
    assert (cached.digest, cached.is_pinned) == (old, True)


def test_a_run_refuses_artifacts_that_are_not_the_pinned_ones(
    lake: Lake, own: tuple[str, Path]
) -> None:
    uri, folder = own
    pin("models:/mine/1", uri, lake.cache)
    marker = folder.parent / "executed"
    (folder / "model.pkl").write_bytes(_touching(marker))
    lake.write(DAY, make_frame(5))
    manifest = lake.run(lake.job("mine", registry=uri))
    assert manifest.error
    assert manifest.error.type == "ModelDigestError"
    assert not marker.exists()


def test_a_damaged_cache_is_fetched_again(own: tuple[str, Path], tmp_path: Path) -> None:
    uri, _ = own
    cache = ModelCache(tmp_path / "cache")
    first = fetch(resolve("models:/mine/1", uri), uri, cache)
    (first.path / "model.pkl").write_bytes(b"damaged")
    again = fetch(resolve("models:/mine/1", uri), uri, cache)
    assert again == first
    assert digest_tree(again.path) == first.digest


def test_many_processes_fetch_at_once(own: tuple[str, Path], tmp_path: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom nightscore.models.cache import ModelCache\n"
        "from nightscore.models.model_versions import fetch, resolve\n"
        f"uri = {own[0]!r}\n"
        f"print(fetch(resolve('models:/mine/1', uri), uri, ModelCache(Path({str(tmp_path / 'cache')!r}))).digest)"
    )
    with ThreadPoolExecutor(4) as threads:
        done = list(
            threads.map(
                lambda _: subprocess.run(
                    [sys.executable, "-c", code], capture_output=True, text=True, check=True
                ),
                range(4),
            )
        )
    assert {run.stdout.strip() for run in done} == {digest_tree(own[1])}
    assert not list((tmp_path / "cache").glob(".fetch-*"))


def test_artifacts_that_are_gone(own: tuple[str, Path], tmp_path: Path) -> None:
    uri, folder = own
    shutil.rmtree(folder)
    with pytest.raises(ModelNotFoundError, match="are gone"):
        fetch(resolve("models:/mine/1", uri), uri, ModelCache(tmp_path / "cache"))


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_name_that_is_not_utf_8_is_told(kind: str, own: tuple[str, Path], tmp_path: Path) -> None:
    uri, folder = own
    path = folder / os.fsdecode(b"caf\xe9.txt")
    path.mkdir() if kind == "folder" else path.write_text("x")
    with pytest.raises(ModelLoadError, match="names that are not UTF-8") as caught:
        fetch(resolve("models:/mine/1", uri), uri, ModelCache(tmp_path / "cache"))
    assert "- caf\\xe9.txt" in str(caught.value)


def test_a_model_that_cannot_be_unpickled(own: tuple[str, Path], lake: Lake) -> None:
    uri, folder = own
    (folder / "model.pkl").write_bytes(b"no pickle")
    lake.write(DAY, make_frame(5))
    manifest = lake.run(lake.job("mine", registry=uri, allow_pickle=True))
    assert manifest.error
    assert manifest.error.type == "ModelLoadError"
    assert "scikit-learn" in manifest.error.message


def test_skops_models_load_and_strangers_in_them_do_not(
    lake: Lake, own: tuple[str, Path], tmp_path: Path, models: dict[str, KnownModel]
) -> None:
    import mlflow
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer

    uri, _ = own
    client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
    frame = make_frame(50)
    tree_types = ["sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"]
    stranger = make_pipeline(FunctionTransformer(os.path.exists), models["logistic"].estimator)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, estimator, trusted in (
            ("good", models["hgb_binary"].estimator, tree_types),
            ("bad", stranger, ["genericpath.exists"]),
        ):
            mlflow.sklearn.save_model(
                estimator,
                tmp_path / name,
                serialization_format="skops",
                skops_trusted_types=trusted,
                pip_requirements=[],
                signature=mlflow.models.infer_signature(frame[NUMBERS], np.array([1])),
            )
            register(client, name, tmp_path / name, is_pinned=False)
    lake.write(DAY, frame)
    good = lake.job("good", registry=uri)
    assert lake.run(good).error is None
    assert np.array_equal(
        lake.read(good)["prediction"], models["hgb_binary"].estimator.predict(frame[NUMBERS])
    )
    bad = lake.run(lake.job("bad", registry=uri), force=True)
    assert bad.error
    assert bad.error.type == "ModelRefusedError"
    assert "genericpath.exists" in bad.error.message


@contextlib.contextmanager
def tracked(uri: str) -> Iterator[None]:
    """What is logged inside goes to a server. Then MLflow forgets it, and the experiment as well."""
    import mlflow

    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.setattr(mlflow.tracking.fluent, "_active_experiment_id", None)
        patch.setenv("MLFLOW_EXPERIMENT_ID", "0")
        patch.delenv("MLFLOW_EXPERIMENT_ID")
        warnings.simplefilter("ignore")
        mlflow.set_tracking_uri(uri)
        try:
            yield
        finally:
            mlflow.set_tracking_uri(None)


def log_by_default(uri: str, place: Path, estimator: Any, **arguments: Any) -> str:
    """What `mlflow.sklearn.log_model` logs with a name and nothing else; returns the URI."""
    import mlflow

    with tracked(uri):
        mlflow.create_experiment("training", artifact_location=place.as_uri())
        mlflow.set_experiment("training")
        logged = mlflow.sklearn.log_model(estimator, name="churn", pip_requirements=[], **arguments)

    return str(logged.model_uri)


def test_what_log_model_logs_by_default_is_scored_and_verified(
    lake: Lake, own: tuple[str, Path], tmp_path: Path, models: dict[str, KnownModel]
) -> None:
    uri, _ = own
    estimator = models["logistic"].estimator
    model_uri = log_by_default(uri, tmp_path / "logged", estimator)
    frame = make_frame(50)
    lake.write(DAY, frame[["id", *NUMBERS]])
    job = lake.job(model_uri, registry=uri)

    manifest = lake.run(job)
    assert manifest.error is None
    assert (manifest.model.uri, manifest.model.name) == (model_uri, "churn")
    assert manifest.model.is_pinned, "nobody changes a logged model"
    assert not any("nightscore baseline" in warning for warning in manifest.warnings)
    predictions = lake.read(job)
    assert np.array_equal(predictions["prediction"], estimator.predict(frame[NUMBERS]))
    assert set(predictions["model_version"]) == {model_uri.removeprefix("models:/")}

    assert lake.run(job).status == "unchanged"
    assert verify(job, DAY, lake.pool, lake.cache, 50, 0).findings == ()


def test_a_pickle_of_a_logged_model_is_scored_after_the_command_that_the_error_prints(
    lake: Lake, own: tuple[str, Path], tmp_path: Path, models: dict[str, KnownModel]
) -> None:
    uri, _ = own
    model_uri = log_by_default(
        uri,
        tmp_path / "logged",
        models["logistic"].estimator,
        serialization_format="cloudpickle",
    )
    lake.write(DAY, make_frame(50)[["id", *NUMBERS]])
    job = lake.job(model_uri, registry=uri)

    refused = lake.run(job)
    assert refused.error
    assert refused.error.type == "ModelRefusedError"
    assert f"`nightscore pin {model_uri} --registry {uri}`" in refused.error.message

    pin(model_uri, uri, lake.cache)
    assert lake.run(job).status == "published"


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, registry_root: Path, models: Any
) -> Iterator[tuple[str, str]]:
    """A tracking server over a copy of the registry; (its URL, the SQLite URI behind it)."""
    root = tmp_path_factory.mktemp("server")
    uri = copy_registry(registry_root, root)
    (port,) = _free_ports(1)
    url = f"http://127.0.0.1:{port}"
    arguments = ["--backend-store-uri", uri, "--artifacts-destination", str(root / "artifacts")]
    with (root / "log").open("w") as log:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "mlflow",
                "server",
                "--port",
                str(port),
                "--workers",
                "1",
                *arguments,
            ],
            env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 90
        while True:
            try:
                with urllib.request.urlopen(f"{url}/health", timeout=2):
                    break
            except OSError:
                assert process.poll() is None, (root / "log").read_text()
                assert time.monotonic() < deadline, (root / "log").read_text()
                time.sleep(0.2)
        yield url, uri
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.mark.slow
def test_a_server_registry_resolves_fetches_and_pins(
    server: tuple[str, str], lake: Lake, tmp_path: Path, models: dict[str, KnownModel]
) -> None:
    import mlflow

    url, _ = server
    with tracked(url):
        mlflow.set_experiment("served")
        logged = mlflow.sklearn.log_model(
            models["logistic"].estimator,
            name="model",
            registered_model_name="served",
            serialization_format="cloudpickle",
            pip_requirements=[],
            signature=mlflow.models.infer_signature(make_frame(5)[NUMBERS], np.array([1])),
        )
    client = mlflow.MlflowClient(tracking_uri=url, registry_uri=url)
    client.set_registered_model_alias("served", "champion", "1")
    assert logged

    version = resolve("models:/served@champion", url)
    assert (version.version, version.digest_tag) == ("1", None)
    assert version.location.startswith("mlflow-artifacts:")
    unregistered = resolve(logged.model_uri, url)
    assert (unregistered.name, unregistered.uri) == ("model", logged.model_uri)
    assert fetch(unregistered, url, lake.cache).digest == fetch(version, url, lake.cache).digest
    with pytest.raises(ModelNotFoundError, match="no logged model"):
        resolve(f"models:/m-{'0' * 32}", url)
    with pytest.raises(ModelNotFoundError, match="version 1; alias champion"):
        resolve("models:/served/7", url)
    with pytest.raises(ModelNotFoundError, match="no alias other"):
        resolve("models:/served@other", url)
    with pytest.raises(ModelNotFoundError, match="no registered model nobody"):
        resolve("models:/nobody/1", url)

    _, digest = pin("models:/served/1", url, lake.cache)
    assert client.get_model_version("served", "1").tags[DIGEST_TAG] == digest
    frame = make_frame(100)
    lake.write(DAY, frame)
    job = lake.job("served", registry=url)
    manifest = lake.run(job)
    assert manifest.error is None
    assert (manifest.model.digest, manifest.model.is_pinned) == (digest, True)
    assert np.array_equal(
        lake.read(job)["prediction"], models["logistic"].estimator.predict(frame[NUMBERS])
    )


def _touching(marker: Path) -> bytes:
    import pickle

    class Bomb:
        def __reduce__(self) -> Any:
            return Path.touch, (marker,)

    return pickle.dumps(Bomb())
