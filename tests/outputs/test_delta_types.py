"""Each Arrow type is stored as a Delta type that holds all of its values, or refused."""

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from nightscore.outputs.formats.delta import storage_type


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        (pa.uint8(), pa.int16()),
        (pa.uint64(), pa.decimal128(20, 0)),
        (pa.timestamp("ns"), pa.timestamp("us")),
        (pa.timestamp("s", "Europe/Berlin"), pa.timestamp("us", "UTC")),
        (pa.date64(), pa.date32()),
        (pa.float16(), pa.float32()),
        (pa.decimal32(7, 2), pa.decimal128(7, 2)),
        (pa.decimal64(12, 3), pa.decimal128(12, 3)),
        (pa.string(), pa.string()),
    ],
)
def test_a_column_is_stored_in_a_type_that_holds_it(
    given: pa.DataType, stored: pa.DataType, tmp_path: object
) -> None:
    assert storage_type(given) == stored

    # Delta itself takes the type, and gives it back.
    write_deltalake(str(tmp_path), pa.table({"x": pa.nulls(1, stored)}))


def test_a_type_that_delta_does_not_have_is_refused() -> None:
    assert storage_type(pa.duration("s")) is None
