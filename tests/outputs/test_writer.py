"""Parts and what stands beside them, on a store in memory: the store is not the point."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nightscore.errors import LocationNotFoundError, StorageError
from nightscore.outputs.foreign import check_no_other_table, check_own_files
from nightscore.outputs.writer import ROW_GROUP_ROWS, PartWriter, find_parts
from nightscore.storage.store import Store

SCHEMA = pa.schema([("id", pa.int64()), ("name", pa.dictionary(pa.int32(), pa.string()))])


def rows(n: int, name: str = "a") -> pa.Table:
    names = pa.array([name] * n, pa.string()).dictionary_encode()
    return pa.table([pa.array(range(n), pa.int64()), names], schema=SCHEMA)


def test_a_part_appears_once_it_is_closed(memory: Store) -> None:
    with PartWriter(memory, "ds=x/a.parquet", SCHEMA, keep_types=True) as writer:
        writer.write(rows(3))
        assert memory.list_files() == []
        part = writer.close()

    assert (part.file.path, part.file.rows) == ("ds=x/a.parquet", 3)
    assert memory.describe(part.file.path).size_bytes == part.file.size_bytes
    assert memory.sha256(part.file.path) == part.file.sha256
    with pq.ParquetFile(memory.open_input(part.file.path)) as file:
        assert file.read().equals(rows(3))


def test_a_part_that_failed_leaves_nothing(memory: Store) -> None:
    with (
        pytest.raises(RuntimeError, match="half way"),
        PartWriter(memory, "a.parquet", SCHEMA, keep_types=True) as writer,
    ):
        writer.write(rows(3))
        raise RuntimeError("half way")
    assert memory.list_files() == []


def test_small_batches_make_whole_row_groups(memory: Store) -> None:
    n_rows = ROW_GROUP_ROWS // 2
    with PartWriter(memory, "a.parquet", SCHEMA, keep_types=True) as writer:
        for name in ("a", "b", "c"):
            writer.write(rows(n_rows, name))
        part = writer.close()

    assert part.file.rows == 3 * n_rows
    with pq.ParquetFile(memory.open_input("a.parquet")) as file:
        sizes = [file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)]
    assert sizes == [ROW_GROUP_ROWS, n_rows]


def test_all_results_that_cannot_be_put_back_are_named(memory: Store) -> None:
    files = {}
    for name in ("whole", "gone", "cut", "damaged"):
        with PartWriter(memory, f"{name}.parquet", SCHEMA, keep_types=True) as writer:
            writer.write(rows(3))
            files[f"{name}.parquet"] = writer.close().file
    content = memory.read_bytes("damaged.parquet")
    memory.delete(["gone.parquet"])
    memory.write_bytes("cut.parquet", content[:-1])
    memory.write_bytes("damaged.parquet", content[:-4] + b"XXXX")

    with pytest.raises(LocationNotFoundError) as caught:
        find_parts(memory, files)
    assert [problem.partition(":")[0] for problem in caught.value.problems] == [
        "gone.parquet",
        "cut.parquet",
        "damaged.parquet",
    ]
    whole = {"whole.parquet": files["whole.parquet"]}
    assert [part.file for part in find_parts(memory, whole)] == list(whole.values())


@pytest.mark.parametrize(
    ("path", "kind"), [("metadata/v1.metadata.json", "Iceberg"), (".hoodie/x", "Hudi")]
)
def test_a_table_of_another_format_is_refused(memory: Store, path: str, kind: str) -> None:
    check_no_other_table(memory, memory.list_folders())
    memory.write_bytes("metadata/notes.txt", b"")
    check_no_other_table(memory, memory.list_folders())
    memory.write_bytes(path, b"{}")
    with pytest.raises(StorageError, match="table of another format") as caught:
        check_no_other_table(memory, memory.list_folders())
    assert kind in caught.value.found


def test_files_that_readers_would_see_beside_the_object_are_refused(memory: Store) -> None:
    own = "ds=x/predictions.parquet"
    for path in (own, "ds=x/_SUCCESS", "ds=x/.hidden", "ds=y/other.parquet"):
        memory.write_bytes(path, b"1")
    check_own_files(memory, "ds=x", own)
    memory.write_bytes("ds=x/more/other.parquet", b"1")
    with pytest.raises(StorageError, match="did not write") as caught:
        check_own_files(memory, "ds=x", own)
    assert caught.value.found == "1 other file: ds=x/more/other.parquet"
