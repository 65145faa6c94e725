"""Footers: what is kept of them, and what reading them from a store costs."""

import sys
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightscore.errors import CorruptFileError
from nightscore.inputs.footers import TAIL_BYTES, read_footers
from nightscore.inputs.row_group_sizes import RowGroup, RowGroups
from nightscore.schemas.partition import InputFile
from nightscore.storage.store import Store
from tests.support.proxy import faulty
from tests.support.seaweedfs import BUCKET, S3Server

SIZES = st.dictionaries(st.sampled_from("abcd"), st.integers(0, 2**40))
GROUPS = st.lists(st.builds(RowGroup, st.integers(0, 2**40), SIZES, SIZES), max_size=4)


def everywhere(group: RowGroup) -> RowGroup:
    """With the same columns in both."""
    names = {*group.compressed, *group.uncompressed}
    return RowGroup(
        group.n_rows,
        *({n: sizes.get(n, 0) for n in names} for sizes in (group.compressed, group.uncompressed)),
    )


@given(GROUPS, st.lists(st.sampled_from("abcdx"), unique=True))
def test_packed_row_groups_say_what_the_plain_ones_do(
    groups: list[RowGroup], wanted: list[str]
) -> None:
    groups = [everywhere(group) for group in groups]
    packed = RowGroups.pack(groups)
    assert list(packed.rows) == [group.n_rows for group in groups]
    for before, after in zip(groups, packed, strict=True):
        for name in "abcdx":
            assert after.compressed.get(name, 0) == before.compressed.get(name, 0)
            assert after.uncompressed.get(name, 0) == before.uncompressed.get(name, 0)
    assert packed.compressed_bytes(wanted) == [
        sum(g.compressed.get(n, 0) for n in wanted) for g in groups
    ]
    assert packed.uncompressed_bytes(wanted) == [
        sum(g.uncompressed.get(n, 0) for n in wanted) for g in groups
    ]


def wide_table(n_columns: int, n_rows: int = 20) -> pa.Table:
    columns = {f"column_{i}": np.arange(n_rows) + i for i in range(n_columns)}
    return pa.table(
        columns | {"pair": [{"x": 1, "y.z": "text"}] * n_rows, "dotted.name": [None] * n_rows}
    )


def listed(store: Store) -> list[InputFile]:
    return [InputFile(entry.path, entry.size_bytes, entry.version) for entry in store.list_files()]


def write(store: Store, path: str, table: pa.Table) -> None:
    with store.open_output(path) as file:
        pq.write_table(table, file, row_group_size=7)


def test_what_files_have_in_common_is_kept_once(tmp_path: object) -> None:
    store = Store(str(tmp_path))
    for i in range(3):
        write(store, f"{i}.parquet", wide_table(50))
    write(store, "other.parquet", wide_table(49))
    *alike, other = read_footers(store, listed(store))
    assert len({id(footer.schema) for footer in alike}) == 1
    assert other.schema is not alike[0].schema
    (numbers,) = {
        id(footer.row_groups._numbers): footer.row_groups._numbers for footer in alike
    }.values()
    assert len(numbers) == 3 * (3 + 2 * 3 * 52)
    assert sys.getsizeof(numbers) < 1.2 * 4 * len(numbers) + 200
    assert [list(footer.row_groups.rows) for footer in alike] == [[7, 7, 6]] * 3


def test_a_footer_has_what_the_file_says(tmp_path: object) -> None:
    store = Store(str(tmp_path))
    write(store, "a.parquet", wide_table(3))
    (footer,) = read_footers(store, listed(store))
    with pq.ParquetFile(store.locate("a.parquet")) as file:
        metadata = file.metadata
    assert [group.n_rows for group in footer.row_groups] == [7, 7, 6]
    for i, row_group in enumerate(footer.row_groups):
        columns = [metadata.row_group(i).column(j) for j in range(metadata.num_columns)]
        for name in ("column_0", "dotted.name"):
            (column,) = [c for c in columns if c.path_in_schema == name]
            assert row_group.compressed[name] == column.total_compressed_size
            assert row_group.uncompressed[name] == column.total_uncompressed_size
        pair = [c.total_compressed_size for c in columns if c.path_in_schema.startswith("pair.")]
        assert (len(pair), row_group.compressed["pair"]) == (2, sum(pair))
    assert footer.ranges["column_2"] == (2, 21)


@pytest.mark.s3
def test_a_footer_on_a_store_is_one_request(
    s3_server: S3Server, request: pytest.FixtureRequest
) -> None:
    store = Store(f"s3://{BUCKET}/{request.node.name}", s3_server.options)
    for i in range(5):
        write(store, f"{i}.parquet", wide_table(20))
    files = listed(store)
    with faulty(s3_server.endpoint) as proxy:
        behind = Store(store.uri, store.options | {"endpoint_url": proxy.endpoint})
        footers = read_footers(behind, files)
        assert [method for method, _ in proxy.requests] == ["GET"] * len(files)
    assert [footer.n_rows for footer in footers] == [20] * 5


@pytest.mark.s3
def test_a_footer_that_is_longer_than_what_is_read_at_once(
    s3_server: S3Server, request: pytest.FixtureRequest
) -> None:
    store = Store(f"s3://{BUCKET}/{request.node.name}", s3_server.options)
    write(store, "a.parquet", wide_table(300))
    assert int.from_bytes(store.read_bytes("a.parquet")[-8:-4], "little") > TAIL_BYTES
    (footer,) = read_footers(store, listed(store))
    assert len(footer.schema) == 302
    assert footer.n_rows == 20


@pytest.mark.s3
@pytest.mark.parametrize("by", [-200, 200, 100_000])
def test_a_file_that_has_another_length_by_now_is_read_as_it_is(
    s3_server: S3Server, request: pytest.FixtureRequest, by: int
) -> None:
    """As on a disk: who reads its rows, and the second listing, see that it is another."""
    store = Store(f"s3://{BUCKET}/{request.node.name}", s3_server.options)
    write(store, "a.parquet", wide_table(3))
    (file,) = listed(store)
    (footer,) = read_footers(store, [replace(file, size_bytes=file.size_bytes + by)])
    assert footer.n_rows == 20
    store.write_bytes("a.parquet", b"no Parquet, but as long as a footer at least")
    with pytest.raises(CorruptFileError):
        read_footers(store, [file])
