"""Finds text that is not UTF-8.

Arrow and Parquet do not check. Most readers refuse a whole file because of one such text.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nightscore.arrow.arrays import from_numpy

TEXT_AS_BYTES = b"nightscore.text"
"""Key in a field's metadata: it held text, but is stored as bytes since some is not UTF-8."""

_UTF8 = (
    r"\A(?:[\x00-\x7F]|[\xC2-\xDF][\x80-\xBF]|\xE0[\xA0-\xBF][\x80-\xBF]"
    r"|[\xE1-\xEC\xEE\xEF][\x80-\xBF]{2}|\xED[\x80-\x9F][\x80-\xBF]"
    r"|\xF0[\x90-\xBF][\x80-\xBF]{2}|[\xF1-\xF3][\x80-\xBF]{3}"
    r"|\xF4[\x80-\x8F][\x80-\xBF]{2})*\z"
)
"""Matches bytes. Source: The Unicode Standard, table 3-7, "Well-Formed UTF-8 Byte Sequences"."""

Mask = npt.NDArray[np.bool_]


def broken_texts(column: pa.ChunkedArray) -> Mask | None:
    """Where a column holds text that is not UTF-8, at any depth of lists, maps and structs.

    ASCII costs a pass over the bytes (less than a hundredth of decoding them), other text Arrow's
    own check.

    Returns:
        A mask of the rows. None: there is no such text. If only entries of a dictionary have such
        text, and no row refers to them, no row is true.
    """
    if not may_hold_text(column.type):
        return None

    masks = [_broken(chunk) for chunk in column.chunks]
    if all(mask is None for mask in masks):
        return None

    filled = [
        np.zeros(len(chunk), np.bool_) if mask is None else mask
        for chunk, mask in zip(column.chunks, masks, strict=True)
    ]

    return np.concatenate(filled)


def may_hold_text(arrow_type: pa.DataType) -> bool:
    """Whether there are texts in a type, at any depth."""
    if isinstance(arrow_type, pa.BaseExtensionType):
        return may_hold_text(arrow_type.storage_type)
    if pa.types.is_dictionary(arrow_type):
        return may_hold_text(arrow_type.value_type)
    if pa.types.is_nested(arrow_type):
        return any(may_hold_text(arrow_type.field(i).type) for i in range(arrow_type.num_fields))
    return _is_text(arrow_type)


def without(column: pa.ChunkedArray, rows: Mask) -> pa.ChunkedArray:
    """The column with null in these rows. A dictionary has only the values of its rows.

    Nested columns, and columns of an extension type, are returned unchanged.
    """
    arrow_type = column.type
    if pa.types.is_nested(arrow_type) or isinstance(arrow_type, pa.BaseExtensionType):
        return column

    if pa.types.is_dictionary(arrow_type):
        plain = without(column.cast(arrow_type.value_type), rows).combine_chunks()
        encoded = pc.dictionary_encode(plain)
        indices = encoded.indices.cast(arrow_type.index_type)
        dictionary = pa.DictionaryArray.from_arrays(
            indices, encoded.dictionary, ordered=arrow_type.ordered
        )
        return pa.chunked_array([dictionary])

    if arrow_type == pa.string_view():  # Arrow's `if_else` does not support it
        return without(column.cast(pa.large_string()), rows).cast(arrow_type)

    null = pa.nulls(1, arrow_type)[0]

    return pa.chunked_array([pc.if_else(from_numpy(rows), null, column.combine_chunks())])


def as_bytes(table: pa.Table) -> pa.Table:
    """The table with all texts as bytes, which every reader of Parquet can open."""
    for index, field in enumerate(table.schema):
        if not may_hold_text(field.type):
            continue
        bytes_type = _bytes_type(field.type)
        metadata = {TEXT_AS_BYTES: str(field.type).encode()}
        marked = field.with_type(bytes_type).with_metadata(metadata)
        column = _stored(table.column(index)).cast(bytes_type)
        table = table.set_column(index, marked, column)
    return table


def stated_schema(schema: pa.Schema) -> pa.Schema:
    """The schema with text where `as_bytes` has put bytes. Nested columns stay bytes."""
    for index, field in enumerate(schema):
        if field.type == pa.binary() and TEXT_AS_BYTES in (field.metadata or {}):
            schema = schema.set(index, field.with_type(pa.string()).with_metadata(None))
    return schema


def as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Bytes reinterpreted as text, unchecked."""
    column = column.cast(pa.binary())
    return pa.chunked_array(
        [_reinterpret(chunk, pa.string()) for chunk in column.chunks], pa.string()
    )


def _is_text(arrow_type: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(arrow_type)
        or pa.types.is_large_string(arrow_type)
        or arrow_type == pa.string_view()
    )


def _broken(array: pa.Array) -> Mask | None:
    arrow_type = array.type
    if not len(array) or not may_hold_text(arrow_type):
        return None
    if isinstance(arrow_type, pa.BaseExtensionType):
        return _broken(array.storage)
    if pa.types.is_dictionary(arrow_type):
        return _broken_codes(array)
    if pa.types.is_struct(arrow_type):
        return _broken_structs(array)
    if pa.types.is_nested(arrow_type):
        return _broken_lists(array)

    return _broken_values(array)


def _broken_values(array: pa.Array) -> Mask | None:
    """Among plain texts."""
    if array.type == pa.string_view():
        array = pc.cast(array, pa.large_string())

    bytes_type, text_type = pa.binary(), pa.string()

    if pa.types.is_large_string(array.type):
        bytes_type, text_type = pa.large_binary(), pa.large_string()

    _, ends, data = array.buffers()
    if data is None or _is_ascii(array, ends, data):
        return None

    values = _reinterpret(array, bytes_type)

    try:
        pc.cast(values, text_type)
    except pa.ArrowInvalid:
        is_valid = pc.match_substring_regex(values, _UTF8)
        return _to_mask(pc.invert(is_valid.fill_null(True)))

    return None


def _is_ascii(array: pa.Array, ends: pa.Buffer, data: pa.Buffer) -> bool:
    dtype = np.int64 if pa.types.is_large_string(array.type) else np.int32
    places = np.frombuffer(ends, dtype, count=array.offset + len(array) + 1)
    content = np.frombuffer(data, np.int8)[places[array.offset] : places[-1]]
    return not len(content) or bool(content.min() >= 0)


def _broken_codes(array: pa.DictionaryArray) -> Mask | None:
    """Among the rows of a dictionary."""
    is_broken = _broken(array.dictionary)
    if is_broken is None:
        return None
    return _to_mask(pc.take(from_numpy(is_broken), array.indices).fill_null(False))


def _broken_structs(array: pa.StructArray) -> Mask | None:
    """Structs with such a text in any field."""
    masks = [_broken(child) for child in array.flatten()]
    present = [mask for mask in masks if mask is not None]
    if not present:
        return None
    merged: Mask = np.logical_or.reduce(present)
    return merged


def _broken_lists(array: pa.Array) -> Mask | None:
    """Lists and maps with such a text in them."""
    arrow_type = array.type
    if pa.types.is_map(arrow_type):
        array = array.cast(pa.list_(pa.struct([arrow_type.key_field, arrow_type.item_field])))

    is_broken = _broken(array.flatten())
    if is_broken is None:
        return None

    parents = pc.list_parent_indices(array)
    places = np.frombuffer(parents.buffers()[1], np.int64, count=parents.offset + len(parents))
    mask = np.zeros(len(array), np.bool_)
    mask[places[parents.offset :][is_broken]] = True

    return mask


def _to_mask(values: pa.Array) -> Mask:
    ones = pc.cast(values, pa.uint8())
    stored = np.frombuffer(ones.buffers()[1], np.uint8, count=len(ones) + ones.offset)
    return stored[ones.offset :].astype(np.bool_)


def _reinterpret(array: pa.Array, arrow_type: pa.DataType) -> pa.Array:
    """The same buffers as another type of the same layout."""
    return pa.Array.from_buffers(
        arrow_type, len(array), array.buffers(), array.null_count, array.offset
    )


def _bytes_type(arrow_type: pa.DataType) -> pa.DataType:
    """The type with bytes for each text in it, and without encodings."""
    if isinstance(arrow_type, pa.BaseExtensionType):
        return _bytes_type(arrow_type.storage_type)
    if pa.types.is_dictionary(arrow_type):
        return _bytes_type(arrow_type.value_type)
    if pa.types.is_struct(arrow_type):
        return pa.struct([field.with_type(_bytes_type(field.type)) for field in arrow_type])
    if pa.types.is_map(arrow_type):
        return pa.map_(_bytes_type(arrow_type.key_type), _bytes_type(arrow_type.item_type))
    if pa.types.is_fixed_size_list(arrow_type):
        return pa.list_(_bytes_type(arrow_type.value_type), arrow_type.list_size)
    if pa.types.is_nested(arrow_type):
        return pa.large_list(_bytes_type(arrow_type.value_type))

    return pa.binary() if _is_text(arrow_type) else arrow_type


def _stored(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The column without an extension type."""
    if not isinstance(column.type, pa.BaseExtensionType):
        return column
    return pa.chunked_array([chunk.storage for chunk in column.chunks], column.type.storage_type)
