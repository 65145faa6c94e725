"""An index of many small files: quick where it knows them, and never another answer than theirs."""

import gzip
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from nightscore.errors import CredentialsError
from nightscore.ledger.listing_index import READ_ANYWAY, SETTLED_S, Listing, recall
from nightscore.storage.backend_catalog import registered
from nightscore.storage.errors import unsupported
from nightscore.storage.protocol import FILES_ONLY, NO_VERSION, Entry
from nightscore.storage.store import Store
from tests.fakes.memory_store import MemoryBackend, memory_store

INDEX = "index/files.json.gz"
N_FILES = READ_ANYWAY + 20


class UnconditionalBackend(MemoryBackend):
    """A store that cannot say whether somebody else was first."""

    capabilities = FILES_ONLY

    def create(self, path: str, data: bytes, *, is_durable: bool) -> None:
        raise unsupported("fake")

    def swap(self, path: str, expected: bytes, data: bytes) -> None:
        raise unsupported("fake")


@pytest.fixture(params=[MemoryBackend, UnconditionalBackend], ids=["conditional", "plain"])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    """A store with more files than are read each time."""
    with registered(request.param):
        store = memory_store(f"bucket/{uuid4().hex}")
        for i in range(N_FILES):
            store.write_bytes(path(i), str(i).encode())
        yield store


def path(i: int) -> str:
    return f"files/{i:03d}"


class Reader:
    """Reads files, and remembers which."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.read: list[str] = []

    def list_files(self) -> list[Entry]:
        return self.store.list_files("files")

    def __call__(self, entry: Entry) -> str | None:
        self.read.append(entry.path)
        content = self.store.read_bytes(entry.path).decode()
        return None if content == "unreadable" else content

    def recall(self, entries: list[Entry] | None = None, *, is_complete: bool = True) -> list[str]:
        self.read.clear()
        listed = self.list_files() if entries is None else entries
        listing = Listing(listed, self.list_files, is_complete)
        contents = recall(self.store, INDEX, listing, self, str)
        assert list(contents) == sorted(contents)
        return [*contents.values()]


def truth(store: Store) -> list[str]:
    contents = [store.read_bytes(entry.path).decode() for entry in store.list_files("files")]
    return [content for content in contents if content != "unreadable"]


def test_files_are_read_once_and_then_again_only_if_they_change(store: Store) -> None:
    reader = Reader(store)
    assert reader.recall() == truth(store)
    assert len(reader.read) == N_FILES
    assert reader.recall() == truth(store)
    assert reader.read == []

    store.write_bytes(path(3), b"other")
    store.write_bytes(path(999), b"new")
    store.delete([path(5)])
    assert reader.recall() == truth(store)
    assert sorted(reader.read) == [path(3), path(999)]


def test_few_files_need_no_index(store: Store) -> None:
    store.delete([path(i) for i in range(20)])
    reader = Reader(store)
    assert reader.recall() == reader.recall() == truth(store)
    assert len(reader.read) == READ_ANYWAY
    assert not store.exists(INDEX)


def test_a_file_that_cannot_be_read_is_left_out_and_asked_again(store: Store) -> None:
    store.write_bytes(path(7), b"unreadable")
    reader = Reader(store)
    for _ in range(2):
        assert reader.recall() == truth(store)
        assert path(7) in reader.read
    assert reader.read == [path(7)]


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"{}",
        gzip.compress(b'[1,{"files/000":["1",1]}]', mtime=0),
        gzip.compress(b"[1,{}]", mtime=0)[:-6],
        gzip.compress(b'[2,{"files/000":["1",1,"a lie of another version"]}]', mtime=0),
    ],
    ids=["empty", "not compressed", "too little of a record", "cut off", "another version"],
)
def test_a_lost_or_damaged_index_is_made_anew(store: Store, damaged: bytes) -> None:
    reader = Reader(store)
    reader.recall()
    store.write_bytes(INDEX, damaged)
    assert reader.recall() == truth(store)
    assert len(reader.read) == N_FILES
    assert reader.recall() == truth(store)
    assert reader.read == []

    store.delete([INDEX])
    assert reader.recall() == truth(store)
    assert len(reader.read) == N_FILES


def test_of_two_writers_the_older_one_may_win_and_nothing_is_wrong(store: Store) -> None:
    slow, quick = Reader(store), Reader(store)
    seen_by_slow = slow.list_files()
    for i in range(70):
        store.write_bytes(path(i), b"changed")
    assert quick.recall() == truth(store)

    # The slow one reads the new files, and has the old listing.
    slow.recall(seen_by_slow)
    for reader in (slow, quick):
        assert reader.recall() == truth(store)


def test_a_file_that_is_replaced_while_it_is_read_is_not_remembered(store: Store) -> None:
    class Replacing(Reader):
        def __call__(self, entry: Entry) -> str | None:
            if entry.path == path(4):
                store.write_bytes(path(4), b"between listing and reading")
            return super().__call__(entry)

    Replacing(store).recall()
    remembered = json.loads(gzip.decompress(store.read_bytes(INDEX)))[1]
    assert path(4) not in remembered
    assert len(remembered) == N_FILES - 1


def test_young_files_and_those_without_a_version_are_not_remembered(store: Store) -> None:
    def aged(age_s: float, version: str | None = None) -> None:
        entries = [
            replace(entry, modified_s=time.time() - age_s, version=version or entry.version)
            for entry in reader.store.list_files("files")
        ]
        recall(store, INDEX, Listing(entries, lambda: entries, True), reader, str)

    reader = Reader(store)
    aged(SETTLED_S / 2)
    aged(60, NO_VERSION)
    assert not store.exists(INDEX)
    aged(60)
    assert store.exists(INDEX)


def test_who_may_not_write_reads_all_the_same(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Store, path: str, data: bytes) -> None:
        raise CredentialsError("Refused.", path)

    with monkeypatch.context() as read_only:
        read_only.setattr(Store, "write_bytes", refuse)
        reader = Reader(store)
        assert reader.recall() == reader.recall() == truth(store)
        assert len(reader.read) == N_FILES

    assert Reader(store).recall() == truth(store), "somebody who may write makes the index"
    with monkeypatch.context() as read_only:
        read_only.setattr(Store, "write_bytes", refuse)
        assert reader.recall() == truth(store)
        assert reader.read == []


def test_a_part_of_the_files_neither_forgets_the_others_nor_is_mixed_with_them(
    store: Store,
) -> None:
    reader = Reader(store)
    part = reader.list_files()[: READ_ANYWAY + 10]
    assert len(reader.recall(part, is_complete=False)) == len(part)
    assert reader.recall() == truth(store)
    assert len(reader.read) == 10, "few: they are not written down"

    for i in range(70):
        store.write_bytes(path(i), b"changed")
    reader.recall(reader.list_files()[:70], is_complete=False)
    reader.recall()
    assert len(reader.read) == 10


def test_a_writer_that_was_killed_leaves_the_index_as_it_was(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    for i in range(N_FILES):
        file = tmp_path / path(i)
        file.parent.mkdir(exist_ok=True)
        file.write_text(str(i))
    half_written = tmp_path / f"index/.files.json.gz.{uuid4().hex}"
    half_written.parent.mkdir()
    half_written.write_bytes(b"\x1f\x8b")

    assert Reader(store).recall() == truth(store)
    assert [entry.path for entry in store.list_spools()] == [f"index/{half_written.name}"]
