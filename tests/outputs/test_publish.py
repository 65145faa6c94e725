"""A reader sees the old or the new partition, never a mix; of two publishers one wins."""

import importlib
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable

from nightscore.errors import ContractError, StorageUnavailableError
from nightscore.ledger.layout import (
    part_path,
    predictions_store,
    sealed_history_path,
    state_store,
)
from nightscore.ledger.live import Live
from nightscore.ledger.workspace import Workspace
from nightscore.outputs.delta_table import CHECKPOINT_EVERY
from nightscore.outputs.publish import open_publisher
from nightscore.outputs.publisher import Publication, Publisher
from nightscore.outputs.writer import PartWriter
from nightscore.schemas.job import ScoringJob
from nightscore.storage.run_cache import RunCache
from tests.support.lake import Lake
from tests.support.models import make_frame
from tests.support.publications import PER_PART, SCHEMA, publication, run_id


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


def published(lake: Lake, job: ScoringJob, value: str = "x") -> set[float]:
    rows = lake.read(job)
    return set(rows[rows["ds"] == value]["prediction"])


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
    from nightscore.outputs.delta_publisher import DeltaPublisher

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
    module = importlib.import_module("nightscore.runs.run")

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
        run_id=run_id(1),
        fingerprint="sha256:0",
        key="ds",
        value="x",
        folder="ds=x",
        parts=(part,),
        schema=rows.schema,
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
