"""Standard output and error that are closed, full, or unable to show a character; folders that are gone."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nightscore.cli.streams import GuardedStream, settle_exit_code
from nightscore.engine import executor
from nightscore.errors import InvalidJobError, StorageError
from nightscore.models.cache import ModelCache, default_cache
from tests.cli.test_commands import save
from tests.support.lake import Lake
from tests.support.models import make_frame

DAY = "2024-01-01"


@contextmanager
def full_output(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Standard output on a full disk, with something that could not be written."""
    with open("/dev/full", "w") as file:
        stream = GuardedStream(file)
        monkeypatch.setattr(sys, "stdout", stream)
        stream.write("what the command says\n")
        stream.flush()
        yield


def test_a_full_disk_does_not_hide_what_a_command_has_done(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with full_output(monkeypatch):
        assert settle_exit_code(0, changes_data=True) == 0
        assert settle_exit_code(3, changes_data=True) == 3
    assert "No space left on device. The command itself was completed." in capsys.readouterr().err


def test_an_answer_that_is_incomplete_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with full_output(monkeypatch):
        assert settle_exit_code(0, changes_data=False) == 1
    assert "What was printed is incomplete." in capsys.readouterr().err


def test_a_reader_that_has_read_enough_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as pipe:
        stream = GuardedStream(pipe)
        monkeypatch.setattr(sys, "stdout", stream)
        stream.write("more\n")
        assert settle_exit_code(0, changes_data=False) == 0
        assert isinstance(stream.error, BrokenPipeError)


@pytest.mark.slow
@pytest.mark.parametrize("redirection", [">/dev/full", ">&-", "<&- >&- 2>&-", "2>/dev/full"])
def test_a_run_is_published_whatever_its_streams_are(
    lake: Lake, tmp_path: Path, redirection: str
) -> None:
    lake.write(DAY, make_frame(100))
    job = lake.job("hgb_binary")
    command = f'"$1" -m nightscore.cli run "$2" {DAY} {redirection}'
    done = subprocess.run(
        ["sh", "-c", command, "sh", sys.executable, str(save(job, tmp_path))],
        env=os.environ | {"NIGHTSCORE_CACHE": str(lake.cache.root), "PYTHONIOENCODING": "ascii"},
        check=False,
    )
    assert done.returncode == 0
    assert len(lake.read(job)) == 100


@pytest.mark.slow
def test_a_working_folder_that_is_gone_is_said(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    code = "import os, sys; os.rmdir(os.getcwd()); sys.argv = ['nightscore', 'runs', 'j']"
    code += "; from nightscore.cli import main; main()"
    path = f"{Path.cwd()}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=gone,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "The working folder no longer exists." in done.stderr
    assert "Traceback" not in done.stderr


def test_a_cache_that_cannot_be_used_names_what_to_set(tmp_path: Path) -> None:
    root = tmp_path / "cache"
    root.write_text("a file")
    cache = ModelCache(root)
    for use in (
        lambda: cache.get("key", tmp_path, lambda folder: None, None),
        lambda: cache.recall("key"),
        lambda: cache.baseline("sha256:0"),
        lambda: cache.write_note("sha256:0", "facts", "{}"),
    ):
        with pytest.raises(StorageError, match=r"cache of models(.|\n)*NIGHTSCORE_CACHE") as raised:
            use()
        assert str(root) in raised.value.where


def test_a_user_without_a_home_is_told_to_name_a_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("HOME", "NIGHTSCORE_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("pwd.getpwuid", lambda uid: (_ for _ in ()).throw(KeyError(uid)))
    with pytest.raises(InvalidJobError, match="no home folder"):
        default_cache()


def test_semaphores_of_drivers_that_were_killed_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    namespace = Path("/proc/self/ns/pid").stat().st_ino
    monkeypatch.setattr(executor, "SHARED_MEMORY", tmp_path)
    left_behind = tmp_path / f"sem.nightscore-{namespace}-{ended.pid}-abc"
    others = [
        tmp_path / f"sem.nightscore-{namespace}-{os.getpid()}-abc",
        tmp_path / f"sem.nightscore-{namespace + 1}-{ended.pid}-abc",
        tmp_path / f"sem.loky-{ended.pid}-abc",
    ]
    for path in (left_behind, *others):
        path.touch()
    executor._name_semaphores()
    assert sorted(tmp_path.iterdir()) == sorted(others)


def test_a_machine_without_shared_memory_is_told_what_to_mount() -> None:
    """In a mount namespace of its own, /dev/shm is read-only."""
    code = "from nightscore.engine.executor import open_executor; open_executor(1)"
    mount = "mount -t tmpfs -o ro none /dev/shm 2>/dev/null || exit 77"
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", f'{mount}; exec "$1" -c "$2"', "sh", sys.executable, code],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("needs to mount, as root")
    assert "WorkerError: No worker process can be started" in done.stderr
    assert "mount /dev/shm" in done.stderr
