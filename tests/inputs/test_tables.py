"""Folders of table formats are recognised wherever they stand, and refused."""

import os
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from nightscore.errors import InputError, InvalidJobError, PartitionNotFoundError
from nightscore.inputs.dataset import Dataset
from nightscore.inputs.partitions import find_partition, find_partitions, list_partitions
from nightscore.inputs.tables import PARENTS_TRIED, check_no_table, check_root
from nightscore.ledger.workspace import Workspace
from nightscore.operations.partitions import partition_statuses
from nightscore.schemas.job import ScoringJob
from nightscore.storage.store import Store
from tests.support.lake import Lake
from tests.support.models import make_frame
from tests.support.proxy import faulty
from tests.support.seaweedfs import S3Server

DAY = "2024-02-29"
MARKS = {
    "Delta": "_delta_log/00000000000000000000.json",
    "Hudi": ".hoodie/hoodie.properties",
    "Iceberg": "metadata/00000-5f0cd6f1.metadata.json",
    "an Iceberg": "metadata/v3.gz.metadata.json",
}


@pytest.fixture(
    params=[
        pytest.param("bare_lake", id="lake"),
        pytest.param("s3_lake", marks=pytest.mark.s3),
    ]
)
def place(request: pytest.FixtureRequest) -> Lake:
    """On each kind of storage."""
    lake: Lake = request.getfixturevalue(request.param)
    return lake


def check_refused(job: ScoringJob, kind: str) -> None:
    """Before a partition is looked at."""
    with pytest.raises(InputError, match=kind):
        check_root(Workspace(job))
    with pytest.raises(InputError, match=kind):
        list_partitions(job)


@pytest.mark.parametrize("kind", MARKS)
@pytest.mark.parametrize("above", ["", "../", "../../"])
def test_a_table_at_the_input_or_above_it(place: Lake, kind: str, above: str) -> None:
    place.write(DAY, make_frame(5))
    source = Store(place.features.uri + "/eu", place.options)
    source.write_bytes(f"ds={DAY}/x.parquet", b"x")
    job = place.job(input={"uri": source.uri, "storage_options": place.options})
    check_root(Workspace(job))

    root = {"": source, "../": place.features, "../../": Store(place.root, place.options)}[above]
    root.write_bytes(MARKS[kind], b"{}")
    check_refused(job, kind)


@pytest.mark.parametrize(
    ("kind", "mark"),
    [
        *MARKS.items(),
        ("Delta", "sub/deeper/_delta_log/_last_checkpoint"),
        ("Hudi", ".hoodie_partition_metadata"),
        ("transactional Hive", "base_0000003/bucket_00000"),
        ("transactional Hive", "delta_0000002_0000002_0000/000000_0"),
        ("transactional Hive", "delete_delta_0000002_0000002/bucket_00000"),
    ],
)
def test_a_table_between_the_input_and_its_files(place: Lake, kind: str, mark: str) -> None:
    place.write(DAY, make_frame(5))
    place.features.write_bytes(f"ds={DAY}/{mark}", b"{}")
    job = place.job()
    with pytest.raises(InputError, match=kind):
        find_partition(Workspace(job), DAY)
    assert set(find_partitions(job)) == {DAY}, "the others go on"


@pytest.mark.parametrize(
    "name", ["metadata/notes", "metadata/part-0.parquet", "delta_1/part-0.parquet", "base/x"]
)
def test_folders_that_only_look_like_a_table(lake: Lake, name: str) -> None:
    lake.write(DAY, make_frame(5))
    lake.features.write_bytes(name, b"{}")
    lake.features.write_bytes(f"ds={DAY}/{name}", b"{}")
    check_root(Workspace(lake.job()))
    find_partition(Workspace(lake.job()), DAY)


def test_a_delta_table_is_refused_by_run_and_by_all_that_list(lake: Lake, tmp_path: Path) -> None:
    table = pa.Table.from_pandas(make_frame(20).assign(ds=DAY), preserve_index=False)
    write_deltalake(lake.features.root, table, partition_by=["ds"])
    write_deltalake(lake.features.root, table, partition_by=["ds"], mode="overwrite")
    job = lake.job()
    manifest = lake.run(job, DAY)
    assert manifest.error
    assert "a Delta table" in manifest.error.message
    assert "output.format: parquet" in manifest.error.message
    with pytest.raises(InputError, match="Delta"):
        partition_statuses(job, None)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="Delta"):
        Dataset(lake.features.root)
    with pytest.raises(InputError, match="Delta"):
        Dataset(f"{lake.features.root}/ds={DAY}")


def test_a_job_reads_what_another_writes_as_parquet_and_not_as_delta(lake: Lake) -> None:
    lake.write(DAY, make_frame(20))
    features = ["a", "b", "c", "d", "e"]
    for formats, is_read in (("parquet", True), ("delta", False)):
        uri = f"{lake.root}/{formats}"
        upstream = lake.job(pass_through=features, output={"uri": uri, "format": formats})
        assert lake.run(upstream).status == "published"
        manifest = lake.run(
            lake.job(input={"uri": uri}, output={"uri": f"{lake.root}/after-{formats}"})
        )
        assert (manifest.error is None or "Delta" not in manifest.error.message) is is_read


def test_links_into_a_table_are_refused(lake: Lake, tmp_path: Path) -> None:
    table = tmp_path / "table"
    data = Store(str(table / "region=eu" / f"ds={DAY}"))
    data.write_bytes("part-0.parquet", b"x")
    root = Path(lake.features.root)
    root.mkdir(parents=True)
    (root / f"ds={DAY}").symlink_to(table / "region=eu" / f"ds={DAY}")
    find_partition(Workspace(lake.job()), DAY)
    Store(str(table)).write_bytes("_delta_log/00000000000000000000.json", b"{}")
    with pytest.raises(InputError, match="Delta"):
        find_partition(Workspace(lake.job()), DAY)

    (tmp_path / "by-link").symlink_to(table / "region=eu")
    check_refused(lake.job(input={"uri": str(tmp_path / "by-link")}), "Delta")


def test_links_into_the_jobs_own_output_are_refused(lake: Lake, tmp_path: Path) -> None:
    output = Store(f"{lake.root}/predictions")
    output.write_bytes(f"ds={DAY}/part-0.parquet", b"x")
    root = Path(lake.features.root)
    root.mkdir(parents=True)
    (root / f"ds={DAY}").symlink_to(Path(output.root) / f"ds={DAY}")
    with pytest.raises(InvalidJobError, match="own output"):
        find_partition(Workspace(lake.job()), DAY)

    (tmp_path / "by-link").symlink_to(output.root)
    with pytest.raises(InvalidJobError, match="own output"):
        check_root(Workspace(lake.job(input={"uri": str(tmp_path / "by-link")})))


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("s3a://b/x", "s3://b/x"),
        ("s3://b/x/y", "s3a://b/x"),
        ("/lake/x", "file:///lake/x"),
        ("/lake/a%20b", "file:///lake/a%2520b/c"),
        ("/lake/y/../x", "/lake/x"),
        ("/lake//x/", "/lake/x/./y"),
        ("file:///lake/x/y", "/lake/x"),
        ("gs://b/x", "gcs://b/x/y"),
        ("GCS://b/x", "gs://b/x"),
        ("az://lake/x", "abfs://lake/x/y"),
        ("abfs://lake/x/y", "abfss://lake/x"),
        ("abfss://lake@acme.dfs.core.windows.net/x", "az://lake@acme.blob.core.windows.net/x/y"),
        ("abfss://lake@acme.dfs.core.windows.net/x", "az://lake/x/y"),
        ("az://lake/x", "abfss://lake@acme.dfs.core.windows.net/x/y"),
        ("az://lake/x", "az://lake/x/"),
    ],
)
def test_two_spellings_of_one_place_are_one(lake: Lake, source: str, target: str) -> None:
    with pytest.raises(InvalidJobError, match="must not contain each other"):
        lake.job(input={"uri": source}, output={"uri": target})


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("s3://b/x", "gs://b/x"),
        ("s3://b/x", "s3a://c/x"),
        ("gs://b/x", "gcs://b/xy"),
        ("az://lake/x", "abfs://lake/y"),
        ("abfss://lake@acme.dfs.core.windows.net/x", "az://lake@other.blob.core.windows.net/x"),
        ("abfss://lake@acme.dfs.core.windows.net/x", "abfss://sea@acme.dfs.core.windows.net/x"),
        ("memory://b/x", "/b/x"),
    ],
)
def test_two_places_are_two(lake: Lake, source: str, target: str) -> None:
    job = lake.job(input={"uri": source}, output={"uri": target})
    assert (job.input.uri, job.output.uri) == (source, target)


def test_a_parent_that_may_not_be_looked_into_is_no_table(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nightscore.errors import CredentialsError

    lake.write(DAY, make_frame(5))
    really = Store.has_files

    def denied(store: Store, prefix: str) -> bool:
        if store.url != lake.features.url:
            raise CredentialsError("denied")
        return really(store, prefix)

    monkeypatch.setattr(Store, "has_files", denied)
    check_root(Workspace(lake.job()))


def test_parents_end_at_the_root() -> None:
    assert [store.uri for store in Store("s3://b/x/y").parents()] == ["s3://b/x", "s3://b"]
    assert [store.uri for store in Store("s3://b").parents()] == []
    assert [store.uri for store in Store("/a/b").parents()] == ["/a", "/"]


@pytest.mark.s3
def test_the_look_up_costs_a_few_requests_and_once_for_a_backfill(
    s3_lake: Lake, s3_server: S3Server, request: pytest.FixtureRequest
) -> None:
    s3_lake.write(DAY, make_frame(5))
    with faulty(s3_server.endpoint) as proxy:
        options = s3_lake.options | {"endpoint_url": proxy.endpoint}
        job = s3_lake.job(input={"uri": s3_lake.features.uri, "storage_options": options})
        workspace = Workspace(job)
        check_root(workspace)
        n_requests = len(proxy.requests)
        assert n_requests <= 3 * (PARENTS_TRIED + 1)
        check_root(workspace)
        assert len(proxy.requests) == n_requests


# Other layouts.
# ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("folder", "texts"),
    [
        (
            "year=2024/month=02/day=29",
            [
                "year=2024/month=02/day=29/",
                "partition_key: year",
                "year=2024/month=02 with",
                "partition_key: day",
            ],
        ),
        (
            "region=eu/ds=2024-02-29",
            ["region=eu/ds=2024-02-29/", "partition_key: region", "region=eu with"],
        ),
        ("date=2024-02-29", ["date=2024-02-29/", "input.partition_key: date"]),
        ("2024/02/29", ["2024/02/29/", "ds=<value>/"]),
        ("", ["part-0.parquet", "ds=<value>/"]),
    ],
)
def test_another_layout_is_named_with_what_to_do(
    place: Lake, folder: str, texts: list[str]
) -> None:
    path = f"{folder}/part-0.parquet".lstrip("/")
    place.features.write_bytes(path, b"x")
    for ask in (
        lambda: find_partition(Workspace(place.job()), DAY),
        lambda: find_partitions(place.job()),
    ):
        with pytest.raises(PartitionNotFoundError) as caught:
            ask()
        for text in texts:
            assert text in str(caught.value)


def test_what_the_message_says_is_accepted(lake: Lake) -> None:
    lake.write(DAY, make_frame(5))
    content = lake.features.read_bytes(f"ds={DAY}/part-0.parquet")
    store = Store(f"{lake.root}/dated")
    store.write_bytes("year=2024/month=02/day=29/part-0.parquet", content)
    by_year = lake.job(input={"uri": store.uri, "partition_key": "year"})
    assert lake.run(by_year, "2024").counts.rows_scored == 5
    by_day = lake.job(
        input={"uri": f"{store.uri}/year=2024/month=02", "partition_key": "day"},
        output={"uri": f"{lake.root}/by-day"},
    )
    assert lake.run(by_day, "29").counts.rows_scored == 5


def test_an_input_that_nothing_was_written_to_yet_has_no_partitions(lake: Lake) -> None:
    lake.features.write_bytes("readme.txt", b"x")
    assert find_partitions(lake.job()) == {}
    with pytest.raises(PartitionNotFoundError, match=r"readme\.txt"):
        find_partition(Workspace(lake.job()), DAY)


def test_files_beside_the_partitions_are_told(lake: Lake, caplog: pytest.LogCaptureFixture) -> None:
    lake.write(DAY, make_frame(5))
    lake.features.write_bytes("part-9.parquet", b"x")
    with caplog.at_level("WARNING", logger="nightscore"):
        assert list(list_partitions(lake.job())) == [DAY]
    assert "part-9.parquet" in caplog.text


def test_a_folder_whose_name_is_no_utf8_is_told(
    lake: Lake, caplog: pytest.LogCaptureFixture
) -> None:
    lake.write(DAY, make_frame(5))
    os.mkdir(os.fsencode(lake.features.root) + b"/ds=caf\xe9")
    with caplog.at_level("WARNING", logger="nightscore"):
        assert list(list_partitions(lake.job())) == [DAY]
    assert r"ds=caf\udce9" in caplog.text


def test_other_stores_are_looked_into_as_well() -> None:
    store = Store("memory://lake/tables/flights/ds=2024-02-29")
    check_no_table(store)
    Store("memory://lake/tables/flights").write_bytes("metadata/v1.metadata.json", b"{}")
    with pytest.raises(InputError, match="Iceberg"):
        check_no_table(store)
    assert not Store("memory://lake/tables").has_files("_delta_log")
    assert Store("memory://lake/tables").list_names() == (["flights"], [])
