"""Jobs are found by name in a few folders, and commands call them as they were given."""

import json
import logging
import pickle
from pathlib import Path

import pytest

from nightscore.errors import InvalidJobError
from nightscore.inputs.job_lookup import (
    find_job,
    list_jobs,
    listed_name,
    lookup_folders,
    near_files,
    show_folders,
)
from nightscore.inputs.jobfile import load_job, parse_job
from nightscore.schemas.job import ScoringJob

REQUIRED = {
    "name": "late",
    "model": "models:/late/3",
    "input": {"uri": "in"},
    "output": {"uri": "out"},
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, without `NIGHTSCORE_JOBS`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NIGHTSCORE_JOBS", raising=False)
    return tmp_path


def write(path: str, **changes: object) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(json.dumps(REQUIRED | changes))


@pytest.mark.parametrize(
    "path",
    [
        "chosen/late.yaml",
        "jobs/late.yaml",
        "jobs/late.yml",
        "deploy/jobs/late.yaml",
        "deploy/jobs/late.json",
        "late.yaml",
        "late.yml",
    ],
)
def test_a_name_is_looked_up_in_each_place(
    path: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("chosen").mkdir(exist_ok=True)
    monkeypatch.setenv("NIGHTSCORE_JOBS", "chosen")
    write(path)
    assert find_job("late") == path
    job = load_job("late")
    assert job.name == job.given_as == "late"


def test_the_name_of_a_job_that_is_given_by_its_path(project: Path) -> None:
    write("jobs/late.yaml")
    write("elsewhere/late.yaml")
    folders = lookup_folders()
    for source in ("late", "jobs/late.yaml", str(project / "jobs" / "late.yaml")):
        assert listed_name(source, folders) == "late"
    for source in ("elsewhere/late.yaml", "early", "s3://jobs/late.yaml"):
        assert listed_name(source, folders) == ""


def test_a_home_in_the_chosen_folder(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(project))
    monkeypatch.setenv("NIGHTSCORE_JOBS", "~/mine")
    write("mine/late.yaml")
    assert find_job("late") == str(project / "mine" / "late.yaml")
    assert load_job("~/mine/late.yaml").given_as == str(project / "mine" / "late.yaml")
    monkeypatch.setenv("NIGHTSCORE_JOBS", "~no-such-user/mine")
    with pytest.raises(InvalidJobError, match="NIGHTSCORE_JOBS names no folder"):
        load_job("late")
    with pytest.raises(InvalidJobError, match="cannot be read"):
        load_job("~no-such-user/late.yaml")


@pytest.mark.parametrize(
    "paths",
    [
        ("deploy/jobs/late.yaml", "jobs/late.yaml"),
        ("chosen/late.yaml", "deploy/jobs/late.yaml"),
        ("jobs/late.yaml", "late.yaml"),
        ("jobs/late.yaml", "jobs/late.yml"),
        ("chosen/late.yaml", "deploy/jobs/late.json", "jobs/late.yaml", "late.yml"),
    ],
)
def test_a_name_of_several_files_is_refused_with_their_paths(
    paths: tuple[str, ...], project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("chosen").mkdir(exist_ok=True)
    monkeypatch.setenv("NIGHTSCORE_JOBS", "chosen")
    for path in paths:
        write(path)
    with pytest.raises(InvalidJobError, match=f"There are {len(paths)} job files") as caught:
        load_job("late")
    assert caught.value.problems == paths
    assert load_job(paths[0]).given_as == paths[0]


def test_two_ways_to_one_file_are_one(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write("jobs/late.yaml")
    monkeypatch.setenv("NIGHTSCORE_JOBS", str(project / "jobs"))
    Path("late.yaml").symlink_to("jobs/late.yaml")
    assert find_job("late") == str(project / "jobs" / "late.yaml")


def test_an_unknown_name_shows_places_and_near_names(project: Path) -> None:
    write("jobs/late.yaml")
    write("churn.yaml")
    with pytest.raises(InvalidJobError, match="There is no job lste") as caught:
        load_job("lste")
    error = caught.value
    assert error.where == "jobs, deploy/jobs, ./lste.yaml"
    assert error.expected == "one of churn, late"
    assert error.found == "no such file; near: late"
    with pytest.raises(InvalidJobError, match="near: churn"):
        load_job("chrun")


def test_the_other_spelling_of_yaml_is_understood(
    project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write("jobs/late.yaml")
    write("churn.yml")
    with caplog.at_level(logging.WARNING, "nightscore"):
        assert load_job("jobs/late.yml").given_as == "jobs/late.yaml"
        assert load_job("churn.yaml").given_as == "churn.yml"
    assert caplog.messages == [
        "there is no jobs/late.yml; the job file is jobs/late.yaml",
        "there is no churn.yaml; the job file is churn.yml",
    ]


def test_a_path_that_does_not_exist_shows_near_ones(project: Path) -> None:
    write("jobs/late.yaml")
    with pytest.raises(InvalidJobError, match="cannot be read") as caught:
        load_job("jobs/latte.yaml")
    error = caught.value
    assert (error.where, error.found) == ("jobs/latte.yaml", "no such file")
    assert error.next_step == "give the path of a file that exists, such as jobs/late.yaml"
    with pytest.raises(InvalidJobError, match=r"such as jobs/late\.yaml"):
        load_job("late.yaml")


def test_a_problem_names_the_file_that_was_taken(project: Path) -> None:
    write("deploy/jobs/late.yaml", predict="proba")
    with pytest.raises(InvalidJobError) as caught:
        load_job("late")
    assert caught.value.where == "deploy/jobs/late.yaml"


def test_forms_and_pages_list_what_commands_find(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("jobs/late.yaml")
    write("deploy/jobs/churn.yml")
    write("chosen/own.yaml")
    write("here.yaml")
    Path("there.yml").write_text("name: x\nmodel: models:/x/1\ninput: in\noutput: out\n")
    Path("compose.yaml").write_text("services:\n  x:\n    image: y\nmodel: z\n")
    assert list_jobs(lookup_folders()) == ["churn", "here", "late", "there"]
    Path("chosen").mkdir(exist_ok=True)
    monkeypatch.setenv("NIGHTSCORE_JOBS", "chosen")
    assert list_jobs(lookup_folders()) == ["churn", "here", "late", "own", "there"]
    for name in list_jobs(lookup_folders()):
        assert load_job(name)
    assert show_folders(lookup_folders()) == "chosen, jobs, deploy/jobs and the current folder"


def test_a_job_remembers_how_it_was_given(tmp_path: Path) -> None:
    path = tmp_path / "job.json"
    path.write_text(json.dumps(REQUIRED))
    job = load_job(str(path))
    assert job.given_as == str(path)
    assert job.model_copy(update={"model": "models:/late/4"}).given_as == str(path)
    assert pickle.loads(pickle.dumps(job)).given_as == str(path), "as on a cluster"
    assert parse_job(REQUIRED).given_as == "late"
    assert parse_job(REQUIRED).command("approve", "a day") == "nightscore approve late 'a day'"
    assert job == parse_job(REQUIRED)
    assert str(path) not in job.model_dump_json() + repr(job)
    assert ScoringJob.model_validate_json(job.model_dump_json()) == job


def test_a_chosen_folder_that_is_not_there_is_not_passed_over(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "jobs").mkdir(exist_ok=True)
    (project / "jobs" / "late.yaml").touch()
    monkeypatch.setenv("NIGHTSCORE_JOBS", "choosen")
    with pytest.raises(InvalidJobError, match="NIGHTSCORE_JOBS names no folder") as refused:
        find_job("late")
    assert refused.value.found == "choosen"


def test_a_link_to_nothing_is_no_job_that_could_be_meant(project: Path) -> None:
    (project / "dang.yaml").symlink_to("gone.yaml")
    assert near_files("dang.yaml") == []
