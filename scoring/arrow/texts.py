"""Finds text that is not UTF-8. Arrow and Parquet do not look; most readers refuse the whole file that has any."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nightscore.arrow.arrays import from_numpy

TEXT_AS_BYTES = b"nightscore.text"
"""Key in a field's metadata: it held text, and is stored as bytes because some of it is not UTF-8."""
_UTF8 = (
    r"\A(?:[\x00-\x7F]|[\xC2-\xDF][\x80-\xBF]|\xE0[\xA0-\xBF][\x80-\xBF]|[\xE1-\xEC\xEE\xEF][\x80-\xBF]{2}"
    r"|\xED[\x80-\x9F][\x80-\xBF]|\xF0[\x90-\xBF][\x80-\xBF]{2}|[\xF1-\xF3][\x80-\xBF]{3}"
    r"|\xF4[\x80-\x8F][\x80-\xBF]{2})*\z"
)
"""Over bytes. Source: The Unicode Standard, table 3-7, "Well-Formed UTF-8 Byte Sequences"."""

Mask = npt.NDArray[np.bool_]


def broken_texts(column: pa.ChunkedArray) -> Mask | None:
    """Where a column holds text that is not UTF-8, at any depth of lists, maps and structs; None: nowhere.

    A dictionary may have such text that no row refers to: then no row is true.

    ASCII costs a pass over the bytes (less than a hundredth of decoding them), other text Arrow's own check.
    """
    if not may_hold_text(column.type):
        return None
    masks = [(len(chunk), _broken(chunk)) for chunk in column.chunks]
    if all(mask is None for _, mask in masks):
        return None
    return np.concatenate([np.zeros(n, np.bool_) if mask is None else mask for n, mask in masks])


def may_hold_text(kind: pa.DataType) -> bool:
    """Whether there are texts in a type, at any depth."""
    if isinstance(kind, pa.BaseExtensionType):
        return may_hold_text(kind.storage_type)
    if pa.types.is_dictionary(kind):
        return may_hold_text(kind.value_type)
    if pa.types.is_nested(kind):
        return any(may_hold_text(kind.field(i).type) for i in range(kind.num_fields))
    return _is_text(kind)


def without(column: pa.ChunkedArray, rows: Mask) -> pa.ChunkedArray:
    """The column with null in these rows, and a dictionary with no other values than those of its rows.

    Nested columns and such of an extension type stay as they are.
    """
    kind = column.type
    if pa.types.is_nested(kind) or isinstance(kind, pa.BaseExtensionType):
        return column
    if pa.types.is_dictionary(kind):
        plain = without(column.cast(kind.value_type), rows).combine_chunks()
        coded = pc.dictionary_encode(plain)
        indices = coded.indices.cast(kind.index_type)
        return pa.chunked_array(
            [pa.DictionaryArray.from_arrays(indices, coded.dictionary, ordered=kind.ordered)]
        )
    if kind == pa.string_view():  # which Arrow cannot choose from
        return without(column.cast(pa.large_string()), rows).cast(kind)
    nothing = pa.nulls(1, kind)[0]
    return pa.chunked_array([pc.if_else(from_numpy(rows), nothing, column.combine_chunks())])


def as_bytes(table: pa.Table) -> pa.Table:
    """The table with the bytes of its texts, whatever they are: what every reader of Parquet can open."""
    for i, field in enumerate(table.schema):
        if may_hold_text(field.type):
            kind = _bytes_type(field.type)
            marked = field.with_type(kind).with_metadata({TEXT_AS_BYTES: str(field.type).encode()})
            table = table.set_column(i, marked, _stored(table.column(i)).cast(kind))
    return table


def stated_schema(schema: pa.Schema) -> pa.Schema:
    """The schema with text where `as_bytes` has put bytes for it; of nested columns it stays bytes."""
    for i, field in enumerate(schema):
        if field.type == pa.binary() and TEXT_AS_BYTES in (field.metadata or {}):
            schema = schema.set(i, field.with_type(pa.string()).with_metadata(None))
    return schema


def as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Bytes as the text that they are meant to be, unchecked."""
    column = column.cast(pa.binary())
    return pa.chunked_array([_view(chunk, pa.string()) for chunk in column.chunks], pa.string())


def _is_text(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or kind == pa.string_view()
    )


def _broken(array: pa.Array) -> Mask | None:
    kind = array.type
    if not len(array) or not may_hold_text(kind):
        return None
    if isinstance(kind, pa.BaseExtensionType):
        return _broken(array.storage)
    if pa.types.is_dictionary(kind):
        return _of_codes(array, _broken(array.dictionary))
    if pa.types.is_struct(kind):
        masks = [_broken(child) for child in array.flatten()]
        return _either([mask for mask in masks if mask is not None])
    if pa.types.is_nested(kind):
        return _of_lists(array)
    return _broken_values(array)


def _broken_values(array: pa.Array) -> Mask | None:
    if array.type == pa.string_view():
        array = pc.cast(array, pa.large_string())
    is_large = pa.types.is_large_string(array.type)
    _, ends, data = array.buffers()
    if data is None:
        return None
    dtype = np.int64 if is_large else np.int32
    places = np.frombuffer(ends, dtype, count=array.offset + len(array) + 1)
    content = np.frombuffer(data, np.int8)[places[array.offset] : places[-1]]
    if not len(content) or content.min() >= 0:
        return None

    values = _view(array, pa.large_binary() if is_large else pa.binary())
    try:
        pc.cast(values, pa.large_string() if is_large else pa.string())
    except pa.ArrowInvalid:
        fine = pc.match_substring_regex(values, _UTF8)
        return _flags(pc.invert(fine.fill_null(True)))
    return None


def _of_codes(array: pa.DictionaryArray, broken: Mask | None) -> Mask | None:
    if broken is None:
        return None
    return _flags(pc.take(from_numpy(broken), array.indices).fill_null(False))


def _of_lists(array: pa.Array) -> Mask | None:
    """Of lists and maps: those that have such a text in them."""
    kind = array.type
    if pa.types.is_map(kind):
        array = array.cast(pa.list_(pa.struct([kind.key_field, kind.item_field])))
    broken = _broken(array.flatten())
    if broken is None:
        return None
    found = np.zeros(len(array), np.bool_)
    parents = pc.list_parent_indices(array)
    places = np.frombuffer(parents.buffers()[1], np.int64, count=parents.offset + len(parents))
    found[places[parents.offset :][broken]] = True
    return found


def _either(masks: list[Mask]) -> Mask | None:
    return np.logical_or.reduce(masks) if masks else None


def _flags(values: pa.Array) -> Mask:
    ones = pc.cast(values, pa.uint8())
    found = np.frombuffer(ones.buffers()[1], np.uint8, count=len(ones) + ones.offset)
    return found[ones.offset :].astype(np.bool_)


def _view(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """The same buffers as another type of the same layout."""
    return pa.Array.from_buffers(kind, len(array), array.buffers(), array.null_count, array.offset)


def _bytes_type(kind: pa.DataType) -> pa.DataType:
    """The type with bytes for each text in it, and without encodings."""
    if isinstance(kind, pa.BaseExtensionType):
        return _bytes_type(kind.storage_type)
    if pa.types.is_dictionary(kind):
        return _bytes_type(kind.value_type)
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_bytes_type(field.type)) for field in kind])
    if pa.types.is_map(kind):
        return pa.map_(_bytes_type(kind.key_type), _bytes_type(kind.item_type))
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(_bytes_type(kind.value_type), kind.list_size)
    if pa.types.is_nested(kind):
        return pa.large_list(_bytes_type(kind.value_type))
    return pa.binary() if _is_text(kind) else kind


def _stored(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The column without an extension type."""
    if not isinstance(column.type, pa.BaseExtensionType):
        return column
    return pa.chunked_array([chunk.storage for chunk in column.chunks], column.type.storage_type)
