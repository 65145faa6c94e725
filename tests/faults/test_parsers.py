"""Bytes over which Arrow ends its process: that is never the driver, and the error names the file."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as encryption
import pytest

from nightscore.arrow.parsing import client, decode, files, server
from nightscore.arrow.parsing.row_groups import parse_footers
from nightscore.arrow.parsing.thrift import ThriftError, read_struct
from nightscore.engine.model_facts import learn_facts
from nightscore.engine.planning.plan import PlannedWorkers, plan_partition
from nightscore.errors import (
    CorruptFileError,
    LocationNotFoundError,
    ScoringError,
    StorageError,
    WorkerError,
)
from nightscore.inputs.dataset import Dataset
from nightscore.inputs.footers import BATCH_FILES, read_footers
from nightscore.inputs.partitions import find_partition
from nightscore.ledger.layout import predictions_store, state_store
from nightscore.ledger.workspace import Workspace
from nightscore.models.pinned import PinnedModel
from nightscore.operations.backfill import plan_backfill
from nightscore.operations.backfill_runner import score_items
from nightscore.operations.baseline import record_baseline
from nightscore.operations.clean import clean
from nightscore.operations.compare_datasets import open_side
from nightscore.operations.report import read_report, reported_run
from nightscore.operations.rollback import plan_rollback
from nightscore.operations.verify import verify
from nightscore.outputs import handle
from nightscore.outputs.publish import open_publisher
from nightscore.profiles.table import from_bytes
from nightscore.schemas.manifest import Manifest
from nightscore.schemas.partition import InputFile
from nightscore.storage.store import Store
from tests.reports.test_page import get, served
from tests.support.lake import Lake
from tests.support.models import make_frame

DAYS = ("2024-03-01", "2024-03-02", "2024-03-03")
SIGNALS = ("SIGABRT", "SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL")


def footer_bytes(content: bytes) -> int:
    return int.from_bytes(content[-8:-4], "little") + 8


def aborting(content: bytes) -> bytes:
    """The first of all flips of one bit in a file's footer over which Arrow ends its process."""
    start = len(content) - footer_bytes(content)
    for place in range(start, len(content) - 8):
        for bit in range(8):
            changed = bytearray(content)
            changed[place] ^= 1 << bit
            try:
                client.call(parse_footers, [bytes(changed[start:])], where="flipped", attempts=1)
            except CorruptFileError as error:
                assert any(name in error.found for name in SIGNALS)
                return bytes(changed)
    pytest.skip("this version of Arrow ends over no flip of this file")


def written(frame: Any, **options: Any) -> bytes:
    table = (
        frame if isinstance(frame, pa.Table) else pa.Table.from_pandas(frame, preserve_index=False)
    )
    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata(None), sink, **options)
    return bytes(sink.getvalue())


@pytest.fixture(scope="module")
def deadly() -> bytes:
    """A file of 480 bytes that ends the process that opens it."""
    return aborting(written(pa.table({"a": [1.5, 2.5]})))


@pytest.fixture
def published(lake: Lake) -> Lake:
    """Three days, the middle one of which is damaged later on."""
    lake.formats = "parquet"
    for i, day in enumerate(DAYS):
        lake.write(day, make_frame(100, seed=i))
        assert lake.run(lake.job(), day).status == "published"
    return lake


def spoil(lake: Lake, deadly: bytes, day: str = DAYS[1]) -> None:
    lake.features.write_bytes(f"ds={day}/bad.parquet", deadly)


def names_it(error: object, name: str = "bad.parquet") -> bool:
    return name in str(error) and any(signal_name in str(error) for signal_name in SIGNALS)


# The process apart.
# ----------------------------------------------------------------------------------------


def test_a_process_that_dies_names_the_file_and_is_replaced() -> None:
    for _ in range(2):
        with pytest.raises(CorruptFileError, match=r"a\.parquet(.|\n)*SIGABRT"):
            client.call(os.abort, where="a.parquet")
        assert client.call(len, b"abc", where="b.parquet") == 3


def test_one_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "CALL_S", 0.05)
    with pytest.raises(CorruptFileError, match="no answer in time"):
        client.call(signal.pause, where="a.parquet", attempts=1)


def test_one_that_hangs_ends_by_itself_once_its_parent_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The kernel sees to it: nobody may be there who could."""
    monkeypatch.setattr(client, "CALL_S", -server.GRACE_S + 0.5)  # one second, rounded up
    child = client._Child(client._start())
    child.ask(server.CALL, (signal.pause, (), client.CALL_BYTES, client.CALL_S))
    assert child._process.wait(60) == -signal.SIGALRM
    child.end()


def test_memory_is_bounded_and_the_process_goes_on() -> None:
    before = client.call(os.getpid, where="")
    with pytest.raises(MemoryError):
        client.call(bytearray, 2 * client.CALL_BYTES, where="a.parquet")
    assert client.call(os.getpid, where="") == before != os.getpid()


def test_what_a_function_raises_is_raised_here() -> None:
    with pytest.raises(ZeroDivisionError):
        client.call(divmod, 1, 0, where="")
    with pytest.raises(pa.ArrowInvalid):
        client.call(decode.table_of, b"no Parquet at all", where="")


def test_an_answer_is_made_of_plain_records_only() -> None:
    """The process that gives it has seen bytes that may have taken it over."""
    with pytest.raises(CorruptFileError, match="cannot be read"):
        client.call(eval, "__import__('os').system", where="a.parquet", attempts=1)


def test_one_that_cannot_start_is_no_fault_of_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    client.end_all()
    monkeypatch.setattr(client, "START", "raise SystemExit(3)  # {path}")
    with pytest.raises(WorkerError, match="exit code 3"):
        client.call(len, b"", where="a.parquet")


def test_threads_share_one_process_in_turns() -> None:
    client.end_all()
    pids: list[int] = []
    threads = [
        threading.Thread(target=lambda: pids.append(client.call(os.getpid, where="")))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(pids) == 8
    assert len(set(pids)) == 1


def test_a_stream_that_is_left_half_way_leaves_nothing_behind(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.write_bytes("a.parquet", written(pa.table({"x": np.arange(100)})))
    tables = files.read_tables(store, "a.parquet", ["x"], 10)
    assert next(tables).num_rows == 10
    tables.close()
    assert sum(table.num_rows for table in files.read_tables(store, "a.parquet", ["x"], 30)) == 100


def test_a_number_without_an_end_is_no_thrift() -> None:
    with pytest.raises(ThriftError):
        read_struct(b"\x15" + b"\xff" * 1_000_000)


READ_IN_WORKERS = {
    "scoring/inputs/parquet_files.py",
    "scoring/outputs/duplicates.py",
    "scoring/outputs/merge.py",
    "scoring/outputs/quarantine.py",
    "scoring/outputs/splice.py",
}
"""Their functions that open Parquet run in a worker, or in the process apart."""
FROM_WORKERS = {"scoring/profiles/table.py"}
"""They read what this run's own workers send, which the driver unpickles anyway."""
ONLY_PRINTED = {"scoring/cli/commands/demo.py", "scoring/operations/project/checks.py"}
"""Their code that reads is for people to paste."""


def test_nothing_else_opens_parquet() -> None:
    root = Path(client.__file__).resolve().parents[3]
    reads = re.compile(
        r"pq\.(ParquetFile\(|ParquetDataset|read_)|pl\.(read|scan)_|\bipc\b|pyarrow\.dataset"
    )
    modules = [
        path
        for package in ("schemas", "scoring", "flows")
        for path in (root / package).rglob("*.py")
    ]
    readers = {str(path.relative_to(root)) for path in modules if reads.search(path.read_text())}
    assert readers - {"scoring/arrow/parsing/decode.py"} == (
        READ_IN_WORKERS | FROM_WORKERS | ONLY_PRINTED
    )


def test_the_driver_starts_without_the_library() -> None:
    code = (
        "import importlib, pkgutil, sys\n"
        "from nightscore.cli import commands\n"
        "for module in pkgutil.iter_modules(commands.__path__):\n"
        "    importlib.import_module(f'nightscore.cli.commands.{module.name}')\n"
        "sys.exit('pyarrow._parquet' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=False).returncode == 0


# Footers.
# --------------------------------------------------------------------------------------------------


def test_what_runs_apart_is_there_without_numpy(tmp_path: Path) -> None:
    code = (
        "from nightscore.arrow.parsing.server import load_arrow; load_arrow(); import nightscore.{}"
    )
    for module in ("inputs.parquet_files", "arrow.parsing.decode", "arrow.parsing.row_groups"):
        subprocess.run([sys.executable, "-c", code.format(module)], check=True)
    pq.write_table(pa.table({"x": [1.5, 2.5], "t": ["a", None]}), tmp_path / "a.parquet")
    for name, expected in (("x", [1.5, 2.5]), ("t", ["a", None])):
        (read,) = Dataset(str(tmp_path)).read(name)
        assert read.to_pylist() == expected


def test_a_dataset_without_parquet_is_asked_for_some_of_any_name(tmp_path: Path) -> None:
    with pytest.raises(LocationNotFoundError, match="whose name starts with neither _ nor"):
        Dataset(str(tmp_path))
    pq.write_table(pa.table({"x": [1.5]}), tmp_path / "000000_0")
    assert [file.path for file in Dataset(str(tmp_path)).files] == ["000000_0"]


def test_of_many_files_all_that_are_damaged_are_named(tmp_path: Path, deadly: bytes) -> None:
    store = Store(str(tmp_path))
    good = written(make_frame(60, seed=9))
    damaged = (3, BATCH_FILES[0] + 2)
    for i in range(BATCH_FILES[0] + 8):
        store.write_bytes(f"{i:03d}.parquet", deadly if i in damaged else good)
    listed = [
        InputFile(entry.path, entry.size_bytes, entry.version) for entry in store.list_files()
    ]
    with pytest.raises(CorruptFileError) as raised:
        read_footers(store, listed)
    first, second = raised.value.problems
    assert names_it(first, "003.parquet")
    assert names_it(second, f"{damaged[1]:03d}.parquet")
    assert len(read_footers(store, [file for i, file in enumerate(listed) if i not in damaged])) > 1


class _Vault(encryption.KmsClient):
    """Keeps keys as what they are."""

    def wrap_key(self, key: bytes, name: str) -> str:
        return key.hex()

    def unwrap_key(self, wrapped: str, name: str) -> bytes:
        return bytes.fromhex(wrapped)


@pytest.mark.parametrize("is_plain", [True, False], ids=["plain footer", "encrypted footer"])
def test_encrypted_files_are_said_to_be_encrypted(tmp_path: Path, is_plain: bool) -> None:
    configuration = encryption.EncryptionConfiguration(
        footer_key="f", column_keys={"c": ["a"]}, plaintext_footer=is_plain
    )
    factory = encryption.CryptoFactory(lambda _: _Vault())
    properties = factory.file_encryption_properties(encryption.KmsConnectionConfig(), configuration)
    store = Store(str(tmp_path))
    for i in range(3):
        store.write_bytes(f"{i}.parquet", written(make_frame(20), encryption_properties=properties))
    listed = [
        InputFile(entry.path, entry.size_bytes, entry.version) for entry in store.list_files()
    ]
    with pytest.raises(CorruptFileError) as raised:
        read_footers(store, listed)
    assert len(raised.value.problems) == 3
    assert all(
        "is encrypted" in problem and "unencrypted" in problem for problem in raised.value.problems
    )


# Commands.
# -------------------------------------------------------------------------------------------------


def test_a_run_fails_and_names_the_file(lake: Lake, deadly: bytes) -> None:
    lake.write(DAYS[1], make_frame(100))
    spoil(lake, deadly)
    manifest = lake.run(lake.job(), DAYS[1])
    assert manifest.error is not None
    assert manifest.error.type == "CorruptFileError"
    assert names_it(manifest.error.message)
    lake.features.delete([f"ds={DAYS[1]}/bad.parquet"])
    assert lake.run(lake.job(), DAYS[1]).status == "published"


def test_a_plan_names_the_file(lake: Lake, deadly: bytes) -> None:
    spoil(lake, deadly)
    job = lake.job()
    model = PinnedModel.resolve(job, lake.cache)
    facts = learn_facts(model, lake.cache, lake.pool)
    partition, _ = find_partition(Workspace(job), DAYS[1])
    with pytest.raises(CorruptFileError) as raised:
        plan_partition(job, model, facts, partition, PlannedWorkers(1))
    assert names_it(raised.value)


def test_the_other_dates_of_a_backfill_are_published(lake: Lake, deadly: bytes) -> None:
    for i, day in enumerate(DAYS):
        lake.write(day, make_frame(100, seed=i))
    spoil(lake, deadly)
    job = lake.job()
    plan = plan_backfill(job, lake.cache, DAYS)
    assert [item.n_rows for item in plan.to_score] == [100, None, 100]
    manifests = {
        manifest.partition: manifest for manifest in score_items(job, plan.to_score, lake.cache, [])
    }
    assert [manifests[day].status for day in DAYS] == ["published", "failed", "published"]
    error = manifests[DAYS[1]].error
    assert error is not None
    assert names_it(error.message)


def test_drift_and_baseline_name_the_file(lake: Lake, tmp_path: Path, deadly: bytes) -> None:
    (tmp_path / "bad.parquet").write_bytes(deadly)
    with pytest.raises(CorruptFileError) as raised:
        open_side(str(tmp_path / "bad.parquet"))
    assert names_it(raised.value)
    with pytest.raises(CorruptFileError) as raised:
        record_baseline(lake.job(), str(tmp_path / "bad.parquet"), lake.pool, lake.cache)
    assert names_it(raised.value)


def test_a_verification_goes_on(published: Lake, deadly: bytes) -> None:
    job = published.job()
    store = predictions_store(job)
    (path,) = (entry.path for entry in store.list_files(f"ds={DAYS[1]}"))
    store.write_bytes(path, deadly)
    verification = verify(job, DAYS[1], published.pool, published.cache, 64, 1)
    assert [finding.kind for finding in verification.findings] == ["no record"]
    assert path in verification.findings[0].found

    (staying,) = (entry.path for entry in store.list_files(f"ds={DAYS[0]}"))
    assert verify(job, DAYS[0], published.pool, published.cache, 64, 1).is_sound
    assert set(open_publisher(Workspace(job)).all_live()) == set(DAYS)
    assert not [name for name in cleaned(published) if staying in name or path in name]
    assert store.exists(path)


def cleaned(lake: Lake) -> list[str]:
    return clean(lake.job(), datetime.now(UTC), timedelta(0), delete=True)


def test_a_rollback_refuses_results_that_cannot_be_read(published: Lake) -> None:
    job, state = published.job(), state_store(published.job())
    first = open_publisher(Workspace(job)).live(DAYS[1])
    assert first is not None
    assert first.run_id is not None
    published.run(job, DAYS[1], force=True)
    (path,) = (entry.path for entry in state.list_files("sealed") if first.run_id in entry.path)
    state.write_bytes(path, aborting(state.read_bytes(path)))
    (item,) = plan_rollback(job, [DAYS[1]])
    assert item.action == "refuse"
    assert names_it(item.reason, path)


@pytest.fixture
def spoilt_profile(published: Lake, deadly: bytes) -> Iterator[tuple[Manifest, str]]:
    """A run whose stored profile ends the process that reads it."""
    manifest = reported_run(published.job(), DAYS[2])
    assert manifest.drift is not None
    state_store(published.job()).write_bytes(manifest.drift.profile, deadly)
    yield manifest, manifest.drift.profile


def test_a_report_names_the_profile(published: Lake, spoilt_profile: tuple[Manifest, str]) -> None:
    manifest, path = spoilt_profile
    with pytest.raises(CorruptFileError) as raised:
        read_report(published.job(), manifest, published.cache)
    assert path in str(raised.value)


def test_pages_say_so_and_go_on(
    published: Lake, tmp_path: Path, spoilt_profile: tuple[Manifest, str]
) -> None:
    with served(published.job(), published, tmp_path) as url:
        status, text, _ = get(f"{url}/test/{DAYS[2]}")
        assert (status, spoilt_profile[1] in text) == (503, True)
        assert get(f"{url}/test/{DAYS[1]}")[0] == 200


def test_a_spoilt_profile_costs_the_next_run_its_comparison(
    published: Lake, spoilt_profile: tuple[Manifest, str]
) -> None:
    published.write("2024-03-04", make_frame(100, seed=4))
    manifest = published.run(published.job(), "2024-03-04")
    assert manifest.status == "published"
    assert any(spoilt_profile[1] in note for note in manifest.warnings)


def test_a_profile_s_bytes_are_no_profile(deadly: bytes) -> None:
    with pytest.raises(ValueError, match="no Parquet"):
        from_bytes(deadly)


# The table's log.
# ------------------------------------------------------------------------------------------


def test_a_panic_of_the_table_s_library_names_the_table(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    panic = type("PanicException", (BaseException,), {})

    def load(*_: object, **__: object) -> None:
        raise panic("index out of bounds")

    monkeypatch.setattr(handle, "DeltaTable", load)
    with pytest.raises(StorageError, match="panicked") as raised:
        open_publisher(Workspace(lake.job())).live(DAYS[0])
    assert predictions_store(lake.job()).url in str(raised.value)
    assert isinstance(raised.value, ScoringError)
