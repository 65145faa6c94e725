"""Long tables as Parquet files: many short rows, whose texts repeat."""

import io

import pyarrow as pa


def to_parquet(table: pa.Table) -> bytes:
    """The table as a small Parquet file, for people who read many of them with one glob.

    Args:
        table: Columns of texts may be dictionary-encoded. The file says that they are texts.
    """
    import pyarrow.parquet as pq  # what writes nothing need not import it

    sink = io.BytesIO()

    # Zstandard takes twice as long for so few rows, and saves nothing. The file's own schema says
    # that texts are texts: Arrow's would say how they were repeated here.
    pq.write_table(
        table,
        sink,
        compression="snappy",
        use_dictionary=[field.name for field in table.schema if _is_text(field.type)],
        write_statistics=False,
        store_schema=False,
    )

    return sink.getvalue()


def _is_text(kind: pa.DataType) -> bool:
    """Texts repeat; numbers do not."""
    return bool(pa.types.is_string(kind) or pa.types.is_dictionary(kind))
