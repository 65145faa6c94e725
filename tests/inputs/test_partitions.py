"""Partitions are found whatever their names are."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightscore.errors import InputChangedError, InvalidJobError, PartitionNotFoundError
from nightscore.inputs.files import is_hidden
from nightscore.inputs.footers import read_footers
from nightscore.inputs.input_folders import folders_by_value, folders_of
from nightscore.inputs.jobfile import parse_job
from nightscore.inputs.parquet_files import open_parquet
from nightscore.inputs.partitions import (
    check_unchanged,
    find_partition,
    find_partitions,
    list_partitions,
    parse_value,
)
from nightscore.ledger.fingerprint import fingerprint
from nightscore.ledger.workspace import Workspace
from nightscore.schemas.partition import decode_folder, encode_folder
from tests.support.lake import Lake
from tests.support.models import make_frame

DAY = "2024-02-29"


@given(
    st.none()
    | st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), min_size=1)
)
def test_folder_names_round_trip(value: str | None) -> None:
    folder = encode_folder("d s", value)
    assert "/" not in folder
    assert decode_folder(folder) == ("d s", value)


SPELLINGS = ("{}", "%7B{}", "%41", "gr%FCn", "_{}", "=", "", ".", "%2E", "%25", "x")
"""Parts of folder names: plain, percent-encoded in some way, or not decodable."""


@given(
    st.lists(st.lists(st.sampled_from(SPELLINGS), max_size=3).map("".join), max_size=8),
    st.sampled_from(["k", "%6B", "other"]),
)
def test_some_partitions_are_those_among_all(texts: list[str], key: str) -> None:
    document = {"name": "j", "model": "models:/m/1", "keys": ["id"], "output": "/nowhere/out"}
    job = parse_job(document | {"input": {"uri": "/nowhere/in", "partition_key": "k"}})
    names = [f"{key}={text}" for text in texts]
    everything = folders_by_value(job, names, [])
    wanted = {*everything, "x", None}

    assert folders_of(job, wanted, names, []) == everything
    for value in wanted:
        some = {other: folders for other, folders in everything.items() if other == value}
        assert folders_of(job, {value}, names, []) == some


@pytest.mark.parametrize("text", ["", "a\x00b", ".", "..", "x" * 201, "é" * 40, "a\udcff"])
def test_values_that_no_store_could_hold_are_refused(text: str) -> None:
    with pytest.raises(InvalidJobError, match="Invalid partition value"):
        parse_value(text)


def test_a_file_that_goes_after_it_was_listed_is_a_changed_input(any_lake: Lake) -> None:
    any_lake.write(DAY, make_frame(10))
    partition, _ = find_partition(Workspace(any_lake.job()), DAY)
    any_lake.features.delete([file.path for file in partition.files])
    with pytest.raises(InputChangedError, match="gone since it was listed"):
        read_footers(any_lake.features, partition.files)
    with pytest.raises(InputChangedError, match="gone since it was listed"):
        open_parquet(any_lake.features, partition.files[0])


def test_hives_default_partition_is_null() -> None:
    assert parse_value("__HIVE_DEFAULT_PARTITION__") is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [("_temporary", True), (".x", True), ("_x=1", False), ("x=1", False), ("part-0", False)],
)
def test_hidden_names(name: str, expected: bool) -> None:
    assert is_hidden(name) is expected


def test_a_value_encoded_in_two_ways_is_one_partition(lake: Lake) -> None:
    lake.write("a b", make_frame(3))
    lake.write("a%20b", make_frame(4))
    partition, _ = find_partition(Workspace(lake.job()), "a b")
    assert [file.path for file in partition.files] == [
        "ds=a b/part-0.parquet",
        "ds=a%20b/part-0.parquet",
    ]
    assert list(list_partitions(lake.job())) == ["a b"]


def test_a_date_encoded_in_two_ways_is_one_partition(any_lake: Lake) -> None:
    any_lake.write(DAY, make_frame(3))
    job = any_lake.job()
    workspace = Workspace(job)
    planned, _ = find_partition(workspace, DAY)
    other = DAY.replace("-", "%2D")
    any_lake.write(other, make_frame(4))
    paths = [f"ds={other}/part-0.parquet", f"ds={DAY}/part-0.parquet"]
    assert sorted(file.path for file in find_partition(Workspace(job), DAY)[0].files) == paths
    assert {value: sorted(folders) for value, folders in list_partitions(job).items()} == {
        DAY: [f"ds={other}", f"ds={DAY}"]
    }
    with pytest.raises(InputChangedError, match=f"ds={other}/part-0.parquet: is new"):
        check_unchanged(job, planned)


def test_a_partition_that_comes_or_goes_during_a_backfill_is_noticed(lake: Lake) -> None:
    lake.write(DAY, make_frame(3))
    workspace = Workspace(lake.job())
    find_partition(workspace, DAY)
    lake.write("2024-03-09", make_frame(3))
    assert len(find_partition(workspace, "2024-03-09")[0].files) == 1
    lake.features.delete([f"ds={DAY}/part-0.parquet"])
    with pytest.raises(PartitionNotFoundError, match="2024-03-09"):
        find_partition(workspace, DAY)


def test_the_nearest_dates_are_named_where_there_is_no_partition(lake: Lake) -> None:
    for day in ("2024-02-09", "2024-02-27", "2024-02-28", "2024-03-02", "2024-12-29"):
        lake.write(day, make_frame(3))
    with pytest.raises(PartitionNotFoundError, match="near: 2024-02-28, 2024-02-27, 2024-03-02"):
        find_partition(Workspace(lake.job()), DAY)


def test_files_beside_the_partitions_are_told_of_by_each_run(
    lake: Lake, caplog: pytest.LogCaptureFixture
) -> None:
    lake.write(DAY, make_frame(3))
    lake.features.write_bytes("stray.parquet", b"x")
    find_partition(Workspace(lake.job()), DAY)
    assert [record.message for record in caplog.records] == [
        f"Files directly below {lake.job().input.uri} belong to no partition and are not read: 'stray.parquet'"
    ]


def test_folders_whose_names_are_no_utf8_are_partitions_apart(lake: Lake) -> None:
    for name in ("gr%FCn", "gr%FDn", "gr%C3%BCn"):
        lake.write(name, make_frame(2))
    job = lake.job()
    assert list(list_partitions(job)) == ["gr%FCn", "gr%FDn", "grün"]
    assert [file.path for file in find_partition(Workspace(job), "gr%FCn")[0].files] == [
        "ds=gr%FCn/part-0.parquet"
    ]
    assert decode_folder(encode_folder("ds", "gr%FCn")) == ("ds", "gr%FCn")


def test_other_keys_and_files_beside_the_partitions_are_no_partitions(lake: Lake) -> None:
    lake.write(DAY, make_frame(3))
    lake.features.write_bytes("region=eu/x.parquet", b"x")
    lake.features.write_bytes("readme.txt", b"x")
    assert list(find_partitions(lake.job())) == [DAY]


def test_the_fingerprint_knows_what_decides_the_predictions(any_lake: Lake) -> None:
    any_lake.write(DAY, make_frame(3))
    job = any_lake.job()
    partition, _ = find_partition(Workspace(job), DAY)
    base = fingerprint(job, partition, "m", "1", "d")
    assert fingerprint(job, find_partition(Workspace(job), DAY)[0], "m", "1", "d") == base
    others = {
        fingerprint(job, partition, "m", "2", "d"),
        fingerprint(job, partition, "m", "1", "e"),
        fingerprint(any_lake.job(pass_through=["a"]), partition, "m", "1", "d"),
        fingerprint(any_lake.job(predict="predict"), partition, "m", "1", "d"),
    }
    assert len(others) == 4
    assert base not in others
    assert (
        fingerprint(
            any_lake.job(name="other", limits={"max_quarantined_rows": 9}), partition, "m", "1", "d"
        )
        == base
    )
    any_lake.write(DAY, make_frame(4))
    assert fingerprint(job, find_partition(Workspace(job), DAY)[0], "m", "1", "d") != base


def test_a_change_of_the_input_is_named(any_lake: Lake) -> None:
    for name in ("a", "b"):
        any_lake.write(DAY, make_frame(3), name)
    job = any_lake.job()
    planned, _ = find_partition(Workspace(job), DAY)
    check_unchanged(job, planned)
    any_lake.write(DAY, make_frame(4), "a")
    any_lake.write(DAY, make_frame(4), "c")
    any_lake.features.delete([f"ds={DAY}/b.parquet"])
    with pytest.raises(InputChangedError) as caught:
        check_unchanged(job, planned)
    text = str(caught.value)
    assert f"{DAY}/a.parquet: changed" in text
    assert f"{DAY}/b.parquet: is gone" in text
    assert f"{DAY}/c.parquet: is new" in text


def test_a_rewrite_of_the_same_size_is_a_change(lake: Lake) -> None:
    lake.write(DAY, make_frame(3))
    job = lake.job()
    planned, _ = find_partition(Workspace(job), DAY)
    path = Path(lake.features.locate(planned.files[0].path))
    os.utime(path, ns=(1, 1))
    with pytest.raises(InputChangedError):
        check_unchanged(job, planned)
