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


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("$HOME/x", "$HOME is not replaced; expected ${HOME} for the environment variable, or "),
        ("s3://$BUCKET/x", "$BUCKET is not replaced"),
        ("lake/ds=$DAY", "$DAY is not replaced"),
        ("%HOME%/x", "%HOME% is not replaced; expected ${HOME}"),
        ("lake/%USER%_x", "%USER% is not replaced"),
        ("lake/{{ ds }}/x", "templates such as {{ name }} are not filled in"),
        ("lake/in\n", "expected a path or a URI on one line"),
        ("${BROKEN}/in", "the environment variable BROKEN has a line break or a tab in it"),
        ("~/in", "the environment variable HOME is empty"),
    ],
)
def test_what_would_name_another_folder_than_is_meant_is_refused(
    uri: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROKEN", "lake\n")
    monkeypatch.setenv("HOME", "")
    for place in (uri, {"uri": uri}):
        with pytest.raises(InvalidJobError) as caught:
            parse_job(REQUIRED | {"output": place})
        assert len(caught.value.problems) == 1
        assert expected in caught.value.problems[0]


@pytest.mark.parametrize(
    ("uri", "meant"),
    [
        ("lake/$$HOME/x", "lake/$HOME/x"),
        ("lake/a$B", "lake/a$B"),
        ("s3://lake/%C3%A9%20x", "s3://lake/%C3%A9%20x"),
        ("s3://lake/%C3%C3%A9", "s3://lake/%C3%C3%A9"),
        ("abfss://$web@account.dfs.core.windows.net/x", None),
        ("lake/100%_of_50%", None),
    ],
)
def test_a_folder_s_own_signs_stay(uri: str, meant: str | None) -> None:
    assert parse_job(REQUIRED | {"input": uri}).input.uri == (meant or uri)


@pytest.mark.parametrize("written", ["literal", "${PLACE}"])
@pytest.mark.parametrize(
    ("uri", "is_right"),
    [
        ("postgresql://me:n3v3r-t0-b3-s33n@db/mlflow", True),
        ("mysql+pymysql://me:n3v3r-t0-b3-s33n@db/mlflow", True),
        ("https://me:n3v3r-t0-b3-s33n@host", False),
    ],
)
def test_a_registry_s_password_is_judged_alike_wherever_it_stands(
    written: str, uri: str, is_right: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLACE", uri)
    raw = REQUIRED | {"registry": uri if written == "literal" else written}
    if is_right:
        job = parse_job(raw)
        assert job.registry == uri
        assert "n3v3r" not in repr(job)
        return

    with pytest.raises(InvalidJobError, match="MLFLOW_TRACKING_PASSWORD") as caught:
        parse_job(raw)
    assert "n3v3r" not in str(caught.value)
    assert len(caught.value.problems) == 1


def test_credentials_are_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLACE", "https://me:pw@host/x")
    with pytest.raises(InvalidJobError) as caught:
        parse_job(REQUIRED | {"input": "${PLACE}"})
    assert len(caught.value.problems) == 1


def test_the_folder_of_the_job_file_is_meant_wherever_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NIGHTSCORE_JOB_FOLDER", "/of/the/environment")
    (tmp_path / "jobs").mkdir()
    raw = REQUIRED | {
        "registry": "sqlite:///${NIGHTSCORE_JOB_FOLDER}/../mlflow.db",
        "input": "${NIGHTSCORE_JOB_FOLDER}/../../lake/in",
        "output": "${NIGHTSCORE_JOB_FOLDER}/..out",
    }
    (tmp_path / "jobs" / "late.yaml").write_text(yaml.safe_dump(raw))
    for source in ("jobs/late.yaml", str(tmp_path / "jobs" / "late.yaml"), "late"):
        job = load_job(source)
        assert job.registry == f"sqlite:///{tmp_path}/mlflow.db"
        assert job.input.uri == f"{tmp_path.parent}/lake/in"
        assert job.output.uri == f"{tmp_path}/jobs/..out"

    monkeypatch.delenv("NIGHTSCORE_JOB_FOLDER")
    with pytest.raises(InvalidJobError, match="the folder of a job file on this machine"):
        parse_job(raw)
