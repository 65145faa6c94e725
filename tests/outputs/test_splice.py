"""Files that are put together without decoding them are what their rows, written anew, would be."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightscore.arrow.parsing.thrift import (
    BINARY,
    BYTE,
    DOUBLE,
    FALSE,
    I16,
    I32,
    I64,
    LIST,
    SET,
    STRUCT,
    TRUE,
    Items,
    ThriftError,
    read_struct,
    write_struct,
)
from nightscore.errors import StorageError
from nightscore.outputs import splice as module
from nightscore.outputs.splice import splice
from nightscore.outputs.writer import PartWriter, WrittenPart
from nightscore.storage.store import Store

SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("score", pa.float64()),
        ("version", pa.dictionary(pa.int32(), pa.string())),
        ("when", pa.timestamp("us", "UTC")),
        ("list", pa.list_(pa.float32())),
    ]
)


def rows(start: int, n_rows: int) -> pa.Table:
    numbers = np.arange(start, start + n_rows)
    scores = [None if n % 7 == 0 else n / 3 for n in numbers]
    columns = [
        pa.array(numbers),
        pa.array(scores, pa.float64()),
        pa.array([f"v{n % 3 + start}" for n in numbers]).dictionary_encode(),
        pa.array(numbers).cast(pa.timestamp("us", "UTC")),
        pa.array([[n / 2] * (n % 3) for n in numbers], pa.list_(pa.float32())),
    ]
    return pa.table(
        [column.cast(f.type) for column, f in zip(columns, SCHEMA, strict=True)], schema=SCHEMA
    )


def write(store: Store, path: str, table: pa.Table, schema: pa.Schema = SCHEMA) -> WrittenPart:
    with PartWriter(store, path, schema, keep_types=True) as writer:
        if table.num_rows:
            writer.write(table)
        return writer.close()


@pytest.fixture()
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path), {})


@pytest.mark.parametrize("sizes", [[1], [0], [40_000, 70_000, 33_000], [140_000, 0, 40_000]])
def test_the_whole_is_its_parts(store: Store, sizes: list[int]) -> None:
    tables = [rows(sum(sizes[:i]), size) for i, size in enumerate(sizes)]
    parts = [write(store, f"part-{i}.parquet", table) for i, table in enumerate(tables)]
    whole = splice(store, parts, "whole.parquet", {"key": "value"})
    assert whole is not None
    path = Path(store.locate("whole.parquet"))
    expected = write(store, "anew.parquet", pa.concat_tables(tables).unify_dictionaries())
    assert (whole.stats, whole.file.rows) == (expected.stats, sum(sizes))
    assert whole.file.size_bytes == path.stat().st_size
    with pq.ParquetFile(path, page_checksum_verification=True) as parquet:
        assert parquet.metadata.metadata[b"key"] == b"value"
        assert parquet.schema_arrow == SCHEMA
        whole = parquet.read()
        assert whole.cast(
            pa.schema([f.with_type(_plain(f.type)) for f in SCHEMA])
        ) == pa.concat_tables(tables).cast(pa.schema([f.with_type(_plain(f.type)) for f in SCHEMA]))
        for i in range(parquet.num_row_groups):  # each can be read by itself
            assert parquet.read_row_group(i).num_rows == parquet.metadata.row_group(i).num_rows
    import polars as pl

    assert pl.read_parquet(path, columns=["id"])["id"].to_list() == list(range(sum(sizes)))


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def test_what_is_not_alike_is_left_to_be_written_anew(store: Store) -> None:
    first = write(store, "a.parquet", rows(0, 40_000))
    other = pa.schema([f if f.name != "score" else f.with_type(pa.float32()) for f in SCHEMA])
    second = write(store, "b.parquet", rows(0, 40_000).cast(other), other)
    assert splice(store, [first, second], "whole.parquet", {}) is None
    small = [write(store, f"{i}.parquet", rows(i, 100)) for i in range(3)]
    assert splice(store, small, "whole.parquet", {}) is None
    Path(store.locate("c.parquet")).write_bytes(b"PAR1 no footer PAR1")
    broken = WrittenPart(first.file.model_copy(update={"path": "c.parquet", "size_bytes": 19}), "")
    assert splice(store, [broken], "whole.parquet", {}) is None
    assert splice(store, [], "whole.parquet", {}) is None
    assert not Path(store.locate("whole.parquet")).exists()


def footer_length(n_bytes: int) -> bytes:
    return n_bytes.to_bytes(4, "little")


@pytest.mark.parametrize(
    "content",
    [
        b"PAR1",
        b"PAR1" + footer_length(4_000) + b"PAR1",
        b"PAR1" + b"\xff" * 8 + footer_length(8) + b"PAR1",
    ],
    ids=["too short", "a footer longer than the file", "a footer that is not Thrift"],
)
def test_a_part_without_a_readable_footer_is_written_anew(store: Store, content: bytes) -> None:
    part = write(store, "a.parquet", rows(0, 40_000))
    Path(store.locate("b.parquet")).write_bytes(content)
    record = part.file.model_copy(update={"path": "b.parquet", "size_bytes": len(content)})

    assert splice(store, [WrittenPart(record, "")], "whole.parquet", {}) is None


def test_a_record_of_other_rows_than_the_footer_s_is_not_believed(store: Store) -> None:
    part = write(store, "a.parquet", rows(0, 40_000))
    record = part.file.model_copy(update={"rows": 39_999})

    assert splice(store, [WrittenPart(record, part.stats)], "whole.parquet", {}) is None


def test_a_footer_longer_than_the_first_request_is_read_whole(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TAIL_BYTES", 64)
    part = write(store, "a.parquet", rows(0, 40_000))

    whole = splice(store, [part], "whole.parquet", {})

    assert whole is not None
    assert pq.read_table(store.locate("whole.parquet")).num_rows == 40_000


def test_a_part_that_shrinks_is_told_and_leaves_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = write(store, "a.parquet", rows(0, 40_000))
    footers = module._read_piece

    def shrink(*arguments: object) -> object:
        spliced = footers(*arguments)  # type: ignore[arg-type]
        Path(store.locate("a.parquet")).write_bytes(b"PAR1")
        return spliced

    monkeypatch.setattr(module, "_read_piece", shrink)
    with pytest.raises(StorageError, match="shorter"):
        splice(store, [part], "whole.parquet", {})
    assert not Path(store.locate("whole.parquet")).exists()


SCALARS = {
    I16: st.integers(-(2**15), 2**15 - 1),
    I32: st.integers(-(2**31), 2**31 - 1),
    I64: st.integers(-(2**63), 2**63 - 1),
    BINARY: st.binary(max_size=300),
    DOUBLE: st.binary(min_size=8, max_size=8),
    BYTE: st.binary(min_size=1, max_size=1),
}
BOOLEANS = st.sampled_from([(TRUE, True), (FALSE, False)])


def of_kind(kind: int, values: st.SearchStrategy[object]) -> st.SearchStrategy[tuple[int, object]]:
    return values.map(lambda value: (kind, value))


def structs(children: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    return st.dictionaries(st.integers(1, 400), children, max_size=20).map(
        lambda counts: dict(sorted(counts.items()))
    )


def extended(children: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    lists = st.sampled_from([*SCALARS]).flatmap(
        lambda kind: st.lists(SCALARS[kind], max_size=40).map(lambda values: Items(kind, values))  # type: ignore[arg-type]
    )
    nested = st.lists(structs(children), max_size=3).map(lambda values: Items(STRUCT, values))  # type: ignore[arg-type]
    either = st.one_of(lists, nested)
    return st.one_of(
        of_kind(LIST, either), of_kind(SET, either), of_kind(STRUCT, structs(children))
    )


FIELDS = st.recursive(
    st.one_of(BOOLEANS, *(of_kind(kind, values) for kind, values in SCALARS.items())), extended
)


@pytest.mark.slow
@given(structs(FIELDS))
def test_structs_come_back(struct: dict[int, tuple[int, object]]) -> None:
    content = write_struct(struct)  # type: ignore[arg-type]
    assert read_struct(content) == struct
    for end in range(0, len(content), max(1, len(content) // 10)):
        with pytest.raises(ThriftError):
            read_struct(content[:end])


def test_what_no_footer_holds_is_refused() -> None:
    with pytest.raises(ThriftError, match="type 11"):
        read_struct(bytes([0x1B, 0, 0]))
