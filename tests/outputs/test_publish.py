"""A reader sees the old or the new partition, never a mix; of two publishers one wins."""

import importlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable

from nightscore.errors import ConflictError, ContractError, StorageUnavailableError
from nightscore.ledger.layout import (
    part_path,
    predictions_store,
    sealed_history_path,
    staging_folder,
    state_store,
)
from nightscore.ledger.live import Live
from nightscore.ledger.workspace import Workspace
from nightscore.outputs.delta import CHECKPOINT_EVERY
from nightscore.outputs.publish import open_publisher
from nightscore.outputs.publisher import Publication, Publisher
from nightscore.outputs.sealed import seal
from nightscore.outputs.writer import PartWriter
from nightscore.schemas.job import ScoringJob
from nightscore.storage.run_cache import RunCache
from tests.support.lake import Lake
from tests.support.models import make_frame

SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("prediction", pa.float64()),
        ("run_id", pa.dictionary(pa.int32(), pa.string())),
    ]
)
PER_PART = 50


def test_what_readers_see_is_not_written_into(lake: Lake) -> None:
    """On a disk the published object is a link to the one in the state folder, which a next attempt seals again."""
    lake.formats = "parquet"
    lake.write("2024-02-29", make_frame(50))
    manifest = lake.run(lake.job())
    with state_store(lake.job()).open_output(
        sealed_history_path("ds=2024-02-29", manifest.run_id)
    ) as file:
        file.write(b"half of it")
        file.flush()
        assert len(lake.read(lake.job())) == 50


def run_id(n: int) -> str:
    return f"01a2095c-1262-7217-9c92-{n:012d}"


def publication(
    job: ScoringJob, n: int, value: str = "x", n_parts: int = 3, schema: pa.Schema = SCHEMA
) -> Publication:
    """A run's parts, written as workers write them; its number is in every row."""
    is_delta = job.output.format == "delta"
    store = predictions_store(job) if is_delta else state_store(job)
    folder = f"ds={value}" if is_delta else staging_folder(run_id(n))
    parts = []
    for i in range(n_parts):
        with PartWriter(
            store, part_path(folder, run_id(n), i, 0), schema, keep_types=not is_delta
        ) as writer:
            columns = {
                "id": pa.array(range(PER_PART), pa.int64()),
                "prediction": pa.array([float(n)] * PER_PART),
                "run_id": pa.array([run_id(n)] * PER_PART).dictionary_encode(),
            }
            writer.write(
                pa.table(
                    [columns[name].cast(schema.field(name).type) for name in schema.names],
                    schema=schema,
                )
            )
            parts.append(writer.close())
    if not is_delta:
        parts = [seal(job, f"ds={value}", run_id(n), parts, schema)]
    return Publication(run_id(n), f"sha256:{n}", "ds", value, f"ds={value}", tuple(parts), schema)


def published(lake: Lake, job: ScoringJob, value: str = "x") -> set[float]:
    found = lake.read(job)
    return set(found[found["ds"] == value]["prediction"])


def test_publishing_again_replaces(any_lake: Lake) -> None:
    job = any_lake.job()
    publisher = open_publisher(Workspace(job))
    publisher.check()
    assert publisher.live("x") is None
    publisher.publish(publication(job, 1), None)
    first = publisher.live("x")
    assert first is not None
    assert first.run_id == run_id(1)
    publisher.publish(publication(job, 2), first)
    publisher.publish(publication(job, 3, value="y"), None)
    assert published(any_lake, job) == {2.0}
    assert published(any_lake, job, "y") == {3.0}
    assert {value: live.run_id for value, live in publisher.all_live().items()} == {
        "x": run_id(2),
        "y": run_id(3),
    }


def test_a_plan_that_is_out_of_date_conflicts(any_lake: Lake) -> None:
    job = any_lake.job()
    publisher = open_publisher(Workspace(job))
    publisher.publish(publication(job, 1), None)
    old = publisher.live("x")
    with pytest.raises(ConflictError, match=run_id(1)):
        publisher.publish(publication(job, 2), None)
    publisher.publish(publication(job, 3), old)
    with pytest.raises(ConflictError, match=run_id(3)):
        publisher.publish(publication(job, 4), old)
    assert published(any_lake, job) == {3.0}


@pytest.mark.parametrize("round_", range(3))
@pytest.mark.parametrize("is_first", [True, False])
def test_of_simultaneous_publishers_one_wins(any_lake: Lake, round_: int, is_first: bool) -> None:
    job = any_lake.job()
    open_publisher(Workspace(job)).publish(
        publication(job, 100, value="other" if is_first else "x"), None
    )
    planned = open_publisher(Workspace(job)).live("x")
    assert (planned is None) is is_first
    ready = [publication(job, n) for n in range(4)]
    barrier = threading.Barrier(4)

    def attempt(candidate: Publication) -> bool:
        publisher = open_publisher(Workspace(job))
        barrier.wait()
        try:
            publisher.publish(candidate, planned)
        except ConflictError:
            return False
        return True

    with ThreadPoolExecutor(4) as threads:
        won = list(threads.map(attempt, ready))
    assert won.count(True) == 1
    assert published(any_lake, job) == {float(won.index(True))}


def test_publishers_of_different_partitions_all_succeed(any_lake: Lake) -> None:
    job = any_lake.job()
    open_publisher(Workspace(job)).publish(publication(job, 100, value="first"), None)
    ready = [publication(job, n, value=f"p{n}") for n in range(8)]
    barrier = threading.Barrier(8)

    def attempt(candidate: Publication) -> None:
        publisher = open_publisher(Workspace(job))
        barrier.wait()
        publisher.publish(candidate, None)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(attempt, ready))
    for n in range(8):
        assert published(any_lake, job, f"p{n}") == {float(n)}


def test_the_first_publishers_may_race_to_create_the_table(any_lake: Lake) -> None:
    job = any_lake.job()
    ready = [publication(job, n, value=f"p{n}") for n in range(4)]
    barrier = threading.Barrier(4)

    def attempt(candidate: Publication) -> None:
        barrier.wait()
        open_publisher(Workspace(job)).publish(candidate, None)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(attempt, ready))
    assert set(open_publisher(Workspace(job)).all_live()) == {"p0", "p1", "p2", "p3"}


def test_a_polling_reader_never_sees_a_mix(any_lake: Lake) -> None:
    job = any_lake.job()
    publisher = open_publisher(Workspace(job))
    publisher.publish(publication(job, 0), None)
    stop = threading.Event()
    seen: list[tuple[int, frozenset[float]]] = []
    torn: list[str] = []

    def poll() -> None:
        while not stop.is_set():
            try:
                found = any_lake.read(job)
            except (OSError, pa.ArrowException) as error:
                # An object that is replaced under a running read is a loud error for readers that glob.
                torn.append(str(error))
                continue
            seen.append((len(found), frozenset(found["prediction"])))

    reader = threading.Thread(target=poll)
    reader.start()
    for n in range(1, 13):
        publisher.publish(publication(job, n), publisher.live("x"))
    deadline = time.monotonic() + 30
    while not any(values == {12.0} for _, values in seen[-1:]) and time.monotonic() < deadline:
        time.sleep(0.01)
    stop.set()
    reader.join()
    assert len(seen) > 3
    assert {n for n, _ in seen} == {3 * PER_PART}
    assert all(len(values) == 1 for _, values in seen)
    if job.output.format == "delta":
        assert not torn


def test_a_commit_whose_answer_is_lost_is_a_publication(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = lake.job()
    real = DeltaTable.create_write_transaction
    calls = []

    def applied_then_lost(self: DeltaTable, *arguments: Any, **options: Any) -> None:
        real(self, *arguments, **options)
        calls.append(1)
        raise OSError("connection reset")

    monkeypatch.setattr(DeltaTable, "create_write_transaction", applied_then_lost)
    open_publisher(Workspace(job)).publish(publication(job, 1), None)
    assert len(calls) == 1
    assert published(lake, job) == {1.0}
    assert DeltaTable(job.output.uri).version() == 1


def test_a_run_whose_commit_never_answers_knows_the_truth(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit lands, then the store is gone for the publisher: its files must stay, since readers see them."""
    from nightscore.outputs.delta import DeltaPublisher

    lake.write("2024-02-29", make_frame(10))
    job = lake.job()
    real = DeltaPublisher.publish

    def applied_then_lost(self: Publisher, candidate: Publication, planned: Live | None) -> Any:
        real(self, candidate, planned)  # type: ignore[arg-type]
        raise StorageUnavailableError("The store did not answer as it should.")

    monkeypatch.setattr(DeltaPublisher, "publish", applied_then_lost)
    manifest = lake.run(job)
    assert manifest.status == "published"
    assert len(lake.read(job)) == 10


def test_a_conflict_leaves_the_winner_and_no_parts_of_the_loser(
    any_lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between plan and publication another run publishes the partition."""
    module = importlib.import_module("nightscore.run")

    any_lake.write("2024-02-29", make_frame(10))
    job = any_lake.job()
    winner: list[str] = []
    real = module.check_unchanged

    def meanwhile(*arguments: Any) -> None:
        real(*arguments)
        monkeypatch.setattr(module, "check_unchanged", real)
        winner.append(any_lake.run(job).run_id)

    monkeypatch.setattr(module, "check_unchanged", meanwhile)
    loser = any_lake.run(job)

    assert loser.status == "failed"
    assert loser.error
    assert loser.error.type == "ConflictError"
    assert winner[0] in loser.error.message
    assert set(any_lake.read(job)["run_id"].astype(str)) == set(winner)
    assert not [e for e in predictions_store(job).list_files() if loser.run_id in e.path]
    assert not state_store(job).list_files("staging")


def test_new_columns_extend_the_table_and_changed_types_are_refused(lake: Lake) -> None:
    job = lake.job()
    publisher = open_publisher(Workspace(job))
    publisher.publish(publication(job, 1, schema=pa.schema(list(SCHEMA)[:2])), None)
    publisher.publish(publication(job, 2, value="y"), None)
    assert lake.read(job).set_index("ds")["run_id"].isna().to_dict() == {"x": True, "y": False}
    other = pa.schema([("id", pa.string()), *list(SCHEMA)[1:]])
    with pytest.raises(ContractError, match="id: long in the table, string in this run"):
        publisher.publish(publication(job, 3, value="z", schema=other), None)


def test_readers_of_every_kind_agree(lake: Lake) -> None:
    import duckdb
    import polars as pl

    job = lake.job()
    publisher = open_publisher(Workspace(job))
    publisher.publish(publication(job, 1), None)
    publisher.publish(publication(job, 2), publisher.live("x"))
    table = DeltaTable(job.output.uri)
    dataset = table.to_pyarrow_dataset()
    assert len(dataset.schema.names) == 4
    assert duckdb.sql("select sum(prediction), count(*) from dataset").fetchall() == [(300.0, 150)]
    assert pl.read_delta(job.output.uri)["prediction"].sum() == 300.0
    assert table.to_pandas()["prediction"].sum() == 300.0
    statistics = pa.table(table.get_add_actions(flatten=True)).to_pylist()
    assert {s["num_records"] for s in statistics} == {PER_PART}
    assert {(s["min.id"], s["max.id"], s["null_count.id"]) for s in statistics} == {
        (0, PER_PART - 1, 0)
    }


GREATEST = chr(0x10FFFF)
VALUES = {
    "whole": pa.array([1, 2, 3], pa.int64()),
    "small": pa.array([1, 2, 3], pa.int16()),
    "number": pa.array([-1.5, float("nan"), 2.0]),
    "truth": pa.array([True, False, None]),
    "text": pa.array(["", 'b\n"', "é"]),
    "long_text": pa.array(["a" * 40, GREATEST * 33 + "b", GREATEST * 40]),
    "day": pa.array([-700_000, 0, 2_900_000], pa.date32()),
    "time": pa.array([-(10**16), 1, 10**17], pa.timestamp("us")),
    "moment": pa.array([-(10**16), 1, 10**17], pa.timestamp("us", "UTC")),
    "amount": pa.array([-1, 2, 3]).cast(pa.decimal128(25, 3)),
    "content": pa.array([b"a", b"\xff", b""]),
    "nothing": pa.nulls(3, pa.string()),
}
BOUNDLESS = {
    "endless": pa.array([1.0, float("inf"), 2.0]),
    "no_number": pa.array([float("nan")] * 3),
    "later": pa.array([0, 2**60, 3], pa.timestamp("us")),
    "later_day": pa.array([0, 2**30, 3], pa.date32()),
    "widest": pa.array([2**64 - 1, 2, 3], pa.uint64()).cast(pa.decimal128(20, 0)),
    "huge": pa.array(["x" * 5000, "b", "c"]),
    "a.b": pa.array([1, 2, 3]),
}
"""Columns of which Delta's log cannot have the bounds."""


@pytest.mark.parametrize("boundless", [None, *BOUNDLESS])
def test_readers_find_rows_by_any_column(lake: Lake, boundless: str | None) -> None:
    """delta-rs' readers take a file to have no row with a value of a column that has no bounds beside others."""
    columns = VALUES | ({} if boundless is None else {boundless: BOUNDLESS[boundless]})
    rows = pa.table({**columns, "run_id": [run_id(1)] * 3})
    job = lake.job()
    with PartWriter(
        predictions_store(job), part_path("ds=x", run_id(1), 0, 0), rows.schema, keep_types=False
    ) as writer:
        writer.write(rows)
        part = writer.close()
    published = Publication(
        run_id(1), "sha256:0", "ds", "x", "ds=x", (part,), rows.schema, lambda: None
    )
    open_publisher(Workspace(job)).publish(published, None)

    dataset = DeltaTable(job.output.uri).to_pyarrow_dataset()
    for name in rows.schema.names:
        for value in rows.column(name):
            wanted = pc.is_null(pc.field(name)) if not value.is_valid else pc.field(name) == value
            expected = rows.filter(wanted)
            assert dataset.to_table(filter=wanted).num_rows == expected.num_rows, (name, value)


def test_the_version_that_is_told_is_the_commit_s(lake: Lake) -> None:
    """Whether the table was created, widened, or held open by an earlier publication."""
    job, run_cache = lake.job(), RunCache()
    narrow = pa.schema(list(SCHEMA)[:2])
    for n, schema in enumerate((narrow, narrow, SCHEMA, SCHEMA, SCHEMA)):
        publisher = open_publisher(Workspace(job, run_cache))
        planned = publisher.live("x")
        _, version = publisher.publish(publication(job, n, schema=schema), planned)
        assert version == DeltaTable(job.output.uri).version()
        live = publisher.live("x")
        assert live is not None
        assert (live.run_id, live.version) == (run_id(n), str(version))


def test_a_table_has_a_checkpoint_every_few_commits(lake: Lake) -> None:
    """Else each commit of a backfill costs more than the one before."""
    job, run_cache = lake.job(), RunCache()
    for n in range(CHECKPOINT_EVERY + 1):
        publisher = open_publisher(Workspace(job, run_cache))
        publisher.publish(publication(job, n, n_parts=1), publisher.live("x"))
    names = [entry.path for entry in predictions_store(job).list_files("_delta_log")]
    assert len([name for name in names if name.endswith(".checkpoint.parquet")]) == 1
    assert open_publisher(Workspace(job)).live("x") == open_publisher(
        Workspace(job, run_cache)
    ).live("x")
