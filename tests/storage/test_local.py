"""Local files, whose folders come and go with the files in them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nightscore.storage.backends import local
from nightscore.storage.probe import check_creates, check_writable
from nightscore.storage.store import Store

FOLDER = "a/b"
WRITES: dict[str, Callable[[Store, str], Any]] = {
    "write_bytes": lambda store, _: store.backend.write_bytes(f"{FOLDER}/new", b"new"),
    "create": lambda store, _: store.backend.create(f"{FOLDER}/new", b"new", is_durable=True),
    "replace": lambda store, source: store.backend.replace(source, f"{FOLDER}/new", None, {}),
}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


@pytest.fixture
def source(tmp_path: Path) -> str:
    path = tmp_path / "source"
    path.write_bytes(b"new")
    return str(path)


def remove_when_made(monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """Another process deletes the last file of a folder, right after a writer has seen the folder."""
    make, left = Path.mkdir, [times]

    def make_and_lose(folder: Path, *args: Any, **named: Any) -> None:
        make(folder, *args, **named)
        if left[0] and folder.is_dir() and str(folder).endswith(FOLDER):
            left[0] -= 1
            folder.rmdir()

    monkeypatch.setattr(Path, "mkdir", make_and_lose)


@pytest.mark.parametrize("write", WRITES.values(), ids=list(WRITES))
def test_a_folder_that_others_remove_is_made_again(
    write: Callable[[Store, str], Any], store: Store, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove_when_made(monkeypatch, times=3)
    write(store, source)
    assert store.read_bytes(f"{FOLDER}/new") == b"new"
    assert [entry.path for entry in store.list_files()] == [f"{FOLDER}/new"]
    assert store.list_spools() == []


def test_an_output_is_opened_in_a_folder_that_others_remove(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove_when_made(monkeypatch, times=3)
    with store.backend.open_output(f"{FOLDER}/new") as file:
        file.write(b"new")
    assert store.read_bytes(f"{FOLDER}/new") == b"new"


@pytest.mark.parametrize("step", ["mkdir", "rmdir", "unlink"])
def test_two_checks_at_once_of_an_output_that_does_not_exist_both_succeed(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second makes the folders, writes, and removes them, at each step of the first."""
    root, real = str(tmp_path / "new" / "output"), getattr(Path, step)
    checks: list[str] = []

    def come_between(path: Path, *args: Any, **named: Any) -> None:
        real(path, *args, **named)
        if checks[-1] == "first":
            checks.append("second")
            check_writable(Store(root))
            check_creates(Store(root))
            checks.append("first")

    monkeypatch.setattr(Path, step, come_between)
    for check in (check_writable, check_creates):
        checks.append("first")
        check(Store(root))

    assert "second" in checks
    assert Store(root).list_files() == []


def test_a_writer_whose_folder_never_stays_gives_up(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove_when_made(monkeypatch, times=local.FOLDER_ATTEMPTS)
    with pytest.raises(FileNotFoundError):
        store.backend.write_bytes(f"{FOLDER}/new", b"new")


def test_a_file_in_place_of_the_folder_is_an_error(store: Store) -> None:
    store.write_bytes("a", b"a file")
    with pytest.raises((FileExistsError, NotADirectoryError)):
        store.backend.write_bytes("a/b", b"new")
    assert store.read_bytes("a") == b"a file"


def test_a_folder_that_others_removed_first_is_no_error(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write_bytes("a/b/c/file", b"")
    remove = Path.rmdir

    def remove_twice(folder: Path) -> None:
        remove(folder)
        remove(folder)

    monkeypatch.setattr(Path, "rmdir", remove_twice)
    store.delete(["a/b/c/file"])
    assert not Path(store.root, "a").exists()


def test_no_two_replace_a_file_that_neither_has_seen(
    store: Store, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock is on the folder that holds the file, not on a folder of the same name before it."""
    lock = local._locked

    def lock_after_a_removal(folder: Path) -> Any:
        with pytest.raises(OSError, match="not empty"):
            folder.rmdir()
        return lock(folder)

    monkeypatch.setattr(local, "_locked", lock_after_a_removal)
    store.backend.replace(source, f"{FOLDER}/new", None, {})
    assert store.read_bytes(f"{FOLDER}/new") == b"new"
