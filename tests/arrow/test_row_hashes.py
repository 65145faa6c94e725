"""Hashes of rows: XXH64 of values, whatever holds them."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from nightscore.arrow import row_hashes as module
from nightscore.arrow.row_hashes import is_hashable, row_hashes
from tests.support.plain_hashes import plain_xxh64 as xxh64

GOLDEN: dict[str, tuple[list[pa.Array], int]] = {
    "integer": ([pa.array([7])], 0xEFF81508D70D8CA5),
    "float": ([pa.array([7.0])], 0xF8F662ED3337F6A2),
    "boolean": ([pa.array([True])], 0x3CB892E9698F5161),
    "text": ([pa.array(["flight-7"])], 0xAE8CC10566C96038),
    "date": ([pa.array([date(2026, 11, 30)])], 0x42FBE30413AD25ED),
    "time": ([pa.array([datetime(2026, 11, 30, 12, tzinfo=UTC)])], 0x47750BC35EF9E8F6),
    "bytes": ([pa.array([b"flight-7"])], 0xAE8CC10566C96038),
    "decimal": ([pa.array([Decimal("1.50")])], 0x77E4B7552CD7C11E),
    "null": ([pa.array([None], pa.int64())], 0x22C76AFD15F0110F),
    "two columns": ([pa.array([7]), pa.array(["flight-7"])], 0xFBBB8D131FA86646),
}


@pytest.mark.parametrize("kind", GOLDEN)
def test_rows_have_the_same_hash_for_ever(kind: str) -> None:
    columns, expected = GOLDEN[kind]
    assert row_hashes(columns).tolist() == [expected]


TEXTS = ["a", None, "", "a longer text, of more than 32 bytes in all", "ä"]
SAME: dict[str, tuple[pa.Array | pa.ChunkedArray, pa.Array | pa.ChunkedArray]] = {
    "integers": (pa.array([1, None, 200], pa.uint8()), pa.array([1, None, 200], pa.int64())),
    "floats": (pa.array([0.0, 1.5], pa.float32()), pa.array([-0.0, 1.5])),
    "texts": (pa.array(TEXTS), pa.array(TEXTS, pa.large_string())),
    "dictionaries": (pa.array(TEXTS), pa.array(TEXTS).dictionary_encode()),
    "chunks": (pa.array(TEXTS), pa.chunked_array([TEXTS[:2], TEXTS[2:]])),
    "slices": (pa.array(TEXTS[2:]), pa.array(TEXTS)[2:]),
    "sliced dates": (
        pa.array([date(2026, 1, 2), None])[:2],
        pa.array([None, date(2026, 1, 2), None], pa.date64())[1:],
    ),
    "decimals": (
        pa.array([Decimal("1.50"), None, Decimal("-0.10"), Decimal(0)], pa.decimal128(9, 2)),
        pa.array([Decimal("1.5"), None, Decimal("-0.1"), Decimal(0)], pa.decimal256(40, 1)),
    ),
    "decimals as text": (
        pa.array([Decimal("1E-7"), Decimal(20), Decimal("-3.25")], pa.decimal128(12, 8)),
        pa.array(["0.0000001", "20", "-3.25"]),
    ),
    "decimals without fractions": (
        pa.array([Decimal(1200), Decimal(-7)], pa.decimal128(9, 0)),
        pa.array(["1200", "-7"]),
    ),
    "hundreds": (pa.array([Decimal(1200)], pa.decimal128(5, -2)), pa.array(["1200"])),
    "NaN": (
        pa.array(np.array([0x7FF8 << 48, (0x7FF8 << 48) + 1], np.uint64).view(np.float64)),
        pa.array([np.nan, -np.nan]),
    ),
    "great integers": (pa.array([2**64 - 1], pa.uint64()), pa.array([-1])),
    "times": (
        pa.array([1, None, -3], pa.timestamp("s")),
        pa.array([10**9, None, -3 * 10**9], pa.timestamp("ns", "UTC")),
    ),
}


@pytest.mark.parametrize("kind", SAME)
def test_what_holds_a_value_does_not_count(kind: str) -> None:
    one, other = SAME[kind]
    assert row_hashes([one]).tolist() == row_hashes([other]).tolist()


def test_values_of_different_kinds_differ() -> None:
    values: list[Any] = [1, 1.0, True, "1", date(1970, 1, 2), datetime(1970, 1, 2), None, ""]
    hashes = [row_hashes([pa.array([value])])[0] for value in values]
    assert len(set(hashes)) == len(values)

    one, two = pa.array(["a", "b"]), pa.array(["b", "a"])
    assert len({*row_hashes([one, two]), *row_hashes([two, one])}) == 2
    nanoseconds = pa.array([1_000, 1_001], pa.timestamp("ns"))
    assert len(set(row_hashes([nanoseconds]))) == 2


def test_blocks_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = [pa.array(range(100)), pa.array([f"{'k' * (i % 7)}{i}" for i in range(100)])]
    whole = row_hashes(columns)
    monkeypatch.setattr(module, "BLOCK_ROWS", 7)
    monkeypatch.setattr(module, "BLOCK_BYTES", 16)

    assert (row_hashes(columns) == whole).all()
    assert len(set(whole)) == 100
    assert row_hashes([]).tolist() == []


@pytest.mark.parametrize("kind", SAME)
def test_values_may_be_missing_in_each_of_several_columns(kind: str) -> None:
    column = SAME[kind][0]
    last = pa.nulls(len(column))
    rows = [
        row_hashes([pa.array(["a"]), column.slice(row, 1), last[:1], column.slice(row, 1)])[0]
        for row in range(len(column))
    ]

    hashes = row_hashes([pa.array(["a"] * len(column)), column, last, column])

    assert hashes.tolist() == rows
    starts = xxh64(b"flight-7", 7)
    hashes = row_hashes([pa.array(["flight-7"] * 2), pa.array([None, 7])])
    assert hashes.tolist() == [
        xxh64(bytes(8), starts + 1),
        xxh64(bytes([7, *bytes(7)]), starts + 2),
    ]


def test_hashes_are_spread_evenly() -> None:
    hashes = row_hashes([pa.array(np.arange(10_000))])
    counts = np.bincount((hashes >> np.uint64(60)).astype(np.int64), minlength=16)
    assert ((counts - 625) ** 2 / 625).sum() < 37.7  # chi-squared, 15 degrees of freedom, 0.1 %


def test_only_nested_values_have_no_hash() -> None:
    assert is_hashable(pa.decimal128(5, 2)) and is_hashable(pa.dictionary(pa.int8(), pa.string()))
    assert is_hashable(pa.binary()) and is_hashable(pa.duration("s"))
    assert not is_hashable(pa.list_(pa.int8()))
