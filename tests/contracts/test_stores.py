"""The contract of storage backends. Each runs this suite; see `nightscore.storage.protocol`.

A new backend is one file in `storage/backends`, its schemes in the catalog, and one more place here.
"""

import pickle
import pkgutil
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nightscore.errors import (
    ConflictError,
    InvalidJobError,
    LocationNotFoundError,
    StorageError,
    StorageUnavailableError,
)
from nightscore.schemas.uri import STORE_SCHEMES
from nightscore.storage import backends
from nightscore.storage.backend_catalog import (
    FALLBACK,
    MODULES,
    describe_places,
    find_backend,
    known_backends,
    registered,
)
from nightscore.storage.backends.generic import FsspecBackend
from nightscore.storage.hashing import HashingFile
from nightscore.storage.protocol import TABLES_ONLY, Capabilities, ErrorCodes
from nightscore.storage.store import Store
from tests.fakes.memory_store import MemoryBackend, memory_store

SECRET = "s3cr3t-0f-th3-c0ntr4ct"


class TinyBackend(FsspecBackend):
    """A store of the test's own: one class, and nothing else in nightscore knows it."""

    schemes = ("tiny",)
    error_codes = ErrorCodes(libraries=("tinystore",), absent=("TinyGone",))

    @classmethod
    def fsspec_options(cls, account: str, options: Any) -> dict[str, Any]:
        return {}

    @property
    def fs(self) -> Any:
        import fsspec

        return fsspec.filesystem("memory")

    @property
    def root(self) -> str:  # type: ignore[override]
        return "/" + self.uri.removeprefix("tiny://").rstrip("/")


def local_store(request: pytest.FixtureRequest) -> Store:
    return Store(str(request.getfixturevalue("tmp_path") / "place"))


def s3_store(request: pytest.FixtureRequest) -> Store:
    server = request.getfixturevalue("s3_server")
    return Store(f"s3://lake/contract-{uuid4().hex}/place", server.options)


PLACES: dict[str, Callable[[pytest.FixtureRequest], Store]] = {
    "local": local_store,
    "s3": s3_store,
    "fake": lambda _: memory_store(f"bucket/{uuid4().hex}/place"),
    "fsspec": lambda _: Store(f"memory://bucket/{uuid4().hex}/place"),
    "tiny": lambda _: Store(f"tiny://bucket/{uuid4().hex}/place"),
}
RUN_HERE = {"local": "local", "s3": "s3", "generic": "fsspec"}
"""Modules of `storage/backends`, and the places above that they serve."""
NOT_RUN = {
    "azure": "no server that the tests could start; tests/storage/test_stores.py has its options and errors",
    "gcs": "no server that the tests could start; tests/storage/test_stores.py has its options and errors",
}
"""The other modules, and why this suite does not run them."""


@pytest.fixture(
    params=[pytest.param(name, marks=pytest.mark.s3 if name == "s3" else ()) for name in PLACES]
)
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    with registered(MemoryBackend), registered(TinyBackend):
        yield PLACES[request.param](request)


def needs(store: Store, is_able: bool) -> None:
    if not is_able:
        pytest.skip(f"{store.scheme}:// cannot do this, and says so in its capabilities")


# The place.


def test_a_place_has_a_backend_a_root_and_a_url(store: Store) -> None:
    assert type(store.backend) is find_backend(store.scheme)
    assert store.scheme in store.backend.schemes or type(store.backend) is FsspecBackend
    assert store.root.endswith("/place")
    assert store.url.endswith("/place")
    assert store.locate("a/b") == f"{store.root}/a/b"
    assert store.locate_url("a/b") == f"{store.url}/a/b"
    assert store.locate("") == store.root
    assert isinstance(store.capabilities, Capabilities)


def test_a_sibling_stands_beside(store: Store) -> None:
    beside = store.sibling(".nightscore")
    assert beside.url == f"{store.url}.nightscore"
    beside.write_bytes("x", b"1")
    assert store.list_files() == []
    assert beside.read_bytes("x") == b"1"


def test_parents_are_the_folders_above(store: Store) -> None:
    store.write_bytes("x", b"1")
    nearest = store.parents()[0]
    assert nearest.url == store.url.removesuffix("/place")
    assert [entry.path for entry in nearest.list_files()] == ["place/x"]


def test_a_pickled_store_is_the_same_and_holds_no_secret(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write_bytes("x", b"1")
    monkeypatch.setenv("NIGHTSCORE_CONTRACT_SECRET", SECRET)
    named = Store(store.uri, {**store.options, "profile": "${NIGHTSCORE_CONTRACT_SECRET}"})
    assert named.backend
    assert SECRET.encode() not in pickle.dumps(named)
    assert "backend" not in vars(pickle.loads(pickle.dumps(named)))

    restored = pickle.loads(pickle.dumps(store))
    assert restored == store
    assert restored.read_bytes("x") == b"1"


def test_options_for_tables_are_texts(store: Store) -> None:
    options = store.table_options()
    assert all(isinstance(value, str) for item in options.items() for value in item)


# Nothing there.


def test_an_absent_place_is_empty(store: Store) -> None:
    assert store.list_files() == []
    assert store.list_files("folder") == []
    assert store.list_names() == ([], [])
    assert store.list_folders("folder") == []
    assert store.list_spools() == []
    assert not store.has_files("folder")
    assert not store.exists("x")
    assert store.head("x") is None
    store.delete([])
    store.delete(["x", "folder/y"])
    store.delete_tree("folder")


def test_an_absent_file_is_told_apart(store: Store) -> None:
    for read in (
        lambda: store.read_bytes("folder/x"),
        lambda: store.read_range("folder/x", 0, 1),
        lambda: store.describe("folder/x"),
        lambda: store.sha256("folder/x"),
    ):
        with pytest.raises(LocationNotFoundError) as caught:
            read()
        assert not caught.value.retryable


# Reading and writing.


def test_a_file_is_read_as_it_was_written(store: Store) -> None:
    store.write_bytes("folder/x", b"0123456789")
    assert store.exists("folder/x")
    assert store.read_bytes("folder/x") == b"0123456789"
    assert store.read_range("folder/x", 2, 5) == b"234"
    assert store.read_range("folder/x", 8, 99) == b"89"
    assert store.read_range("folder/x", 99, 100) == b""
    assert store.sha256("folder/x") == (
        "84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882"
    )


def test_a_file_is_replaced_whole(store: Store) -> None:
    store.write_bytes("x", b"old and long")
    before = store.describe("x")
    store.write_bytes("x", b"new")
    after = store.describe("x")
    assert store.read_bytes("x") == b"new"
    assert (before.size_bytes, after.size_bytes) == (12, 3)
    assert before.version != after.version
    assert after.path == "x"


def test_an_empty_file_is_a_file(store: Store) -> None:
    store.write_bytes("x", b"")
    assert store.exists("x")
    assert store.read_bytes("x") == b""
    assert [entry.size_bytes for entry in store.list_files()] == [0]


def test_an_output_is_hashed_and_complete_once_it_is_closed(store: Store) -> None:
    file = HashingFile(store.open_output("folder/x"))
    file.write(b"01234")
    file.write(b"56789")
    file.close()
    assert store.read_bytes("folder/x") == b"0123456789"
    assert (file.size_bytes, file.sha256) == (10, store.sha256("folder/x"))


def test_an_output_replaces_what_was_there(store: Store) -> None:
    store.write_bytes("x", b"old and long")
    with store.open_output("x") as file:
        file.write(b"new")
    assert store.read_bytes("x") == b"new"


def test_pyarrow_reads_and_writes(store: Store) -> None:
    table = pa.table({"a": [1, 2, 3]})
    with store.open_output("ds=1/a.parquet") as file:
        pq.write_table(table, file)
    with pq.ParquetFile(store.open_input("ds=1/a.parquet")) as parquet:
        assert parquet.read().equals(table)


def test_names_may_have_any_characters_of_partitions(store: Store) -> None:
    path = "ds=2024-02-29 12%3A00/a b=ü.parquet"
    store.write_bytes(path, b"1")
    assert [entry.path for entry in store.list_files()] == [path]
    assert store.read_bytes(path) == b"1"
    store.delete([path])
    assert store.list_files() == []


# Listing.


def test_listings_are_sorted_and_relative(store: Store) -> None:
    for path in ("b", "a/2", "a/1", "a/c/3", "ab/4"):
        store.write_bytes(path, path.encode())
    entries = store.list_files()
    assert [entry.path for entry in entries] == ["a/1", "a/2", "a/c/3", "ab/4", "b"]
    assert [entry.size_bytes for entry in entries] == [3, 3, 5, 4, 1]
    assert [entry.path for entry in store.list_files("a")] == ["a/1", "a/2", "a/c/3"]
    assert store.list_names() == (["a", "ab"], ["b"])
    assert store.list_names("a") == (["c"], ["1", "2"])
    assert store.list_folders() == ["a", "ab"]


def test_a_prefix_is_a_folder(store: Store) -> None:
    store.write_bytes("ab/4", b"1")
    assert not store.has_files("a")
    assert store.has_files("ab")
    assert store.list_files("a") == []
    store.delete_tree("a")
    assert store.exists("ab/4")


def test_a_version_stays_as_long_as_the_file_does(store: Store) -> None:
    store.write_bytes("folder/x", b"1")
    (listed,), described = store.list_files(), store.describe("folder/x")
    assert (described.path, described.size_bytes) == (listed.path, listed.size_bytes)
    assert store.list_files() == [listed]
    assert store.describe("folder/x") == described
    if store.is_conditional:
        assert described.version == listed.version


def test_a_listing_is_never_old(store: Store) -> None:
    assert store.list_files() == []
    store.write_bytes("x", b"1")
    assert [entry.path for entry in store.list_files()] == ["x"]
    store.delete(["x"])
    assert store.list_files() == []


# Removing.


def test_files_are_removed(store: Store) -> None:
    for path in ("a/1", "a/2", "b"):
        store.write_bytes(path, b"1")
    store.delete(["a/1", "never there", "b"])
    assert [entry.path for entry in store.list_files()] == ["a/2"]
    store.delete_tree("a")
    assert store.list_files() == []


# The store's clock.


def test_the_store_s_clock_does_not_go_back(store: Store) -> None:
    first = store.clock_s()
    assert store.clock_s() >= first
    assert store.list_files() == []


# On a condition.


def test_capabilities_are_told_and_kept_to(store: Store) -> None:
    able = store.capabilities
    assert store.is_conditional == (able.can_create and able.can_replace)
    if not able.can_create:
        with pytest.raises(StorageError, match=store.scheme):
            store.create("x", b"1")
    if not able.can_replace:
        for act in (
            lambda: store.swap("x", b"1", b"2"),
            lambda: store.replace(store.locate("x"), "y", None, {}),
            store.check_conditional,
        ):
            with pytest.raises(StorageError, match=store.scheme):
                act()
    assert store.list_files() == []


def test_a_file_is_created_once(store: Store) -> None:
    needs(store, store.capabilities.can_create)
    store.create("claims/x", b"first", is_durable=False)
    with pytest.raises(ConflictError):
        store.create("claims/x", b"second")
    assert store.read_bytes("claims/x") == b"first"
    assert [entry.path for entry in store.list_files()] == ["claims/x"]
    assert store.list_spools() == []


def test_of_several_creators_one_succeeds(store: Store) -> None:
    needs(store, store.capabilities.can_create)

    def create(n: int) -> bool:
        try:
            store.create("x", b"%d" % n)
        except ConflictError:
            return False
        return True

    with ThreadPoolExecutor(4) as threads:
        has_won = list(threads.map(create, range(8)))
    assert has_won.count(True) == 1
    assert store.read_bytes("x") == b"%d" % has_won.index(True)


def test_a_file_is_swapped_only_for_what_was_read(store: Store) -> None:
    needs(store, store.capabilities.can_replace)
    store.write_bytes("x", b"1")
    store.swap("x", b"1", b"2")
    assert store.read_bytes("x") == b"2"
    with pytest.raises(ConflictError):
        store.swap("x", b"1", b"3")
    for absent in ("y", "folder/y"):
        with pytest.raises(ConflictError):
            store.swap(absent, b"", b"1")
    assert store.read_bytes("x") == b"2"
    assert [entry.path for entry in store.list_files()] == ["x"]
    assert store.list_spools() == []


def test_of_several_swaps_one_succeeds(store: Store) -> None:
    needs(store, store.capabilities.can_replace)
    store.write_bytes("x", b"old")

    def swap(n: int) -> bool:
        try:
            store.swap("x", b"old", b"%d" % n)
        except ConflictError:
            return False
        return True

    with ThreadPoolExecutor(4) as threads:
        has_won = list(threads.map(swap, range(8)))
    assert has_won.count(True) == 1
    assert store.read_bytes("x") == b"%d" % has_won.index(True)


def test_a_file_is_replaced_only_in_the_version_that_was_seen(store: Store) -> None:
    needs(store, store.capabilities.can_replace)
    state = store.sibling(".nightscore")
    for name in ("1", "2", "3"):
        state.write_bytes(name, name.encode())

    store.replace(state.locate("1"), "ds=x/p", None, {"run": "first"})
    first = store.head("ds=x/p")
    assert first is not None
    assert first[1] in ({"run": "first"}, {})
    with pytest.raises(ConflictError):
        store.replace(state.locate("2"), "ds=x/p", None, {})

    store.replace(state.locate("2"), "ds=x/p", first[0], {})
    with pytest.raises(ConflictError):
        store.replace(state.locate("3"), "ds=x/p", first[0], {})
    assert store.read_bytes("ds=x/p") == b"2"
    assert [entry.path for entry in state.list_files()] == ["1", "2", "3"]
    assert [*store.list_spools(), *state.list_spools()] == []


def test_conditions_are_probed_and_the_probes_removed(store: Store) -> None:
    needs(store, store.is_conditional)
    store.check_conditional()
    store.check_exclusive()
    assert store.list_files() == []


def test_a_bucket_that_does_not_exist_is_not_an_empty_one(store: Store) -> None:
    store.write_bytes("x", b"1")
    store.check_reachable()


# What a backend declares is all that is known about it.


def test_each_scheme_has_one_backend() -> None:
    schemes = [scheme for backend in known_backends() for scheme in backend.schemes]
    assert sorted(schemes) == sorted(set(schemes))
    for backend in known_backends():
        for scheme in backend.schemes:
            assert find_backend(scheme) is backend


def test_the_catalog_has_every_backend_with_all_of_its_schemes() -> None:
    modules = {module.name for module in pkgutil.iter_modules(backends.__path__)}
    assert {*MODULES.values(), FALLBACK} == modules
    assert len(known_backends()) == len(modules)

    schemes = {scheme for backend in known_backends() for scheme in backend.schemes}
    assert {*MODULES} == schemes
    for scheme, module in MODULES.items():
        assert find_backend(scheme).__module__ == f"{backends.__name__}.{module}"


def test_the_job_file_knows_which_schemes_name_the_same_places() -> None:
    declared = {frozenset(backend.schemes) for backend in known_backends() if backend.schemes}
    assert {frozenset(schemes) for schemes in STORE_SCHEMES} == declared


def test_every_scheme_of_a_bucket_is_in_the_readme_s_table_of_outputs() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    rows = [line for line in readme.splitlines() if line.startswith("|") and "://`" in line]
    documented = {*re.findall(r"`(\w+)://`", "\n".join(rows))}
    assert documented == {*MODULES} - {"file"}


def test_every_backend_runs_here_or_says_why_not() -> None:
    assert {*RUN_HERE} | {*NOT_RUN} == {*MODULES.values(), FALLBACK}
    assert not {*RUN_HERE} & {*NOT_RUN}
    assert all(NOT_RUN.values())
    assert {*RUN_HERE.values()} <= {*PLACES}


@pytest.mark.parametrize(
    "module",
    [pytest.param(name, marks=pytest.mark.s3 if name == "s3" else ()) for name in RUN_HERE],
)
def test_a_place_is_served_by_the_backend_that_it_stands_for(
    module: str, request: pytest.FixtureRequest
) -> None:
    backend = type(PLACES[RUN_HERE[module]](request).backend)
    assert backend.__module__ == f"{backends.__name__}.{module}"


def test_no_backend_gives_a_code_another_meaning() -> None:
    meanings: dict[str, set[str]] = {}
    fields = ("absent", "expired", "clock", "denied", "unexplained", "busy", "precondition")
    for backend in known_backends():
        for field in fields:
            for code in getattr(backend.error_codes, field):
                meanings.setdefault(code, set()).add(field)
    assert not {code: names for code, names in meanings.items() if len(names) > 1}


def test_a_registered_backend_is_known_everywhere_and_only_while_it_is_registered() -> None:
    class TablesBackend(TinyBackend):
        schemes = ("tables",)
        capabilities = TABLES_ONLY

    def places() -> str:
        return describe_places(lambda able: able.can_commit)

    assert places() == "a local folder, s3://, s3a://, az://, abfs://, abfss://, gs:// or gcs://"
    with registered(TablesBackend):
        assert isinstance(Store("tables://x/y").backend, TablesBackend)
        assert places().endswith("gcs:// or tables://")
    assert "tables" not in places()
    with pytest.raises(InvalidJobError, match="tables://"):
        Store("tables://x/y").list_files()


def test_a_registered_backend_s_errors_are_told_as_ours() -> None:
    kind = type("TinyError", (Exception,), {"__module__": "tinystore.client"})

    def failing(**fields: Any) -> type[TinyBackend]:
        class FailingBackend(TinyBackend):
            def read_bytes(self, path: str) -> bytes:
                error = kind("no")
                vars(error).update(fields)
                raise error

        return FailingBackend

    with registered(failing(error_code="TinyGone")), pytest.raises(LocationNotFoundError):
        Store("tiny://x/y").read_bytes("a")
    with registered(failing()), pytest.raises(StorageUnavailableError) as caught:
        Store("tiny://x/y").read_bytes("a")
    assert caught.value.where == "tiny://x/y/a"
    with pytest.raises(kind):
        failing()("tiny://x/y", {}).read_bytes("a")


def test_only_backends_and_the_table_of_schemes_know_schemes() -> None:
    import nightscore

    (root,) = map(Path, nightscore.__path__)
    provider = re.compile(r"\bs3a?://|abfss?\b|\bgcs?://|\bgs://|is_s3|S3_SCHEMES|GOOGLE_SCHEMES")
    allowed = ("storage/backends/", "storage/backend_catalog.py", "flows/", "schemas/")
    knowing = [
        path.relative_to(root).as_posix()
        for path in sorted(root.rglob("*.py"))
        if provider.search(path.read_text())
    ]
    assert [path for path in knowing if not path.startswith(allowed)] == []
