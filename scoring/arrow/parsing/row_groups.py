"""What a plan needs from Parquet footers.

Runs in the separate process: it imports Arrow, but not NumPy.
"""

from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from nightscore.arrow.parsing.decode import damage, open_footer

WIDE = (pa.int64(), pa.uint64())


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What files with the same columns have in common."""

    schema: pa.Schema
    places: Mapping[str, int]
    """Place of each top-level column among the sizes."""
    leaves: tuple[int, ...]
    """The place of each column chunk of a row group."""
    integers: tuple[tuple[int, str, bool], ...]
    """Column chunks of integers and truth values: number, name, whether they have 64 bits."""
    optional: frozenset[str]
    """Those of them that may have nulls."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedFooter:
    """What one file's footer says."""

    layout: Layout
    """One object for all files of a call that share it."""
    n_groups: int
    numbers: "array[int]"
    """Rows of each row group, then compressed, then uncompressed bytes of all top-level columns."""
    ranges: dict[str, tuple[int, int]]
    """Least and greatest value of columns of 64-bit integers."""
    with_nulls: frozenset[str]
    """Columns of integers or truth values that have nulls, as far as the row groups state it."""
    uncounted: frozenset[str]
    """Such columns that may have nulls, where not all row groups state how many."""


LayoutsByPaths = dict[tuple[str, ...], list[Layout]]


def parse_footers(tails: Sequence[bytes]) -> list[ParsedFooter | str]:
    """What each file's footer says, or why it cannot be read."""
    layouts: LayoutsByPaths = {}
    return [_parse_or_explain(tail, layouts) for tail in tails]


def _parse_or_explain(tail: bytes, layouts: LayoutsByPaths) -> ParsedFooter | str:
    try:
        return _parse(tail, layouts)
    except MemoryError:
        return "its footer decodes to more memory than a footer may take"
    except damage() as error:
        lines = str(error).splitlines()
        return f"{type(error).__name__}: {lines[0] if lines else 'no details'}"


@dataclass(slots=True)
class _Totals:
    """What is collected over the row groups of a file."""

    layout: Layout
    rows: list[int] = field(default_factory=list)
    compressed: list[int] = field(default_factory=list)
    uncompressed: list[int] = field(default_factory=list)
    ranges: dict[str, tuple[int, int]] = field(default_factory=dict)
    with_nulls: set[str] = field(default_factory=set)
    uncounted: set[str] = field(default_factory=set)

    def add_sizes(self, group: Any) -> None:
        """Add a row group's rows, and the bytes of its columns."""
        self.rows.append(group.num_rows)
        compressed = [0] * len(self.layout.places)
        uncompressed = [0] * len(self.layout.places)

        for number, place in enumerate(self.layout.leaves):
            column = group.column(number)
            compressed[place] += column.total_compressed_size
            uncompressed[place] += column.total_uncompressed_size

        self.compressed += compressed
        self.uncompressed += uncompressed

    def add_statistics(self, group: Any) -> None:
        """Add what a row group states about nulls and ranges of integers."""
        for number, name, is_wide in self.layout.integers:
            stats = group.column(number).statistics
            has_count = stats is not None and stats.has_null_count
            if name in self.layout.optional and not has_count:
                self.uncounted.add(name)
            if stats is None:
                continue

            if has_count and stats.null_count:
                self.with_nulls.add(name)

            if is_wide and stats.has_min_max:
                low, high = self.ranges.get(name, (stats.min, stats.max))
                self.ranges[name] = (min(low, stats.min), max(high, stats.max))


def _parse(tail: bytes, layouts: LayoutsByPaths) -> ParsedFooter:
    metadata, schema = open_footer(tail)
    layout = _find_layout(schema, metadata, layouts)
    totals = _Totals(layout)

    for index in range(metadata.num_row_groups):
        group = metadata.row_group(index)

        if group.num_columns != len(layout.leaves):
            raise ValueError(
                f"row group {index} has {group.num_columns} columns, and the first one "
                f"{len(layout.leaves)}"
            )

        totals.add_sizes(group)
        totals.add_statistics(group)

    if sum(totals.rows) != metadata.num_rows:
        raise ValueError("the footer's row counts contradict each other")

    return ParsedFooter(
        layout=layout,
        n_groups=len(totals.rows),
        numbers=array("Q", [*totals.rows, *totals.compressed, *totals.uncompressed]),
        ranges=totals.ranges,
        with_nulls=frozenset(totals.with_nulls),
        uncounted=frozenset(totals.uncounted - totals.with_nulls),
    )


def _find_layout(schema: pa.Schema, metadata: Any, layouts: LayoutsByPaths) -> Layout:
    """The layout of a file. One that an earlier file has is used again."""
    paths = _leaf_paths(metadata)
    candidates = layouts.setdefault(paths, [])
    for known in candidates:
        if known.schema.equals(schema, check_metadata=True):
            return known

    layout = _make_layout(schema, paths)
    candidates.append(layout)
    return layout


def _leaf_paths(metadata: Any) -> tuple[str, ...]:
    # `metadata.schema` would be shorter, and would keep the footer alive until the next garbage
    # collection.
    if not metadata.num_row_groups:
        return ()
    first = metadata.row_group(0)
    return tuple(first.column(number).path_in_schema for number in range(first.num_columns))


def _make_layout(schema: pa.Schema, paths: tuple[str, ...]) -> Layout:
    names = frozenset(schema.names)
    columns = [path if path in names else path.split(".")[0] for path in paths]
    places = {name: place for place, name in enumerate(dict.fromkeys(columns))}

    # If two columns have one name, nobody knows whose the statistics are.
    counts = Counter(schema.names)

    integer_fields = [
        arrow_field
        for arrow_field in schema
        if counts[arrow_field.name] == 1 and _is_whole(_value_type(arrow_field.type))
    ]

    is_wide = {one.name: _value_type(one.type) in WIDE for one in integer_fields}
    integers = [
        (number, path, is_wide[path]) for number, path in enumerate(paths) if path in is_wide
    ]

    return Layout(
        schema=schema,
        places=places,
        leaves=tuple(places[name] for name in columns),
        integers=tuple(integers),
        optional=frozenset(one.name for one in integer_fields if one.nullable),
    )


def _value_type(arrow_type: pa.DataType) -> pa.DataType:
    return arrow_type.value_type if pa.types.is_dictionary(arrow_type) else arrow_type


def _is_whole(arrow_type: pa.DataType) -> bool:
    return bool(pa.types.is_integer(arrow_type) or pa.types.is_boolean(arrow_type))
