"""`output.format: delta`: a table that every engine reads, with history."""

from typing import TYPE_CHECKING

from nightscore.ledger.output_formats import OutputFormat
from nightscore.ledger.workspace import Workspace
from nightscore.outputs.publisher import Publisher

if TYPE_CHECKING:  # a partition that is unchanged needs no Arrow
    import pyarrow as pa


def storage_type(arrow_type: "pa.DataType") -> "pa.DataType | None":
    """See `OutputFormat`. Timestamps are stored in microseconds."""
    import pyarrow as pa

    if pa.types.is_unsigned_integer(arrow_type):
        # Delta has none: signed types that hold the unsigned ones of so many bits.
        wider = {8: pa.int16(), 16: pa.int32(), 32: pa.int64(), 64: pa.decimal128(20, 0)}
        return wider[arrow_type.bit_width]
    if pa.types.is_timestamp(arrow_type):
        return pa.timestamp("us", "UTC" if arrow_type.tz else None)
    if pa.types.is_date64(arrow_type):
        return pa.date32()
    if pa.types.is_float16(arrow_type):
        return pa.float32()
    if pa.types.is_decimal32(arrow_type) or pa.types.is_decimal64(arrow_type):
        return pa.decimal128(arrow_type.precision, arrow_type.scale)

    stored = (
        pa.types.is_signed_integer,
        pa.types.is_floating,
        pa.types.is_boolean,
        pa.types.is_string,
        pa.types.is_binary,
        pa.types.is_date32,
        pa.types.is_decimal128,
    )
    is_same = any(is_stored(arrow_type) for is_stored in stored)
    return arrow_type if is_same else None


def open_publisher(workspace: Workspace) -> Publisher:
    """The publisher of a job's table. Imports delta-rs, which workers do without."""
    from nightscore.outputs.delta_publisher import DeltaPublisher

    return DeltaPublisher(workspace)


DRIVER_BYTES = 45 << 20
"""What the Delta library adds to the driver. Measured: 40 MiB."""

FORMAT = OutputFormat(
    name="delta",
    title="a Delta table",
    requirement="Delta tables need commits that exclude each other",
    is_supported=lambda able: able.can_commit,
    writes_in_place=True,
    stores_arrow_schema=False,
    ignores_case=True,
    driver_bytes=DRIVER_BYTES,
    storage_type=storage_type,
    open_publisher=open_publisher,
)
