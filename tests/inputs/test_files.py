"""What counts as a partition's input: all of it, or the partition is refused with what is in the way."""

import gzip
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from nightscore.errors import CorruptFileError, InputError, PartitionNotFoundError
from nightscore.inputs.dataset import Dataset
from nightscore.inputs.files import choose_files, is_hidden
from nightscore.inputs.footers import read_footers
from nightscore.inputs.listing import list_all
from nightscore.inputs.partitions import (
    check_unchanged,
    find_partition,
    find_partitions,
)
from nightscore.ledger.fingerprint import fingerprint
from nightscore.ledger.workspace import Workspace
from nightscore.operations.backfill import DEFAULT_MODES, plan_backfill
from nightscore.operations.verify import verify
from nightscore.storage.store import Store
from tests.support.lake import Lake
from tests.support.models import make_frame

DAY = "2024-02-29"
FOLDER = f"ds={DAY}"


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


def job_with(lake: Lake, files: str | None) -> object:
    source = {"uri": lake.features.uri, "storage_options": lake.options, "files": files}
    return lake.job(input=source)


def content(lake: Lake) -> bytes:
    """Of a Parquet file of ten rows."""
    lake.write("other", make_frame(10))
    return lake.features.read_bytes("ds=other/part-0.parquet")


def read(lake: Lake, files: str | None = None) -> tuple[list[str], int]:
    """Names of the partition's files and all their rows."""
    partition, _ = find_partition(Workspace(job_with(lake, files)), DAY)
    footers = read_footers(lake.features, partition.files)
    return [file.path.removeprefix(f"{FOLDER}/") for file in partition.files], sum(
        f.n_rows for f in footers
    )


@pytest.mark.parametrize(
    "name",
    [
        "20240229_131415_00001_abcde",
        "000000_0",
        "PART.PARQUET",
        "a.Parq",
        "part-1.parquet.2024",
        "part-1.snappy",
        "ü",
    ],
)
def test_parquet_by_any_name_is_read(place: Lake, name: str) -> None:
    place.write(DAY, make_frame(20))
    place.features.write_bytes(f"{FOLDER}/{name}", content(place))
    assert read(place) == (sorted([name, "part-0.parquet"]), 30)


@pytest.mark.parametrize(
    "name",
    [
        "_SUCCESS", ".hidden.parquet", "_temporary/0/part-1.parquet", ".part-0.parquet.crc", "part-0.parquet.crc",
        "_committed_123", "_metadata", "_common_metadata",
    ],
)  # fmt: skip
def test_markers_are_no_input(place: Lake, name: str) -> None:
    place.write(DAY, make_frame(20))
    place.features.write_bytes(f"{FOLDER}/{name}", b"what a writer notes for itself")
    assert read(place) == (["part-0.parquet"], 20)


@pytest.mark.parametrize("name", ["done", "sub_$folder$", "SUCCESS"])
def test_empty_markers_are_no_input(place: Lake, name: str) -> None:
    place.write(DAY, make_frame(20))
    place.features.write_bytes(f"{FOLDER}/{name}", b"")
    assert read(place) == (["part-0.parquet"], 20)


SPOILT: dict[str, Callable[[bytes], bytes]] = {
    "part-1.parquet.gz": gzip.compress,
    "part-1.parquet._COPYING_": lambda whole: whole[: len(whole) // 2],
    "part-1.csv": lambda whole: b"id,a\n1,2\n",
    "short": lambda whole: b"PAR1PAR1",
    "tail": lambda whole: b"junk" + whole[4:],
    "manifest": lambda whole: b'{"entries": []}',
}


@pytest.mark.parametrize("name", SPOILT)
def test_what_is_no_parquet_stops_the_run_unless_the_job_leaves_it_out(
    place: Lake, name: str
) -> None:
    place.write(DAY, make_frame(20))
    place.features.write_bytes(f"{FOLDER}/{name}", SPOILT[name](content(place)))
    with pytest.raises(CorruptFileError) as caught:
        read(place)
    assert f"{FOLDER}/{name}" in str(caught.value)
    assert (
        'input.files in a job file says which names count, such as "*.parquet"'
        in caught.value.next_step
    )
    assert read(place, "*.parquet") == (["part-0.parquet"], 20)


@pytest.mark.parametrize("name", ["part-1", "part-1.parquet"])
def test_an_encrypted_footer_is_called_that(lake: Lake, name: str) -> None:
    lake.write(DAY, make_frame(20))
    whole = content(lake)
    lake.features.write_bytes(f"{FOLDER}/{name}", b"PARE" + whole[4:-4] + b"PARE")
    with pytest.raises(CorruptFileError, match="encrypted"):
        read(lake)


def test_a_folder_is_read_to_its_depths(place: Lake) -> None:
    for name in ("part-0", "region=eu/part-0", "HIVE_UNION_SUBDIR_1/part-0", "a/b/c/part-0"):
        place.write(DAY, make_frame(5), name)
    names, n_rows = read(place)
    assert len(names) == 4
    assert n_rows == 20


def test_a_pattern_says_which_files_count_and_the_rest_is_counted(lake: Lake) -> None:
    lake.write(DAY, make_frame(20))
    before = lake.run(lake.job())
    for name in ("readme.txt", "sub/notes.csv"):
        lake.features.write_bytes(f"{FOLDER}/{name}", b"some text, and no Parquet")
    refused = lake.run(lake.job())
    assert refused.error
    assert "readme.txt" in refused.error.message
    assert "sub/notes.csv" in refused.error.message

    job = job_with(lake, "*.parquet")
    assert lake.run(job).run_id == before.run_id, "the same files count as before"
    manifest = lake.run(job, force=True)
    assert manifest.status == "published"
    assert manifest.inputs.files_left_out == 2
    assert [file.path for file in manifest.inputs.files] == [f"{FOLDER}/part-0.parquet"]


def test_the_fingerprint_knows_the_pattern_by_the_files_alone(lake: Lake) -> None:
    for name in ("a-1", "b-1"):
        lake.write(DAY, make_frame(5), name)

    def of(pattern: str | None) -> str:
        job = job_with(lake, pattern)
        return fingerprint(job, find_partition(Workspace(job), DAY)[0], "m", "1", "d")

    assert of(None) == of("*.parquet") == of("[ab]-?.parquet")
    assert of("a-*") != of(None)


def test_a_pattern_that_matches_nothing_is_no_empty_partition(place: Lake) -> None:
    place.write(DAY, make_frame(20))
    with pytest.raises(InputError, match=r"matches input\.files") as caught:
        read(place, "*.{parquet,pq}")
    assert "part-0.parquet" in str(caught.value)


@pytest.mark.parametrize("pattern", ["", "a/*.parquet", "_*", ".*"])
def test_patterns_that_could_never_match_are_refused(lake: Lake, pattern: str) -> None:
    with pytest.raises((ValidationError, Exception), match=r"input\.files|files"):
        job_with(lake, pattern)


def test_an_empty_file_that_is_named_as_parquet_is_refused(place: Lake) -> None:
    place.write(DAY, make_frame(20))
    place.features.write_bytes(f"{FOLDER}/part-1.parquet", b"")
    with pytest.raises(CorruptFileError, match=r"part-1\.parquet"):
        read(place)


# Links, folders and names of a disk.
# -------------------------------------------------------------------------


def folder_of(lake: Lake) -> Path:
    return Path(lake.features.root) / FOLDER


def check_refused(lake: Lake, *texts: str) -> None:
    """Refused, and listed among the others all the same: with another fingerprint than without what is in the way."""
    with pytest.raises(InputError) as caught:
        find_partition(Workspace(lake.job()), DAY)
    for text in texts:
        assert text in str(caught.value)
    assert set(find_partitions(lake.job())) == {DAY}


def test_a_link_to_a_place_that_is_away_stops_the_run(lake: Lake, tmp_path: Path) -> None:
    lake.write(DAY, make_frame(20))
    job = lake.job()
    planned, _ = find_partition(Workspace(job), DAY)
    volume = tmp_path / "volume"
    volume.mkdir()
    (folder_of(lake) / "part-0.parquet").rename(volume / "part-0.parquet")
    link = folder_of(lake) / "part-0.parquet"
    link.symlink_to(volume / "part-0.parquet")
    whole, _ = find_partition(Workspace(job), DAY)
    assert [file.size_bytes for file in whole.files] == [file.size_bytes for file in planned.files]

    volume.rename(tmp_path / "away")
    check_refused(lake, f"{FOLDER}/part-0.parquet", "volume", "cannot be reached")
    assert fingerprint(job, find_partitions(job)[DAY], "m", "1", "d") != fingerprint(
        job, whole, "m", "1", "d"
    )
    with pytest.raises(InputError):
        check_unchanged(job, whole)


def test_one_partition_that_cannot_be_read_whole_costs_only_itself(lake: Lake) -> None:
    days = [DAY, "2024-03-01", "2024-03-02"]
    for day in days:
        lake.write(day, make_frame(20))
    job = lake.job()
    lake.run(job)
    (folder_of(lake) / "part-1.parquet").symlink_to("nowhere")
    lake.features.write_bytes(f"ds={days[1]}/notes.txt", b"no Parquet, but long enough")

    plan = plan_backfill(job, lake.cache, days, {*DEFAULT_MODES, "stale"}, "oldest")
    assert [item.value for item in plan.to_score] == days, "what was published counts as changed"
    runs = [lake.run(job, day) for day in days]
    assert [run.status for run in runs] == ["failed", "failed", "published"]
    assert runs[0].error
    assert "part-1.parquet" in runs[0].error.message
    (finding,) = [
        f
        for f in verify(job, DAY, lake.pool, lake.cache, 10, 0).findings
        if f.kind == "input changed"
    ]
    assert "part-1.parquet" in finding.found


def test_links_that_lead_round_are_refused(lake: Lake) -> None:
    lake.write(DAY, make_frame(20))
    itself = folder_of(lake) / "part-1.parquet"
    itself.symlink_to(itself)
    (folder_of(lake) / "again").symlink_to(folder_of(lake))
    check_refused(
        lake, f"{FOLDER}/part-1.parquet", f"{FOLDER}/again: is a link to a folder above it"
    )


@pytest.mark.parametrize("target", ["nowhere", FOLDER])
def test_a_partition_that_is_a_link_to_nothing_or_itself_is_refused(
    lake: Lake, target: str
) -> None:
    Path(lake.features.root).mkdir(parents=True)
    folder_of(lake).symlink_to(target)
    check_refused(lake, FOLDER, "cannot be reached")


def test_a_link_to_a_file_is_no_partition(lake: Lake, tmp_path: Path) -> None:
    lake.write("2024-03-01", make_frame(5))
    (tmp_path / "file").write_bytes(b"x")
    folder_of(lake).symlink_to(tmp_path / "file")
    assert set(find_partitions(lake.job())) == {"2024-03-01"}
    with pytest.raises(PartitionNotFoundError):
        find_partition(Workspace(lake.job()), DAY)


def test_a_folder_behind_a_link_is_read(lake: Lake, tmp_path: Path) -> None:
    lake.write(DAY, make_frame(20))
    folder_of(lake).rename(tmp_path / "elsewhere")
    folder_of(lake).symlink_to(tmp_path / "elsewhere")
    assert read(lake) == (["part-0.parquet"], 20)


def test_a_pipe_or_a_socket_is_refused_and_not_waited_for(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.write(DAY, make_frame(20))
    os.mkfifo(folder_of(lake) / "pipe.parquet")
    monkeypatch.chdir(folder_of(lake))  # a socket's path may have 107 bytes
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        check_refused(
            lake,
            f"{FOLDER}/pipe.parquet: is no regular file",
            f"{FOLDER}/socket: is no regular file",
        )


def test_a_folder_that_may_not_be_listed_is_named(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.write(DAY, make_frame(20))
    lake.write(DAY, make_frame(20), "private/part-0")
    really = os.open

    def denied(path: Any, *arguments: Any, **options: Any) -> int:
        if str(path).endswith("private"):  # root may list all, so that rights alone would not do
            raise PermissionError(13, "Permission denied", path)
        return really(path, *arguments, **options)

    monkeypatch.setattr(os, "open", denied)
    check_refused(lake, f"{FOLDER}/private: may not be read by this process")


@pytest.mark.parametrize("name", [b"caf\xe9.parquet", b"caf\xe9/part-0.parquet"])
def test_a_name_that_is_no_utf8_is_refused_with_its_bytes(lake: Lake, name: bytes) -> None:
    lake.write(DAY, make_frame(20))
    target = os.fsencode(folder_of(lake)) + b"/" + name
    os.makedirs(os.path.dirname(target), exist_ok=True)
    os.link(folder_of(lake) / "part-0.parquet", target)
    check_refused(lake, r"caf\xe9", "not UTF-8")
    manifest = lake.run(lake.job())
    assert manifest.error
    assert manifest.error.type == "InputError"
    assert "\\xe9" in manifest.error.message
    (folder_of(lake) / "part-0.parquet").rename(folder_of(lake) / "x-part-0.parquet")
    if b"/" not in name:
        assert read(lake, "x-*") == (["x-part-0.parquet"], 20), "left out, it does not matter"


def test_problems_below_hidden_names_do_not_matter(lake: Lake) -> None:
    lake.write(DAY, make_frame(20))
    (folder_of(lake) / "_away").symlink_to("nowhere")
    (folder_of(lake) / ".trash").mkdir()
    (folder_of(lake) / ".trash" / "old").symlink_to("nowhere")
    assert read(lake) == (["part-0.parquet"], 20)


# Objects of a store.
# -----------------------------------------------------------------------------------------


@pytest.mark.s3
def test_placeholders_of_folders_are_no_input(s3_lake: Lake) -> None:
    s3_lake.write(DAY, make_frame(20))
    for key in (f"{FOLDER}/", f"{FOLDER}/sub/"):
        s3_lake.features.backend.fs.call_s3("put_object", **_key(s3_lake.features, key), Body=b"")
    assert read(s3_lake) == (["part-0.parquet"], 20)


def test_an_object_with_rows_whose_key_ends_in_a_slash_is_refused(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store("memory://bucket/features")
    listing = {
        f"/bucket/features/{FOLDER}/{name}": {
            "name": f"/bucket/features/{FOLDER}/{name}",
            "type": "file",
            "size": size,
            "ETag": "1",
        }
        for name, size in (("", 0), ("sub/", 10), ("part-0.parquet", 100))
    }
    monkeypatch.setattr(type(store.backend.fs), "find", lambda self, path, **options: listing)
    choice = choose_files(list_all(store, [FOLDER]))
    assert choice.problems == (f"{FOLDER}/sub/: is an object of 10 bytes whose key ends in /",)
    assert f"{FOLDER}/part-0.parquet" in [file.path for file in choice.files]


def _key(store: Store, path: str) -> dict[str, str]:
    bucket, _, key = store.locate(path).partition("/")
    return {"Bucket": bucket, "Key": key}


# Datasets without a job.
# -------------------------------------------------------------------------------------


def test_a_dataset_is_read_whole_or_not_at_all(tmp_path: Path) -> None:
    table = pa.table({"x": [1, 2, 3]})
    pq.write_table(table, tmp_path / "a.parquet")
    pq.write_table(table, tmp_path / "000000_0")
    assert len(Dataset(str(tmp_path)).files) == 2
    (tmp_path / "b.parquet").symlink_to("nowhere")
    with pytest.raises(InputError, match="cannot be reached"):
        Dataset(str(tmp_path))
    (tmp_path / "b.parquet").unlink()
    (tmp_path / "notes.txt").write_text("no Parquet, but long enough")
    with pytest.raises(CorruptFileError, match=r"notes\.txt"):
        Dataset(str(tmp_path))
    assert len(Dataset(str(tmp_path / "a.parquet")).files) == 1


@pytest.mark.parametrize(
    ("name", "expected"),
    [("_temporary", True), (".x", True), ("_x=1", False), ("x=1", False), ("part-0", False)],
)
def test_hidden_names(name: str, expected: bool) -> None:
    assert is_hidden(name) is expected
