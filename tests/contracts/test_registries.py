"""The contract of model registries.

Each runs this suite; see `nightscore.models.registries.protocol`.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import pytest

from nightscore.errors import ModelDigestError, ModelNotFoundError, StorageUnavailableError
from nightscore.models.cache import ModelCache, digest_tree
from nightscore.models.model_versions import fetch, recall, remember, resolve
from nightscore.models.registries.client import ClientRegistry
from nightscore.models.registries.protocol import Registry
from nightscore.models.registry_catalog import open_registry, open_writable, registered
from tests.fakes import tiny_flavor
from tests.fakes.registry import URI, stub_registry
from tests.support.models import register

Open = Callable[[], AbstractContextManager[Registry]]


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("artifacts")
    tiny_flavor.save(folder)
    return folder


@pytest.fixture(scope="module")
def sqlite_uri(
    tmp_path_factory: pytest.TempPathFactory, artifacts: Path, empty_registry: Path
) -> str:
    import mlflow

    database = shutil.copy(empty_registry, tmp_path_factory.mktemp("registry"))
    uri = f"sqlite:///{database}"
    client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
    register(client, "mine", artifacts)
    register(client, "mine", artifacts, is_pinned=False)
    client.set_registered_model_alias("mine", "champion", "2")

    place = tmp_path_factory.mktemp("logged").as_uri()
    experiment = client.create_experiment("training", artifact_location=place)
    fresh = client.create_logged_model(experiment, name="fresh")
    shutil.copytree(artifacts, fresh.artifact_location.removeprefix("file://"))
    client.finalize_logged_model(fresh.model_id, "READY")
    client.create_logged_model(experiment, name="unfinished")

    run = client.create_run(experiment)
    client.log_param(run.info.run_id, "depth", 3)
    tuned = client.create_logged_model(experiment, name="tuned", params={"rate": "0.1"})
    shutil.copytree(artifacts, tuned.artifact_location.removeprefix("file://"))
    client.finalize_logged_model(tuned.model_id, "READY")
    client.create_registered_model("tuned", tags={"team": "delays"})

    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)  # it looks for the logged model there, whatever the client has
    try:
        source = f"models:/{tuned.model_id}"
        client.create_model_version("tuned", source, run_id=run.info.run_id)
    finally:
        mlflow.set_tracking_uri(before)
    return uri


@pytest.fixture(
    params=[
        "stub",
        pytest.param("sqlite", marks=pytest.mark.slow),
        pytest.param("client", marks=pytest.mark.slow),
    ]
)
def uri(request: pytest.FixtureRequest, artifacts: Path) -> Iterator[str]:
    """Each registry has two versions of `mine`: the first is pinned, the second is the champion.

    It also has two logged models: `fresh`, and `unfinished`.
    """
    if request.param == "stub":
        with stub_registry() as registry:
            registry.add("mine", artifacts)
            registry.add("mine", artifacts, is_pinned=False)
            registry.aliases["mine"] = {"champion": "2"}
            registry.log("fresh", artifacts)
            unfinished = registry.log("unfinished", artifacts)
            registry.logged[unfinished] = replace(registry.logged[unfinished], is_ready=False)
            registry.add("tuned", artifacts)
            registry.set_model_tag("tuned", "team", "delays")
            registry.trained_with["tuned", "1"] = {"depth": "3", "rate": "0.1"}
            yield URI
        return

    sqlite_uri: str = request.getfixturevalue("sqlite_uri")
    if request.param == "sqlite":
        yield sqlite_uri
        return
    with registered("client", lambda uri: ClientRegistry(sqlite_uri)):
        yield "client://registry"


def test_a_version_has_its_place_and_its_pin(uri: str, artifacts: Path) -> None:
    with open_registry(uri) as registry:
        version = registry.version("mine", "1")
        unpinned = registry.version("mine", "2")
    assert version is not None
    assert unpinned is not None
    assert (version.name, version.version) == ("mine", "1")
    assert version.location.removeprefix("file://") == str(artifacts)
    assert version.digest_tag == digest_tree(artifacts)
    assert (unpinned.version, unpinned.digest_tag) == ("2", None)


def test_an_alias_is_a_version(uri: str) -> None:
    with open_registry(uri) as registry:
        assert registry.version_of_alias("mine", "champion") == "2"
        assert registry.version_of_alias("mine", "retired") is None
        assert registry.version_of_alias("yours", "champion") is None


def test_what_is_not_there_is_none(uri: str) -> None:
    with open_registry(uri) as registry:
        assert registry.version("mine", "3") is None
        assert registry.version("yours", "1") is None
        assert registry.model("yours") is None


def test_a_model_lists_versions_and_aliases(uri: str) -> None:
    with open_registry(uri) as registry:
        model = registry.model("mine")
    assert model is not None
    assert (model.versions, model.aliases) == (["1", "2"], {"champion": "2"})


def test_a_registered_model_has_tags_and_its_versions_have_parameters(uri: str) -> None:
    with open_registry(uri) as registry:
        assert registry.model_tag("tuned", "team") == "delays"
        assert registry.model_tag("tuned", "nowhere") is None
        assert registry.model_tag("yours", "team") is None
        assert registry.parameters("tuned", "1") == {"depth": "3", "rate": "0.1"}
        assert registry.parameters("mine", "1") is None, "no run and no logged model"
        assert registry.parameters("yours", "1") is None


def test_an_alias_and_a_tag_are_set_whatever_they_were(uri: str) -> None:
    writable = open_writable(uri)
    for name, value in (("old", "here"), ("new", "there")):
        writable.set_alias("tuned", name, "1")
        writable.set_model_tag("tuned", "place", value)
        with open_registry(uri) as registry:
            assert registry.version_of_alias("tuned", name) == "1"
            assert registry.model_tag("tuned", "place") == value

    writable.set_model_tag("tuned", "team", "delays")  # as before


@pytest.mark.slow
def test_what_a_registry_refuses_is_told(sqlite_uri: str) -> None:
    registry = open_writable(sqlite_uri)
    with pytest.raises(StorageUnavailableError, match="alias champion was not moved") as caught:
        registry.set_alias("mine", "champion", "99")
    assert "99" in caught.value.found
    with pytest.raises(StorageUnavailableError, match="tag place was not set"):
        registry.set_model_tag("yours", "place", "here")


def test_a_misspelt_model_or_alias_is_refused_with_the_nearest(uri: str) -> None:
    with pytest.raises(ModelNotFoundError, match="near: mine") as caught:
        resolve("models:/mien/1", uri)
    assert "models:/mine/1" in caught.value.next_step
    with pytest.raises(ModelNotFoundError, match="models there: mine"):
        resolve("models:/qwx/1", uri)
    with pytest.raises(ModelNotFoundError, match="alias champoin") as caught:
        resolve("models:/mine@champoin", uri)
    assert "models:/mine@champion" in caught.value.next_step


def test_an_unknown_version_is_refused_with_those_that_there_are(uri: str) -> None:
    with pytest.raises(ModelNotFoundError) as caught:
        resolve("models:/mine/7", uri)
    assert "versions 1, 2; alias champion (2)" in str(caught.value)


def test_pinned_artifacts_are_fetched_and_remembered(
    uri: str, artifacts: Path, tmp_path: Path
) -> None:
    cache = ModelCache(tmp_path / "cache")
    version = resolve("models:/mine/1", uri)
    cached = fetch(version, uri, cache)
    assert cached.is_pinned
    assert cached.digest == digest_tree(artifacts)

    remember(version, uri, cache, cached.digest)
    recalled = recall("models:/mine/1", uri, cache)
    assert recalled is not None
    assert recalled[0].digest_tag == version.digest_tag
    assert recall("models:/mine@champion", uri, cache) is None


def logged_id(uri: str, name: str) -> str:
    with open_registry(uri) as registry:
        (model_id,) = registry.logged_models(name)
    return model_id


def test_a_logged_model_is_one_exact_model(uri: str, artifacts: Path, tmp_path: Path) -> None:
    model_id = logged_id(uri, "fresh")
    cache = ModelCache(tmp_path / "cache")
    logged = resolve(f"models:/{model_id}", uri)
    assert (logged.name, logged.version, logged.digest_tag) == ("fresh", model_id, None)
    assert logged.uri == f"models:/{model_id}"

    cached = fetch(logged, uri, cache)
    assert (cached.digest, cached.is_pinned) == (digest_tree(artifacts), False)
    assert recall(logged.uri, uri, cache) is None

    remember(logged, uri, cache, cached.digest)
    recalled = recall(logged.uri, uri, cache)
    assert recalled is not None
    assert (recalled[0].name, recalled[0].digest_tag) == ("fresh", None)
    assert recalled[1] == cached, (
        "a model that nobody has pinned is not trusted in an outage either"
    )


def test_an_unknown_or_unfinished_logged_model_is_refused(uri: str) -> None:
    with pytest.raises(ModelNotFoundError, match="There is no logged model m-ffff"):
        resolve(f"models:/m-{'f' * 32}", uri)
    with pytest.raises(ModelNotFoundError, match="is not complete"):
        resolve(f"models:/{logged_id(uri, 'unfinished')}", uri)


@pytest.mark.parametrize("rest", ["/1", "@champion"])
def test_a_version_of_a_logged_model_is_refused_with_what_registers_it(uri: str, rest: str) -> None:
    model_id = logged_id(uri, "fresh")
    with pytest.raises(ModelNotFoundError, match="neither versions nor aliases") as caught:
        resolve(f"models:/{model_id}{rest}", uri)
    assert f'mlflow.register_model("models:/{model_id}", "fresh")' in caught.value.next_step
    assert f"MLFLOW_TRACKING_URI={uri} python -c" in caught.value.next_step


def test_the_name_of_a_logged_model_leads_to_its_uri(uri: str) -> None:
    model_id = logged_id(uri, "fresh")
    with pytest.raises(ModelNotFoundError, match=f"the newest models:/{model_id}") as caught:
        resolve("models:/fresh/1", uri)
    assert f"set model: models:/{model_id} in the job file" in caught.value.next_step


def test_an_incomplete_logged_model_is_not_recommended(tmp_path: Path) -> None:
    tiny_flavor.save(tmp_path / "model")
    with stub_registry() as registry:
        ids = [registry.log("fresh", tmp_path / name) for name in ("model", "model", "gone")]
        registry.logged[ids[1]] = replace(registry.logged[ids[1]], is_ready=False)

        with pytest.raises(ModelNotFoundError) as caught:
            resolve("models:/fresh/1", URI)
        assert f"the newest complete one models:/{ids[0]}" in caught.value.found
        assert f"models:/{ids[1]} is not complete: its upload has failed" in caught.value.found
        assert f"models:/{ids[2]} is not complete: there is no file MLmodel" in caught.value.found
        assert caught.value.next_step.startswith(f"set model: models:/{ids[0]} in the job file")

        del registry.logged[ids[0]]
        with pytest.raises(ModelNotFoundError, match="is not complete") as caught:
            resolve("models:/fresh/1", URI)
        assert caught.value.next_step == (
            "wait until `log_model` has returned, or log the model again"
        )


def test_changed_artifacts_are_refused(tmp_path: Path) -> None:
    tiny_flavor.save(tmp_path / "model")
    with stub_registry() as registry:
        registry.add("mine", tmp_path / "model")
        (tmp_path / "model" / "weights.json").write_text('{"a": 3.0, "b": 1.0}')
        version = resolve("models:/mine/1", URI)
        with pytest.raises(ModelDigestError):
            fetch(version, URI, ModelCache(tmp_path / "cache"))


def test_a_logged_model_that_has_changed_is_refused(tmp_path: Path) -> None:
    tiny_flavor.save(tmp_path / "model")
    cache = ModelCache(tmp_path / "cache")
    with stub_registry() as registry:
        model_id = registry.log("fresh", tmp_path / "model")
        logged = resolve(f"models:/{model_id}", URI)
        remember(logged, URI, cache, fetch(logged, URI, cache).digest)

        (tmp_path / "model" / "weights.json").write_text('{"a": 3.0, "b": 1.0}')
        with pytest.raises(ModelDigestError, match="have changed") as caught:
            fetch(logged, URI, cache)
    assert f"nightscore pin models:/{model_id} --registry {URI}" in caught.value.next_step
