"""Small chunks are put together; large ones stay where they are."""

import itertools
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from nightscore.arrow.chunks import SMALL_ROWS, combine_small_chunks


def column(sizes: list[int], kind: pa.DataType | None = None) -> pa.ChunkedArray:
    values = np.arange(sum(sizes))
    ends = list(itertools.accumulate(sizes, initial=0))
    chunks = [pa.array(values[i:j], kind) for i, j in itertools.pairwise(ends)]
    return pa.chunked_array(chunks)


def sizes_of(values: pa.ChunkedArray) -> list[int]:
    return [len(chunk) for chunk in values.chunks]


@pytest.mark.parametrize(
    ("sizes", "combined"),
    [
        ([10], [10]),
        ([10, 0, 20, 30], [60]),
        ([SMALL_ROWS] * 3, [SMALL_ROWS] * 3),
        ([SMALL_ROWS, 1, 2, SMALL_ROWS, 3, 4], [SMALL_ROWS, 3, SMALL_ROWS, 7]),
        ([SMALL_ROWS - 1] * 4, [2 * SMALL_ROWS - 2] * 2),
    ],
)
def test_neighbours_become_one_until_they_are_large(sizes: list[int], combined: list[int]) -> None:
    table = pa.table({"x": column(sizes), "y": column([sum(sizes)])})
    result = combine_small_chunks(table)
    assert sizes_of(result.column("x")) == combined
    assert result.equals(table)
    assert result.schema.equals(table.schema)
    result.validate(full=True)


def test_large_chunks_are_not_copied() -> None:
    table = pa.table({"x": column([SMALL_ROWS, 5, 6])})
    before, after = table.column("x").chunk(0), combine_small_chunks(table).column("x").chunk(0)
    assert before.buffers()[1].address == after.buffers()[1].address


def test_texts_nulls_and_dictionaries_keep_their_values() -> None:
    texts = pa.chunked_array([pa.array(["a", None]), pa.array(["b", "a"]).slice(1)])
    coded = pa.chunked_array([chunk.dictionary_encode() for chunk in texts.chunks])
    fields = [pa.field("texts", pa.string(), metadata={"a": "b"}), pa.field("coded", coded.type)]
    result = combine_small_chunks(pa.table([texts, coded], schema=pa.schema(fields)))
    assert (
        result.column("texts").to_pylist() == result.column("coded").to_pylist() == ["a", None, "a"]
    )
    assert sizes_of(result.column("coded")) == [3]
    assert result.schema.equals(pa.schema(fields), check_metadata=True)


@pytest.mark.parametrize(
    "parts",
    [
        [pa.DictionaryArray.from_arrays([0, 1], ["a", None])] * 2,
        [
            pa.DictionaryArray.from_arrays(pa.array([0], pa.int8()), [str(k) for k in range(i, 127 + i)])
            for i in (0, 100)
        ],
    ],
)  # fmt: skip
def test_dictionaries_that_cannot_be_one_stay_apart(parts: Any) -> None:
    table = pa.table({"x": pa.chunked_array(parts), "y": column([len(part) for part in parts])})
    result = combine_small_chunks(table)
    assert result.column("x").to_pylist() == table.column("x").to_pylist()
    assert sizes_of(result.column("y")) == [table.num_rows]
    assert result.schema.equals(table.schema)


def test_a_table_without_columns_or_rows_stays_as_it_is() -> None:
    for table in (pa.table({}), pa.table({"x": pa.chunked_array([], pa.int64())})):
        assert combine_small_chunks(table).equals(table)
