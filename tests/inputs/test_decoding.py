"""Row groups of an open file: the same rows however they are decoded, and little held beside."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nightscore.inputs import decoding
from nightscore.inputs.decoding import BATCHES_AT_ONCE, decode_groups, streamed_groups
from nightscore.schemas.partition import InputFile, Piece

GROUP_ROWS = (3, 3, 3, 20, 9, 40, 40, 16, 1)
"""With batches of ten: three that fit into a batch, a long one, one that fits, two long ones."""
BATCH_ROWS = 10
NAMES = ["a", "b", "c"]


@pytest.fixture
def parquet(tmp_path: Path) -> pq.ParquetFile:
    """Row groups of many sizes, with missing values and texts that stay dictionary codes."""
    rng = np.random.default_rng(0)
    n_rows = sum(GROUP_ROWS)
    texts = [None if i % 7 == 0 else f"t{i % 5}" for i in range(n_rows)]
    columns = {
        "a": pa.array(rng.normal(size=n_rows), mask=rng.random(n_rows) < 0.2),
        "b": pa.array(texts),
        "c": pa.array(range(n_rows)),
    }
    table = pa.table(columns)

    path, start = tmp_path / "x.parquet", 0
    with pq.ParquetWriter(path, table.schema) as writer:
        for n in GROUP_ROWS:
            writer.write_table(table.slice(start, n))
            start += n

    return pq.ParquetFile(path, read_dictionary=["b"], pre_buffer=False)


def piece_of(groups: range, *, skipped: int = 0, cut: int = 0) -> Piece:
    n_rows = sum(GROUP_ROWS[group] for group in groups) - skipped - cut
    return Piece(InputFile("x.parquet", 1, "v"), tuple(groups), 0, n_rows, skipped)


def decode(parquet: pq.ParquetFile, piece: Piece) -> list[pa.Table]:
    streamed = streamed_groups(parquet.metadata, piece, BATCH_ROWS)
    return list(decode_groups(parquet, piece.row_groups, NAMES, BATCH_ROWS, streamed))


@pytest.mark.parametrize("n_values", [1, 25, 1 << 18])
def test_row_groups_have_the_same_rows_however_they_are_decoded(
    n_values: int, parquet: pq.ParquetFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "VALUES_AT_ONCE", n_values)
    tables = decode(parquet, piece_of(range(len(GROUP_ROWS))))

    expected = parquet.read().to_pylist()
    assert [row for table in tables for row in table.to_pylist()] == expected
    assert {str(table.schema) for table in tables} == {str(parquet.schema_arrow)}
    assert max(table.num_rows for table in tables) == 2 * BATCH_ROWS


def test_small_row_groups_are_decoded_together_and_long_ones_in_batches(
    parquet: pq.ParquetFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[Any, list[str]]] = []
    read = pq.ParquetFile.read_row_groups

    def count(self: Any, groups: Any, columns: Any, **options: Any) -> pa.Table:
        calls.append((groups, columns))
        return read(self, groups, columns, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_groups", count)
    monkeypatch.setattr(decoding, "VALUES_AT_ONCE", 20)
    tables = decode(parquet, piece_of(range(7)))

    assert calls == [
        ([0, 1, 2], ["a", "b"]),
        ([0, 1, 2], ["c"]),
        ([3], ["a"]),
        ([3], ["b"]),
        ([3], ["c"]),
        ([4], ["a", "b"]),
        ([4], ["c"]),
    ]
    assert sum(table.num_rows for table in tables[:3]) == sum(GROUP_ROWS[:5])
    assert sum(table.num_rows for table in tables[3:]) == sum(GROUP_ROWS[5:7])


@pytest.mark.parametrize(
    ("groups", "skipped", "cut", "streamed"),
    [
        (range(5), 0, 0, set()),
        (range(3, 8), 5, 0, {5, 6}),
        (range(3, 5), 0, 1, {4}),
        (range(3, 4), 4, 4, {3}),
    ],
    ids=["whole", "from within a group", "to within a group", "within a group"],
)
def test_a_row_group_that_is_not_needed_to_its_end_is_streamed(
    groups: range, skipped: int, cut: int, streamed: set[int], parquet: pq.ParquetFile
) -> None:
    piece = piece_of(groups, skipped=skipped, cut=cut)
    assert streamed_groups(parquet.metadata, piece, BATCH_ROWS) == streamed


def test_row_groups_that_are_decoded_whole_take_less_than_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    n_rows, n_columns = 8_192, 24
    values = np.random.default_rng(0).normal(size=(n_columns, 3 * n_rows))
    table = pa.table({f"f{i}": pa.array(column) for i, column in enumerate(values)})
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=n_rows)
    monkeypatch.setattr(decoding, "VALUES_AT_ONCE", n_rows)

    def peak_bytes(streamed: frozenset[int]) -> int:
        usual = pa.default_memory_pool()
        pool = pa.proxy_memory_pool(usual)
        pa.set_memory_pool(pool)
        try:
            parquet = pq.ParquetFile(tmp_path / "x.parquet", pre_buffer=False, buffer_size=4_096)
            groups = (0, 1, 2)
            for rows in decode_groups(
                parquet, groups, table.column_names, n_rows // BATCHES_AT_ONCE, streamed
            ):
                del rows
        finally:
            pa.set_memory_pool(usual)
        return int(pool.max_memory())

    whole_bytes = peak_bytes(frozenset())
    assert whole_bytes < 1.25 * table.nbytes / 3
    assert whole_bytes < 0.5 * peak_bytes(frozenset({0, 1, 2}))
