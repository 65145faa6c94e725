"""`~` and `${ENV_NAME}` in a job file's places: expanded once, and checked afterwards."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from nightscore.errors import InvalidJobError
from nightscore.inputs.jobfile import load_job, parse_job

REQUIRED = {
    "name": "late",
    "model": "models:/late/3",
    "input": {"uri": "in"},
    "output": {"uri": "out"},
}


def test_homes_and_variables_are_expanded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    monkeypatch.setenv("LAKE", "s3://lake/${NOT_EXPANDED_AGAIN}")
    monkeypatch.setenv("TEAM", "risk")
    raw = {
        "name": "late",
        "model": "models:/${TEAM}_late@champion",
        "registry": "sqlite:///~/mlflow.db",
        "input": {"uri": "${LAKE}/${TEAM}/in", "storage_options": {"secret": "${TEAM}"}},
        "output": "~/out",
    }
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(raw))
    for job in (load_job(str(path)), parse_job(raw)):
        assert job.model == "models:/risk_late@champion"
        assert job.registry == "sqlite:////home/ann/mlflow.db"
        assert job.input.uri == "s3://lake/${NOT_EXPANDED_AGAIN}/risk/in"
        assert job.output.uri == "/home/ann/out"
        assert job.input.storage_options == {"secret": "${TEAM}"}


@pytest.mark.parametrize(
    ("uri", "expanded"),
    [
        ("~", "/home/ann b"),
        ("file://~/x", "file:///home/ann%20b/x"),
        ("${DATA}/x", "/home/ann b/lake/x"),
        ("s3://lake/a~b", "s3://lake/a~b"),
        ("./~old", "./~old"),
        ("s3://lake/$price", "s3://lake/$price"),
    ],
)
def test_each_way_to_name_a_home(uri: str, expanded: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann b")
    monkeypatch.setenv("DATA", "~/lake")
    assert parse_job(REQUIRED | {"input": uri}).input.uri == expanded


@pytest.mark.parametrize("key", ["input", "output", "registry", "workers"])
def test_credentials_are_refused_after_expansion(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "n3v3r-t0-b3-s33n"
    monkeypatch.setenv("PLACE", f"https://me:{secret}@host/x")
    value: Any = "${PLACE}"
    if key == "workers":
        value = {"backend": "dask", "address": "${PLACE}"}
    with pytest.raises(InvalidJobError, match="carries credentials") as caught:
        parse_job(REQUIRED | {key: value})
    assert "with the value of ${PLACE} it" in str(caught.value)
    assert secret not in str(caught.value)
    if key == "registry":
        assert "MLFLOW_TRACKING_PASSWORD" in str(caught.value)


def test_an_empty_variable_is_no_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAKE", "")
    with pytest.raises(InvalidJobError, match="environment variable LAKE is empty"):
        parse_job(REQUIRED | {"input": "${LAKE}/in"})
