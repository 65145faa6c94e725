"""The memory that reading is planned with."""

import pyarrow as pa
import pytest

from nightscore.engine.planning.memory import (
    MAX_BATCH_ROWS,
    MIN_BATCH_ROWS,
    PAGE_BYTES,
    most_batch_rows,
    page_and_buffer_bytes,
)
from nightscore.inputs.decoding import COLUMNS_AT_ONCE
from nightscore.inputs.footers import Footer
from nightscore.inputs.reader import LOCAL_BUFFER_BYTES
from nightscore.inputs.row_group_sizes import RowGroup, RowGroups
from nightscore.schemas.contract import Contract, InputColumn
from nightscore.schemas.partition import InputFile

USUAL_BYTES = PAGE_BYTES + LOCAL_BUFFER_BYTES


@pytest.mark.parametrize(
    ("n_columns", "chunk_bytes", "column_bytes"),
    [
        (COLUMNS_AT_ONCE, 1_000, USUAL_BYTES),
        (COLUMNS_AT_ONCE + 1, 1_000, 3_000),
        (COLUMNS_AT_ONCE + 1, 10**9, USUAL_BYTES),
    ],
    ids=["usual", "thousands of small columns", "thousands of large columns"],
)
def test_thousands_of_columns_take_no_more_than_their_row_group_has(
    n_columns: int, chunk_bytes: int, column_bytes: int
) -> None:
    names = [f"f{i}" for i in range(n_columns)]
    stored, decoded = dict.fromkeys(names, chunk_bytes), dict.fromkeys(names, 2 * chunk_bytes)
    small = RowGroup(1, dict.fromkeys(names, 1), dict.fromkeys(names, 1))
    footer = Footer(
        file=InputFile("x.parquet", 1, "v"),
        schema=pa.schema([(name, pa.float64()) for name in names]),
        row_groups=RowGroups.pack([small, RowGroup(1_000, stored, decoded), small]),
        ranges={},
    )
    contract = Contract(
        features=tuple(InputColumn(name, pa.float64()) for name in names),
        passthrough=(),
        predictions=(),
        has_position=True,
    )
    assert page_and_buffer_bytes(contract, [footer], True) == n_columns * column_bytes


@pytest.mark.parametrize(
    ("n_columns", "n_rows"),
    [(30, MAX_BATCH_ROWS), (256, MAX_BATCH_ROWS), (3_000, 4_096), (10**6, MIN_BATCH_ROWS)],
)
def test_batches_of_thousands_of_columns_have_fewer_rows(n_columns: int, n_rows: int) -> None:
    assert most_batch_rows(16.0 * n_columns) == n_rows
