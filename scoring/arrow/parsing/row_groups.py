"""What a plan needs of Parquet footers. Runs in the process apart: it imports Arrow and nothing of NumPy."""

from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from nightscore.arrow.parsing.decode import DAMAGE, open_footer

WIDE = (pa.int64(), pa.uint64())


@dataclass(frozen=True, slots=True)
class Layout:
    """What files with the same columns have in common."""

    schema: pa.Schema
    places: Mapping[str, int]
    """Top-level column to its place among the sizes."""
    leaves: tuple[int, ...]
    """The place of each column chunk of a row group."""
    integers: tuple[tuple[int, str, bool], ...]
    """Column chunks of integers and truth values: number, name, whether of 64 bits."""
    optional: frozenset[str]
    """Those of them that may have nulls."""


@dataclass(frozen=True, slots=True)
class ParsedFooter:
    """One file's."""

    layout: Layout
    """The same object for all of one call that have the same."""
    n_groups: int
    numbers: "array[int]"
    """Rows of each row group, then compressed, then uncompressed bytes of all its top-level columns."""
    ranges: dict[str, tuple[int, int]]
    with_nulls: frozenset[str]
    """Columns of integers or truth values that have nulls, as far as the row groups state it."""
    uncounted: frozenset[str]
    """Such columns that may have nulls, and of which not all row groups state how many."""


def parse_footers(tails: Sequence[bytes]) -> list[ParsedFooter | str]:
    """Of each file what its footer says, or why that cannot be read."""
    layouts: dict[tuple[str, ...], list[Layout]] = {}
    return [_attempt(tail, layouts) for tail in tails]


def _attempt(tail: bytes, layouts: dict[tuple[str, ...], list[Layout]]) -> ParsedFooter | str:
    try:
        return _parse(tail, layouts)
    except MemoryError:
        return "its footer decodes to more memory than a footer may take"
    except DAMAGE as error:
        lines = str(error).splitlines()
        return f"{type(error).__name__}: {lines[0] if lines else 'no details'}"


def _parse(tail: bytes, layouts: dict[tuple[str, ...], list[Layout]]) -> ParsedFooter:
    metadata, schema = open_footer(tail)
    layout = _layout_of(schema, metadata, layouts)
    rows: list[int] = []
    compressed: list[int] = []
    uncompressed: list[int] = []
    ranges: dict[str, tuple[int, int]] = {}
    with_nulls: set[str] = set()
    uncounted: set[str] = set()
    width = len(layout.places)
    for i in range(metadata.num_row_groups):
        group = metadata.row_group(i)
        if group.num_columns != len(layout.leaves):
            raise ValueError(
                f"row group {i} has {group.num_columns} columns, and the first one {len(layout.leaves)}"
            )
        rows.append(group.num_rows)
        first = len(compressed)
        compressed += [0] * width
        uncompressed += [0] * width
        for j, place in enumerate(layout.leaves):
            column = group.column(j)
            compressed[first + place] += column.total_compressed_size
            uncompressed[first + place] += column.total_uncompressed_size
        for j, name, is_wide in layout.integers:
            stats = group.column(j).statistics
            if name in layout.optional and (stats is None or not stats.has_null_count):
                uncounted.add(name)
            if stats is None:
                continue
            if stats.has_null_count and stats.null_count:
                with_nulls.add(name)
            if is_wide and stats.has_min_max:
                low, high = ranges.get(name, (stats.min, stats.max))
                ranges[name] = (min(low, stats.min), max(high, stats.max))
    if sum(rows) != metadata.num_rows:
        raise ValueError("the footer's row counts contradict each other")
    numbers = array("Q", [*rows, *compressed, *uncompressed])
    unsaid = frozenset(uncounted - with_nulls)
    return ParsedFooter(layout, len(rows), numbers, ranges, frozenset(with_nulls), unsaid)


def _layout_of(
    schema: pa.Schema, metadata: Any, layouts: dict[tuple[str, ...], list[Layout]]
) -> Layout:
    # `metadata.schema` would be shorter, and would keep the footer alive until the next collection of garbage.
    first = metadata.row_group(0) if metadata.num_row_groups else None
    paths = tuple(first.column(j).path_in_schema for j in range(first.num_columns)) if first else ()
    alike = layouts.setdefault(paths, [])
    for known in alike:
        if known.schema.equals(schema, check_metadata=True):
            return known
    names = frozenset(schema.names)
    of_leaves = [path if path in names else path.split(".")[0] for path in paths]
    places = {name: i for i, name in enumerate(dict.fromkeys(of_leaves))}
    # Of two columns of one name nobody knows whose the statistics are.
    once = {name for name, n_columns in Counter(schema.names).items() if n_columns == 1}
    fields = [
        field for field in schema if field.name in once and _is_whole(_value_type(field.type))
    ]
    integers = {field.name: _value_type(field.type) in WIDE for field in fields}
    found = Layout(
        schema,
        places,
        tuple(places[name] for name in of_leaves),
        tuple((j, path, integers[path]) for j, path in enumerate(paths) if path in integers),
        frozenset(field.name for field in fields if field.nullable),
    )
    alike.append(found)
    return found


def _value_type(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _is_whole(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_boolean(kind))
