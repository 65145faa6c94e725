"""Which columns can be compared, and as which type."""

from datetime import datetime

import polars as pl
import pyarrow as pa
import pytest

from nightscore.monitoring.performance.column_kinds import (
    common_number,
    common_type,
    kind_of,
    without_offset,
)

INT, FLOAT, TEXT = pa.int64(), pa.float64(), pa.string()
SHARED = {
    "integers": ([pa.int8(), INT], pl.Int64()),
    "unsigned ones beyond": ([pa.uint64(), INT], None),
    "decimals": ([pa.decimal128(20, 0), pa.decimal128(12, 2)], pl.Decimal(38, 2)),
    "decimals and integers": ([pa.decimal128(20, 0), INT], pl.Decimal(38, 0)),
    "decimals too fine for integers": ([pa.decimal128(38, 20), INT], None),
    "decimals and floats": ([pa.decimal128(20, 0), FLOAT], None),
    "decimals and text": ([pa.decimal128(20, 0), TEXT], None),
    "integers and floats": ([INT, FLOAT], None),
    "bytes": ([pa.binary(), pa.binary(16)], pl.Binary()),
    "bytes and text": ([pa.binary(), TEXT], None),
    "text, also as a dictionary": ([TEXT, pa.dictionary(pa.int8(), TEXT)], pl.String()),
    "times": ([pa.timestamp("s"), pa.timestamp("us")], pl.Datetime("us")),
    "times in ns": ([pa.timestamp("s"), pa.timestamp("ns")], pl.Datetime("ns")),
    "nulls": ([pa.null(), INT], pl.Int64()),
    "lists": ([pa.list_(INT)], None),
}


@pytest.mark.parametrize("name", SHARED)
def test_the_type_that_columns_are_compared_as(name: str) -> None:
    types, shared = SHARED[name]
    assert common_type(map(kind_of, types)) == shared


@pytest.mark.parametrize(
    ("types", "shared"),
    [
        ([INT, FLOAT], pl.Float64()),
        ([pa.decimal128(12, 2)], pl.Float64()),
        ([INT, pa.int8()], pl.Int64()),
        ([INT, pa.null()], pl.Int64()),
        ([INT, TEXT], None),
        ([INT, pa.bool_()], None),
    ],
)
def test_labels_may_mix_numbers(types: list[pa.DataType], shared: pl.DataType | None) -> None:
    assert common_number(map(kind_of, types)) == shared


def test_zones_that_are_offsets() -> None:
    moment = datetime(2024, 2, 29, 18, 30)
    column = pa.chunked_array([pa.array([moment], pa.timestamp("us", "+05:30"))])
    assert without_offset(column).type == pa.timestamp("us", "UTC")
    assert without_offset(column, is_local=True).to_pylist() == [datetime(2024, 3, 1)]
    other = column.cast(pa.timestamp("us", "Europe/Berlin"))
    assert without_offset(other) is other
